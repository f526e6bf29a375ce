"""`/v1/replays`: new deliveries of stored results."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from relay.model import REPLAY, DeliveryStatus, JobStatus, Replay, ReplayStatus, Scope
from relay.pipeline.replay import ReplayRequest
from relay.store import replays
from relay.store.rows import Connection
from relay.web import pages
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import (
    Change,
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
from relay.web.problems import Problem, Wrong, conflict, not_found, unprocessable
from relay.web.services import Services


class ReplayFilter(Request):
    """Which results. Every part that is given must hold; one at least must be given."""

    webhook_id: WebhookId | None = None
    created_after: GivenTime | None = None
    created_before: GivenTime | None = None
    result_ids: Annotated[list[ResultId], Field(min_length=1, max_length=1000)] | None = None
    types: Annotated[list[FinalStatusType], Field(min_length=1)] | None = None
    delivery_status: Annotated[list[DeliveryStatus], Field(min_length=1)] | None = None
    http_status: (
        Annotated[
            list[Annotated[int, Field(ge=100, le=599)]],
            Field(min_length=1, max_length=100, description="Where the latest attempt of a delivery got one of these."),
        ]
        | None
    ) = None
    job_status: Annotated[
        list[JobStatus] | None, Field(min_length=1, description="Results that jobs ended with which stand so.")
    ] = None
    job_created_after: Annotated[GivenTime | None, Field(description="Of jobs made at this time or later.")] = None
    job_created_before: Annotated[GivenTime | None, Field(description="Of jobs made before this time.")] = None
    delivery_created_after: Annotated[
        GivenTime | None, Field(description="Where a delivery was made at this time or later.")
    ] = None
    delivery_created_before: Annotated[
        GivenTime | None, Field(description="Where a delivery was made before this time.")
    ] = None


class NewReplay(Request):
    """A replay to be started, or tried."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"filter": {"created_after": "2026-11-21T00:00:00Z"}, "dry_run": True}]}
    )

    filter: ReplayFilter
    subscription_ids: Annotated[list[SubscriptionId] | None, Field(description="Null: all that are active now.")] = None
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
    total: Annotated[
        int, Field(description="Deliveries that come of it: so far, until all that it means has been counted.")
    ]
    planned: Annotated[int, Field(description="Deliveries made so far; the others are made as their turn comes.")]
    queued: Annotated[int, Field(description="Of the planned ones, those still to be sent or sent again.")]
    delivered: int
    failed: int
    filter: dict[str, Any]
    subscription_ids: list[str] | None
    mode: str
    new_message_id: bool
    rate_per_second: float | None
    created_at: Time
    finished_at: Time | None


class ReplayChange(Change):
    """What can be changed while it runs."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rate_per_second": 10}]})

    rate_per_second: Annotated[Rate | None, Field(description="Null: as fast as the subscribers take them.")] = None


class DryRunView(View):
    """What a replay would deliver."""

    count: int
    oldest: Time | None
    newest: Time | None
    samples: list[str]


def view_of(replay: Replay) -> ReplayView:
    """The replay as it goes out."""
    return ReplayView(
        id=replay.id,
        status=replay.status,
        total=replay.total if replay.planned else max(replay.total, replay.expected or 0),
        planned=replay.total,
        queued=replay.total - replay.delivered - replay.failed,
        delivered=replay.delivered,
        failed=replay.failed,
        filter=dict(replay.filter),
        subscription_ids=None if replay.subscription_ids is None else list(replay.subscription_ids),
        mode=replay.mode,
        new_message_id=replay.new_message_id,
        rate_per_second=replay.rate_per_second,
        created_at=replay.created_at,
        finished_at=replay.finished_at,
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
    return Answer(202, view_of(replay), {"location": f"/v1/replays/{replay.id}"})


@endpoint("GET", "/v1/replays", scope=Scope.READ, answers={200: Paged[ReplayView]})
async def page(call: Call[PageQuery, Nothing]) -> Answer:
    """The replays, newest first."""
    found = await call.services.database.read(partial(replays.page, window=pages.window(call)))
    return pages.answer(call, found, lambda item: item.id, view_of)


@endpoint("GET", "/v1/replays/{id}", scope=Scope.READ, answers={200: ReplayView}, prefix=REPLAY)
async def show(call: Call[NoQuery, Nothing]) -> Answer:
    """One replay and how far it is."""
    return _view(await call.services.database.read(partial(replays.get, id=call.id)))


@endpoint("PATCH", "/v1/replays/{id}", scope=Scope.WRITE, answers={200: ReplayView}, prefix=REPLAY, refusals=(409,))
async def change(call: Call[NoQuery, ReplayChange]) -> Answer:
    """Change the rate of what has not been planned yet, which is all but the next two seconds."""
    found = await call.services.database.read(partial(replays.get, id=call.id))
    if "rate_per_second" in call.given:
        found = await call.services.replayer.set_rate(call.id, call.body.rate_per_second)
    return _view(found, refuse_over=True)


@endpoint("POST", "/v1/replays/{id}/pause", scope=Scope.WRITE, answers={200: ReplayView}, prefix=REPLAY,
          refusals=(409,))  # fmt: skip
async def pause(call: Call[NoQuery, Nothing]) -> Answer:
    """Send nothing more of it until it is resumed; what is under way at this moment may still arrive."""
    return _view(await call.services.replayer.pause(call.id), refuse_over=True)


@endpoint("POST", "/v1/replays/{id}/resume", scope=Scope.WRITE, answers={200: ReplayView}, prefix=REPLAY,
          refusals=(409,))  # fmt: skip
async def resume(call: Call[NoQuery, Nothing]) -> Answer:
    """Go on where it was paused."""
    answer = _view(await call.services.replayer.resume(call.id), refuse_over=True)
    call.services.waker.deliveries_due()
    return answer


@endpoint("DELETE", "/v1/replays/{id}", scope=Scope.WRITE, answers={200: ReplayView}, prefix=REPLAY)
async def cancel(call: Call[NoQuery, Nothing]) -> Answer:
    """Stop a replay and cancel its pending deliveries; one that is over stays as it is."""
    return _view(await call.services.replayer.cancel(call.id))


def _view(found: Replay | None, *, refuse_over: bool = False) -> Answer:
    if found is None:
        raise not_found("replay")
    if refuse_over and found.status in (ReplayStatus.DONE, ReplayStatus.CANCELLED):
        raise conflict("replay_over", f"The replay is {found.status} already.")
    return Answer(200, view_of(found))


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
