"""What a relay answers, as values: one class per noun, with the fields of its view in the API.

Times are aware datetimes. `raw` is the whole answer, with what a newer relay says besides. Secrets are fields, but no
part of a `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import Any, Final, TypeVar

from relay.client.errors import Unexpected

T = TypeVar("T")
FINAL: Final = frozenset(("completed", "failed", "cancelled", "expired"))


@dataclass(frozen=True, kw_only=True)
class Thing:
    """What all of them have."""

    id: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Webhook(Thing):
    """A registered inbound address. Its `callback_url` is what the provider is given; whoever has it can notify."""

    name: str
    provider: str
    callback_url: str | None = field(repr=False)
    origins: list[str]
    base_url: str | None
    parameters: Mapping[str, str]
    credentials_set: list[str]
    verification_set: list[str]
    retention_seconds: float | None
    retention_days: float | None = None
    retention_bytes: int | None = None
    poll_seconds: list[float] | None
    fetch_max_in_flight: int
    fetch_rate_per_second: float | None
    notification_rate_per_second: float | None = None
    untracked: str
    metadata: Mapping[str, Any]
    status: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class JobFields(Thing):
    """One asynchronous request at a provider."""

    webhook_id: str
    provider: str
    provider_job_id: str | None
    response_url: str | None = field(repr=False)
    status: str
    provider_status: str | None
    deadline: datetime | None
    created_at: datetime
    notified_at: datetime | None
    completed_at: datetime | None
    result_id: str | None
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    metadata: Mapping[str, Any]

    @property
    def is_final(self) -> bool:
        """Whether it is over: completed, failed, cancelled or expired."""
        return self.status in FINAL


@dataclass(frozen=True, kw_only=True)
class Attempt(Thing):
    """One HTTP try, of a fetch or of a delivery."""

    number: int
    trigger: str
    started_at: datetime
    duration_ms: int
    http_status: int | None
    error_code: str | None
    response_excerpt: str | None = field(repr=False)
    dns_ms: int | None = None
    connect_ms: int | None = None
    first_byte_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class ResultFields(Thing):
    """How a job ended."""

    type: str
    job_id: str
    webhook_id: str
    provider: str
    provider_job_id: str | None
    status: str
    error: str | None
    partial: bool
    content_type: str | None
    size_bytes: int | None
    sha256: str | None
    fetched_at: datetime
    metadata: Mapping[str, Any]
    matched: int | None = None


@dataclass(frozen=True, kw_only=True)
class Subscription(Thing):
    """Where results go. `secret` is there at creation and rotation only."""

    name: str
    kind: str
    url: str | None
    webhook_ids: list[str] | None
    event_types: list[str] | None
    filter: Mapping[str, Any] | None
    format: str
    header_names: list[str]
    max_in_flight: int
    rate_per_second: float | None
    schedule_seconds: list[float] | None = None
    timeout_seconds: float | None = None
    signing: str
    public_keys: list[str]
    metadata: Mapping[str, Any]
    status: str
    status_reason: str | None
    breaker: Mapping[str, Any] | None = None
    previous_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Delivery(Thing):
    """One result to one subscription. `attempts` is there when one delivery was asked for."""

    result_id: str | None
    event_id: str | None = None
    subscription_id: str
    replay_id: str | None
    message_id: str
    status: str
    attempt_count: int
    http_status: int | None
    created_at: datetime
    settled_at: datetime | None
    next_attempt_at: datetime | None
    last_error: str | None
    attempts: list[Attempt] = field(default_factory=list, repr=False)


@dataclass(frozen=True, kw_only=True)
class ReplayFields(Thing):
    """How far a replay is."""

    status: str
    total: int
    planned: int = 0
    queued: int
    delivered: int
    failed: int
    filter: Mapping[str, Any]
    subscription_ids: list[str] | None
    mode: str
    new_message_id: bool
    rate_per_second: float | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in ("done", "cancelled")


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a replay would deliver."""

    count: int
    oldest: datetime | None
    newest: datetime | None
    samples: list[str]


@dataclass(frozen=True, kw_only=True)
class Happening(Thing):
    """One event of the stream: something changed. `cursor` is where to go on after it."""

    type: str
    timestamp: datetime | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    cursor: str | None = None


def read(kind: type[T], item: Any, **more: Any) -> T:
    """A thing from the API's JSON; `more`: fields that are not in it. Raises Unexpected for what is none."""
    if not isinstance(item, Mapping):
        raise Unexpected(f"the relay answered no {kind.__name__}")
    given: dict[str, Any] = {"raw": item, **more}
    wanted: dict[str, Any] = {}
    for each in fields(kind):  # type: ignore[arg-type]  # all of them are dataclasses
        if each.name in given:
            wanted[each.name] = given[each.name]
        elif each.name in item:
            wanted[each.name] = _value(each.name, str(each.type), item[each.name])
        elif each.default is MISSING and each.default_factory is MISSING:
            raise Unexpected(f"the relay answered a {kind.__name__} without {each.name}")
    return kind(**wanted)


def _value(name: str, annotation: str, value: Any) -> Any:
    if annotation.startswith("datetime") and isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise Unexpected(f"the relay answered {name} that is no time") from None
    if annotation == "list[Attempt]":
        return [read(Attempt, each) for each in value]
    return value


def written(value: Any) -> Any:
    """A value for JSON: times as RFC 3339, things as their ids."""
    match value:
        case datetime():
            if value.tzinfo is None:
                raise ValueError(f"a time needs a zone: {value.isoformat()}")
            return value.isoformat()
        case Thing():
            return value.id
        case Mapping():
            return {str(name): written(each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [written(each) for each in value]
        case _:
            return value


def given(**fields_: Any) -> dict[str, Any]:
    """A body or a query of what was given; None = not given."""
    return {name: written(value) for name, value in fields_.items() if value is not None}


def id_of(thing: Thing | str) -> str:
    """The id of a thing, or of an id."""
    return thing.id if isinstance(thing, Thing) else thing
