"""The types of fields that several nouns share: how they are read, shown and described in OpenAPI."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

from relay.clock import Instant, parse_rfc3339, rfc3339
from relay.ids import ID_LENGTH
from relay.model import DELIVERY, EVENT, JOB, REPLAY, RESULT, SUBSCRIPTION, WEBHOOK

T = TypeVar("T")

_RFC3339: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_YEAR_10000: Final = 253_402_300_800_000
_DATE_TIME: Final = {"type": "string", "format": "date-time"}


class Request(BaseModel):
    """What comes in: unknown names are refused, nothing is converted by guess."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, allow_inf_nan=False, defer_build=True
    )


class View(BaseModel):
    """What goes out."""

    model_config = ConfigDict(frozen=True, defer_build=True)


def _without_defaults(schema: dict[str, Any]) -> None:
    for field in schema.get("properties", {}).values():
        field.pop("default", None)


class Change(Request):
    """A PATCH: what is not named stays, so a field's default means nothing."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)


class Nothing(Request):
    """No body, or an empty one."""


class Query(BaseModel):
    """Query parameters: texts, of which each field makes what it wants. Unknown names are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False, defer_build=True
    )


class NoQuery(Query):
    """No query parameters."""


def _digits(value: Any) -> Any:
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise ValueError("must be a whole number")
    return value


Whole = Annotated[int, BeforeValidator(_digits)]
"""A whole number in a query, in plain digits."""


def _true_or_false(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("must be true or false")
        return value == "true"
    return value


Flag = Annotated[bool, BeforeValidator(_true_or_false)]
"""True or false in a query, in just these words."""


class PageQuery(Query):
    """Which part of a list."""

    limit: Annotated[Whole, Field(ge=1, le=200, description="How many at most.")] = 50
    cursor: Annotated[str | None, Field(max_length=512, description="`next_cursor` of the page before.")] = None


def _read_instant(value: Any) -> Any:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with an offset, for example 2026-11-21T19:00:00Z")
    instant = parse_rfc3339(value.upper().replace(" ", "T"))
    if not 0 <= instant < _YEAR_10000:  # beyond them an answer could not tell the time that was given
        raise ValueError("must lie in the years 1970 to 9999, in UTC")
    return instant


GivenTime = Annotated[int, BeforeValidator(_read_instant), WithJsonSchema(_DATE_TIME)]
"""A time in a request, as an Instant."""


class CreatedQuery(PageQuery):
    """A list that can be narrowed by time."""

    created_after: Annotated[GivenTime | None, Field(description="Made at this time or later.")] = None
    created_before: Annotated[GivenTime | None, Field(description="Made before this time.")] = None


class Paged(View, Generic[T]):
    """One page, newest first."""

    data: list[T]
    next_cursor: str | None


def _shown(instant: int) -> str:
    return rfc3339(Instant(instant))


Time = Annotated[int, PlainSerializer(_shown, return_type=str), WithJsonSchema(_DATE_TIME, mode="serialization")]
"""An Instant in an answer, RFC 3339."""


def _id_pattern(prefix: str) -> str:
    return f"^{prefix}_[0-9a-f]{{{ID_LENGTH}}}$"


WebhookId = Annotated[str, StringConstraints(pattern=_id_pattern(WEBHOOK))]
JobId = Annotated[str, StringConstraints(pattern=_id_pattern(JOB))]
ResultId = Annotated[str, StringConstraints(pattern=_id_pattern(RESULT))]
SubscriptionId = Annotated[str, StringConstraints(pattern=_id_pattern(SUBSCRIPTION))]
DeliveryId = Annotated[str, StringConstraints(pattern=_id_pattern(DELIVERY))]
EventId = Annotated[str, StringConstraints(pattern=_id_pattern(EVENT))]
ReplayId = Annotated[str, StringConstraints(pattern=_id_pattern(REPLAY))]

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
    Field(description="A name of your choice."),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=r"^[^\x00-\x1f\x7f]*$")]
SecretText = Annotated[
    str, StringConstraints(min_length=1, max_length=4096), Field(json_schema_extra={"writeOnly": True})
]
Rate = Annotated[float, Field(ge=0.00001, le=100_000)]  # about one a day: no column holds when a smaller one is due
Seconds = Annotated[float, Field(gt=0, le=31_536_000)]
InFlight = Annotated[int, Field(ge=1, le=1000)]


def _small(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(metadata) > 50:
        raise ValueError("has more than 50 members")
    return metadata


Metadata = Annotated[dict[str, Any], AfterValidator(_small), Field(description="Anything of yours, up to 50 members.")]
FinalStatusType = Literal["result.completed", "result.failed", "result.cancelled", "result.expired"]


class WrongPart(View):
    """One thing that is wrong with a request: at a JSON pointer into the body, or in a query parameter."""

    pointer: str = ""
    parameter: str = ""
    detail: str
    code: str


class Problem(View):
    """Every error of the API (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="For programs; stays the same.")]
    request_id: Annotated[str, Field(description="Quote it when asking about the error.")]
    errors: list[WrongPart] = []
