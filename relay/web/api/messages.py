"""`/v1/subscriptions/{id}/messages`: what a subscriber takes that cannot be called, and its word that it has it."""

from __future__ import annotations

import base64
from functools import partial
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints

from relay.ids import ID_LENGTH
from relay.model import DELIVERY, SUBSCRIPTION, Scope, Subscription
from relay.pipeline.pull import Message, Take
from relay.store import pulling
from relay.store.queue import Held
from relay.web.endpoint import Answer, Call, endpoint
from relay.web.fields import NoQuery, Nothing, Query, Request, Time, View, Whole
from relay.web.leaving import given_up
from relay.web.problems import Problem, conflict, not_found

AT_ONCE: Final = 200
LONGEST_LEASE_SECONDS: Final = 43_200

MessageId = Annotated[str, StringConstraints(pattern=rf"^[a-z]{{2,5}}_[0-9a-f]{{{ID_LENGTH}}}$")]
Lease = Annotated[str, StringConstraints(pattern=rf"^{DELIVERY}_[0-9a-f]{{{ID_LENGTH}}}\.[0-9]{{1,9}}$")]


class TakeQuery(Query):
    """How many, how long to wait for the first one, and how long they are mine."""

    limit: Annotated[Whole, Field(ge=1, le=100, description="How many at most.")] = 10
    wait: Annotated[float, Field(ge=0, le=60, description="Seconds to wait for a message before answering none.")] = 0
    lease_seconds: Annotated[
        Whole,
        Field(ge=1, le=LONGEST_LEASE_SECONDS, description="A message that is not acknowledged by then comes again."),
    ] = 30


class MessageView(View):
    """One message, leased to the caller."""

    message_id: Annotated[str, Field(description="The same for every lease; also in the header `webhook-id`.")]
    delivery_id: str
    lease: Annotated[str, Field(description="What to give back, where it is not acknowledged.")]
    attempt: int
    trigger: str
    created_at: Time
    lease_expires_at: Time
    headers: Annotated[dict[str, str], Field(description="What a push would have sent: signature and all.")]
    body: Annotated[
        str | None, Field(description="The body, whose UTF-8 is signed. Null where it is not UTF-8 text.")
    ] = None
    body_base64: Annotated[str | None, Field(description="The body where it is not UTF-8 text.")] = None


class MessagesView(View):
    """Messages, those that waited longest first."""

    data: list[MessageView]
    subscription_status: Annotated[str, Field(description="A paused or disabled one gives no messages.")]


class Acknowledgement(Request):
    """What was handled."""

    message_ids: Annotated[list[MessageId], Field(min_length=1, max_length=AT_ONCE)]


class AcknowledgedView(View):
    """What became of one acknowledgement."""

    message_id: str
    status: Literal["acknowledged", "already_acknowledged", "settled", "not_leased", "unknown"]


class AcknowledgementsView(View):
    """One entry for each message."""

    data: list[AcknowledgedView]


class Release(Request):
    """What could not be handled now."""

    leases: Annotated[list[Lease], Field(min_length=1, max_length=AT_ONCE)]
    delay_seconds: Annotated[float, Field(ge=0, le=LONGEST_LEASE_SECONDS, description="When it may come again.")] = 0


class ReleasedView(View):
    """What became of one lease."""

    lease: str
    status: Literal["released", "lost"]


class ReleasesView(View):
    """One entry for each lease."""

    data: list[ReleasedView]


@endpoint("GET", "/v1/subscriptions/{id}/messages", scope=Scope.WRITE, answers={200: MessagesView},
          prefix=SUBSCRIPTION, refusals=(405, 409))  # fmt: skip
async def take(call: Call[TakeQuery, Nothing]) -> Answer:
    """Lease messages of a pull subscription; with `wait`, as soon as there are some.

    A message comes again when its lease ends before it is acknowledged.
    """
    if call.request.method == "HEAD":
        raise Problem(405, "method_not_allowed", "Messages that are taken have to be read.", headers={"allow": "GET"})
    await _pull_subscription(call)
    query = call.query
    wanted = Take(limit=query.limit, wait_seconds=query.wait, lease_seconds=query.lease_seconds)
    async with given_up(call.request, call.services.stopping) as nobody_waits:
        taken = await call.services.puller.take(call.id, wanted, nobody_waits)
    subscription = await _pull_subscription(call)  # it may have been deleted or paused meanwhile
    return Answer(200, MessagesView(data=[_view(item) for item in taken], subscription_status=subscription.status))


@endpoint("POST", "/v1/subscriptions/{id}/ack", scope=Scope.WRITE, answers={200: AcknowledgementsView},
          prefix=SUBSCRIPTION)  # fmt: skip
async def acknowledge(call: Call[NoQuery, Acknowledgement]) -> Answer:
    """Settle messages that were handled. It is taken as true even when the lease was lost meanwhile."""
    await _pull_subscription(call)
    effect = partial(
        pulling.acknowledge,
        subscription_id=call.id,
        message_ids=list(dict.fromkeys(call.body.message_ids)),
        now=call.now,
    )
    answer = await call.write(effect, lambda done: Answer(200, _acknowledgements(done)))
    if isinstance(answer.view, AcknowledgementsView):
        settled = sum(item.status == pulling.Acknowledged.DONE.value for item in answer.view.data)
        call.services.counters.acknowledged(call.id, settled)
    return answer


@endpoint("POST", "/v1/subscriptions/{id}/release", scope=Scope.WRITE, answers={200: ReleasesView},
          prefix=SUBSCRIPTION)  # fmt: skip
async def release(call: Call[NoQuery, Release]) -> Answer:
    """Give messages back before their leases end. Of a lease that was lost meanwhile nothing changes."""
    await _pull_subscription(call)
    leases = list(dict.fromkeys(call.body.leases))
    released = await call.services.puller.release(call.id, [_held(each) for each in leases], call.body.delay_seconds)
    views = [ReleasedView(lease=each, status="released" if _held(each) in released else "lost") for each in leases]
    return Answer(200, ReleasesView(data=views))


async def _pull_subscription(call: Call[Any, Any]) -> Subscription:
    """The subscription as this process knows it; looked up only when it does not. Raises Problem 404 and 409."""
    found = call.services.configuration.current.subscriptions.get(call.id)
    if found is None:
        found = (await call.services.configuration.refresh()).subscriptions.get(call.id)
    if found is None or found.deleted_at is not None:
        raise not_found("subscription")
    if found.kind != "pull":
        raise conflict("not_a_pull_subscription", "Results are sent to this subscription: there is nothing to take.")
    return found


def _view(message: Message) -> MessageView:
    delivery = message.delivery
    text = _text(message.body)
    return MessageView(
        message_id=delivery.message_id,
        delivery_id=delivery.id,
        lease=f"{delivery.id}.{delivery.claims}",
        attempt=delivery.attempts,
        trigger=message.trigger,
        created_at=delivery.created_at,
        lease_expires_at=message.lease_until,
        headers=dict(message.headers),
        body=text,
        body_base64=base64.b64encode(message.body).decode() if text is None else None,
    )


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _held(lease: str) -> Held:
    delivery_id, _, claims = lease.partition(".")
    return delivery_id, int(claims)


def _acknowledgements(done: dict[str, pulling.Acknowledged]) -> AcknowledgementsView:
    data = [AcknowledgedView.model_validate({"message_id": id, "status": each.value}) for id, each in done.items()]
    return AcknowledgementsView(data=data)
