"""Would a subscription get this stored result, and if not, because of what? Changes nothing and sends nothing."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from relay.model import Result, Subscription
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES
from relay.pipeline.filter_language import FilterError, compile_filter
from relay.pipeline.filters import Filter
from relay.pipeline.routing import Verdict, explain
from relay.store import results
from relay.store.rows import Connection
from relay.web import body as bodies
from relay.web.api.subscription_views import GivenFilter, TestView
from relay.web.endpoint import Call
from relay.web.fields import Request, ResultId, View
from relay.web.problems import Problem, Wrong, not_found, unprocessable


class TestRequest(Request):
    """What to test: nothing named sends a test message, a result is only judged."""

    result_id: Annotated[ResultId | None, Field(description="A stored result to judge; nothing is sent.")] = None
    filter: Annotated[
        GivenFilter | None, Field(description="Judge by this filter instead of the subscription's own; null is none.")
    ] = None


class FailedCondition(View):
    """A condition of the filter that does not hold."""

    place: Annotated[str, Field(description="Such as `filter.data.metadata.tenant.$eq`.")]
    path: Annotated[str | None, Field(description="Where it looked; null: at several places.")]
    operator: str
    found: Annotated[str | None, Field(description="What is there, as JSON of up to 200 characters; null: nothing.")]


class MatchView(View):
    """Whether a subscription would get a result."""

    result_id: str
    matches: bool
    reason: Annotated[
        Literal["webhook_ids", "event_types", "filter"] | None, Field(description="What of the subscription said no.")
    ]
    failed: Annotated[list[FailedCondition], Field(description="The conditions of the filter that do not hold.")]
    payload_missing: Annotated[
        Literal["absent", "too_large", "not_json"] | None,
        Field(description="Why a filter that looks into `data.payload` finds none there."),
    ]


class TestAnswer(RootModel[TestView | MatchView]):
    """What became of the test message, or what was found out about the result."""


def check_filter(given: dict[str, Any] | None) -> Filter | None:
    """The filter, ready. Raises Problem 422, which names the very key that is wrong."""
    if given is None:
        return None
    try:
        return compile_filter(given)
    except FilterError as error:
        pointer = "/".join(["#/filter", *(bodies.escape(key) for key in error.keys)])
        wrong = Wrong(error.detail, "invalid_filter", pointer=pointer)
        raise Problem(422, "validation_error", f"{error.place} {error.detail}.", [wrong]) from None


async def judge(call: Call[Any, TestRequest], subscription: Subscription, result_id: str) -> MatchView:
    """What the fan-out would say. Raises Problem 404 and 422."""
    given = call.body.filter if "filter" in call.given else subscription.filter
    filter = check_filter(None if given is None else dict(given))
    curious = filter is not None and filter.reads_payload
    result, payload = await call.services.database.read(partial(_read, id=result_id, with_payload=curious))
    configuration = await call.services.configuration.refresh()
    return _view(result, explain(subscription, filter, result, payload, configuration))


def check_request(given: TestRequest, names: frozenset[str]) -> None:
    """A filter is judged with a result only. Raises Problem 422."""
    if given.result_id is None and "filter" in names:
        raise unprocessable("#/result_id", "is needed to test a filter with", "missing")


def _read(conn: Connection, id: str, with_payload: bool) -> tuple[Result, bytes | None]:
    result = results.get(conn, id)
    if result is None:
        raise not_found("result")
    wanted = with_payload and result.payload_id is not None and (result.size_bytes or 0) <= MAX_ENVELOPE_BYTES
    return result, results.payload(conn, result.payload_id or "") if wanted else None


def _view(result: Result, verdict: Verdict) -> MatchView:
    failed = [
        FailedCondition(place=miss.place, path=miss.path, operator=miss.operator, found=miss.found)
        for miss in verdict.misses
    ]
    return MatchView.model_validate(
        {
            "result_id": result.id,
            "matches": verdict.matches,
            "reason": verdict.reason,
            "failed": failed,
            "payload_missing": verdict.payload,
        }
    )
