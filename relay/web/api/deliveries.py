"""`/v1/deliveries`: one result to one subscription."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import Field

from relay.clock import Instant
from relay.model import DELIVERY, Delivery, DeliveryStatus, Scope
from relay.store import attempts, deliveries, events
from relay.store.replays import is_held
from relay.store.rows import Connection
from relay.web import pages
from relay.web.api.jobs import AttemptView, attempt_view
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import (
    CreatedQuery,
    EventId,
    JobId,
    NoQuery,
    Nothing,
    Paged,
    ReplayId,
    ResultId,
    SubscriptionId,
    Time,
    View,
)
from relay.web.problems import conflict, not_found


class DeliveryQuery(CreatedQuery):
    """Which deliveries."""

    subscription_id: SubscriptionId | None = None
    status: Annotated[tuple[DeliveryStatus, ...], Field(description="One or more, separated by commas.")] = ()
    result_id: ResultId | None = None
    event_id: EventId | None = None
    job_id: JobId | None = None
    replay_id: ReplayId | None = None


class DeliveryView(View):
    """One result to one subscription."""

    id: str
    result_id: Annotated[str | None, Field(description="Null: it tells of an event.")]
    event_id: str | None
    subscription_id: str
    replay_id: str | None
    message_id: Annotated[str, Field(description="The `webhook-id` of every attempt.")]
    status: DeliveryStatus
    attempt_count: int
    http_status: Annotated[int | None, Field(description="Of the latest attempt.")]
    created_at: Time
    settled_at: Time | None
    next_attempt_at: Annotated[Time | None, Field(description="Null too while its replay is paused.")]
    last_error: str | None


class DeliveryDetail(DeliveryView):
    """A delivery with its attempts, oldest first."""

    attempts: list[AttemptView]


def view_of(delivery: Delivery) -> DeliveryView:
    """The delivery as it goes out."""
    tells = events.is_event(delivery.result_id)
    return DeliveryView(
        id=delivery.id,
        result_id=None if tells else delivery.result_id,
        event_id=delivery.result_id if tells else None,
        subscription_id=delivery.subscription_id,
        replay_id=delivery.replay_id,
        message_id=delivery.message_id,
        status=delivery.status,
        attempt_count=delivery.attempts,
        http_status=delivery.http_status,
        created_at=delivery.created_at,
        settled_at=delivery.settled_at,
        next_attempt_at=None if is_held(delivery) else delivery.due_at or delivery.pull_at,
        last_error=delivery.last_error,
    )


@endpoint("GET", "/v1/deliveries", scope=Scope.READ, answers={200: Paged[DeliveryView]})
async def page(call: Call[DeliveryQuery, Nothing]) -> Answer:
    """The deliveries, newest first."""
    query = call.query
    if query.result_id is not None and query.event_id is not None:  # a delivery tells of one or the other
        return Answer(200, Paged[DeliveryView](data=[], next_cursor=None))
    read = partial(
        deliveries.page, subscription_id=query.subscription_id, status=query.status,
        result_id=query.result_id or query.event_id,
        job_id=query.job_id, replay_id=query.replay_id, window=pages.window(call),
    )  # fmt: skip
    return pages.answer(call, await call.services.database.read(read), lambda item: item.id, view_of)


@endpoint("GET", "/v1/deliveries/{id}", scope=Scope.READ, answers={200: DeliveryDetail}, prefix=DELIVERY)
async def show(call: Call[NoQuery, Nothing]) -> Answer:
    """One delivery with its attempts."""

    def read(conn: Connection) -> Answer:
        found = deliveries.get(conn, call.id)
        if found is None:
            raise not_found("delivery")
        made = [attempt_view(item) for item in attempts.of(conn, call.id)]
        return Answer(200, DeliveryDetail(**dict(view_of(found)), attempts=made))

    return await call.services.database.read(read)


@endpoint("POST", "/v1/deliveries/{id}/retry", scope=Scope.WRITE, answers={202: DeliveryView}, prefix=DELIVERY,
          refusals=(409,))  # fmt: skip
async def retry(call: Call[NoQuery, Nothing]) -> Answer:
    """Send it again now, with a fresh budget of attempts and the same `webhook-id`."""
    known = (await call.services.configuration.refresh()).subscriptions

    def effect(conn: Connection) -> Delivery:
        subscription = known.get(_there(deliveries.get(conn, call.id)).subscription_id)
        if subscription is None or subscription.deleted_at is not None:
            raise conflict("subscription_deleted", "The subscription of this delivery was deleted.")
        return _there(deliveries.retry(conn, call.id, call.now, pulled=subscription.kind == "pull"))

    answer = await call.write(effect, lambda delivery: Answer(202, view_of(delivery)))
    call.services.waker.deliveries_due()
    return answer


@endpoint("POST", "/v1/deliveries/{id}/cancel", scope=Scope.WRITE, answers={200: DeliveryView}, prefix=DELIVERY,
          refusals=(409,))  # fmt: skip
async def cancel(call: Call[NoQuery, Nothing]) -> Answer:
    """Make no further attempt. One that is under way at this moment may still arrive."""
    return await call.write(partial(_cancel, id=call.id, now=call.now), lambda item: Answer(200, view_of(item)))


def _cancel(conn: Connection, id: str, now: Instant) -> Delivery:
    delivery = _there(deliveries.cancel(conn, id, now))
    if delivery.status is not DeliveryStatus.CANCELLED:
        raise conflict("delivery_settled", f"The delivery is {delivery.status} already.")
    return delivery


def _there(found: Delivery | None) -> Delivery:
    if found is None:
        raise not_found("delivery")
    return found
