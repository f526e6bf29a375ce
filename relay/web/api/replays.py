"""`/v1/replays`: new deliveries of stored results."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from relay.model import REPLAY, DeliveryStatus, Replay, ReplayStatus, Scope
from relay.pipeline.replay import ReplayRequest
from relay.store import replays
from relay.store.replays import Counts
from relay.store.rows import Connection, Page
from relay.web import pages
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import (
    FinalStatusType,
    GivenTime,
    NoQuery,
    Nothing,
    Paged,
    PageQuery,
    Rate,
    Request,
    ResultId,
    SubscriptionId,
    Time,
    View,
    WebhookId,
)
from relay.web.problems import Problem, Wrong, not_found, unprocessable
from relay.web.services import Services


class ReplayFilter(Request):
    """Which results. Every part that is given must hold; one at least must be given."""

    webhook_id: WebhookId | None = None
    created_after: GivenTime | None = None
    created_before: GivenTime | None = None
    result_ids: Annotated[list[ResultId], Field(min_length=1, max_length=1000)] | None = None
    types: Annotated[list[FinalStatusType], Field(min_length=1)] | None = None
    delivery_status: Annotated[list[DeliveryStatus], Field(min_length=1)] | None = None


class NewReplay(Request):
    """A replay to be started, or tried."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"filter": {"created_after": "2026-11-21T00:00:00Z"}, "dry_run": True}]}
    )

    filter: ReplayFilter
    subscription_ids: Annotated[list[SubscriptionId] | None, Field(description="Null: all active ones that match.")] = (
        None
    )
    mode: Annotated[
        Literal["undelivered", "all"], Field(description="`undelivered` skips what a subscription already has.")
    ] = "undelivered"
    new_message_id: Annotated[bool, Field(description="For subscribers that drop repeats.")] = False
    rate_per_second: Rate | None = None
    dry_run: Annotated[bool, Field(description="Only say what would be delivered.")] = False


class ReplayView(View):
    """How far a replay is."""

    id: str
    status: ReplayStatus
    total: int
    queued: int
    delivered: int
    failed: int
    filter: dict[str, Any]
    subscription_ids: list[str] | None
    mode: str
    new_message_id: bool
    rate_per_second: float | None
    created_at: Time


class DryRunView(View):
    """What a replay would deliver."""

    count: int
    oldest: Time | None
    newest: Time | None
    samples: list[str]


def view_of(replay: Replay, counts: Counts) -> ReplayView:
    """The replay as it goes out."""
    return ReplayView(
        id=replay.id,
        status=replay.status,
        total=counts.total,
        queued=counts.queued,
        delivered=counts.delivered,
        failed=counts.failed,
        filter=dict(replay.filter),
        subscription_ids=None if replay.subscription_ids is None else list(replay.subscription_ids),
        mode=replay.mode,
        new_message_id=replay.new_message_id,
        rate_per_second=replay.rate_per_second,
        created_at=replay.created_at,
    )


@endpoint("POST", "/v1/replays", scope=Scope.WRITE, answers={200: DryRunView, 202: ReplayView})
async def start(call: Call[NoQuery, NewReplay]) -> Answer:
    """Deliver stored results again. With `dry_run`, only say which."""
    given = call.body
    request = ReplayRequest(
        filter=_filter(given.filter),
        subscription_ids=await _subscriptions(call.services, given.subscription_ids),
        mode=given.mode,
        new_message_id=given.new_message_id,
        rate_per_second=given.rate_per_second,
    )
    if given.dry_run:
        tried = await call.services.replayer.dry_run(request)
        view = DryRunView(count=tried.count, oldest=tried.oldest, newest=tried.newest, samples=list(tried.samples))
        return Answer(200, view)

    def record(conn: Connection, replay: Replay, /) -> None:
        call.keep(conn, _started(replay))

    replay = await call.services.replayer.start(request, record)
    call.services.waker.deliveries_due()
    return _started(replay)


def _started(replay: Replay) -> Answer:
    return Answer(202, view_of(replay, Counts(replay.total, 0, 0, 0)), {"location": f"/v1/replays/{replay.id}"})


@endpoint("GET", "/v1/replays", scope=Scope.READ, answers={200: Paged[ReplayView]})
async def page(call: Call[PageQuery, Nothing]) -> Answer:
    """The replays, newest first."""
    window = pages.window(call)

    def read(conn: Connection) -> Page[tuple[Replay, Counts]]:
        found = replays.page(conn, window=window)
        return Page([(item, replays.counts(conn, item.id)) for item in found.items], found.more)

    found = await call.services.database.read(read)
    return pages.answer(call, found, lambda item: item[0].id, lambda item: view_of(*item))


@endpoint("GET", "/v1/replays/{id}", scope=Scope.READ, answers={200: ReplayView}, prefix=REPLAY)
async def show(call: Call[NoQuery, Nothing]) -> Answer:
    """One replay and how far it is."""
    return Answer(200, await _view(call))


@endpoint("DELETE", "/v1/replays/{id}", scope=Scope.WRITE, answers={200: ReplayView}, prefix=REPLAY)
async def cancel(call: Call[NoQuery, Nothing]) -> Answer:
    """Stop a replay and cancel its pending deliveries; one that is over stays as it is."""
    if await call.services.replayer.cancel(call.id) is None:
        raise not_found("replay")
    return Answer(200, await _view(call))


async def _view(call: Call[NoQuery, Nothing]) -> ReplayView:
    def read(conn: Connection) -> ReplayView | None:
        found = replays.get(conn, call.id)
        return None if found is None else view_of(found, replays.counts(conn, call.id))

    view = await call.services.database.read(read)
    if view is None:
        raise not_found("replay")
    return view


def _filter(given: ReplayFilter) -> dict[str, Any]:
    wanted = {name: value for name, value in dict(given).items() if value is not None}
    if not wanted:
        raise unprocessable("#/filter", "is empty; to replay everything give created_after", "empty_filter")
    return wanted


async def _subscriptions(services: Services, given: list[str] | None) -> list[str] | None:
    if given is None:
        return None
    known = (await services.configuration.refresh()).subscriptions
    wrong = [
        Wrong("is not a subscription", "unknown_subscription", pointer=f"#/subscription_ids/{index}")
        for index, id in enumerate(given)
        if id not in known or known[id].deleted_at is not None
    ]
    if wrong or not given:
        empty = [Wrong("is empty", "too_short", pointer="#/subscription_ids")]
        raise Problem(422, "validation_error", "Not every one of subscription_ids is one.", (wrong or empty)[:20])
    return list(dict.fromkeys(given))
