"""Stage 4: one result becomes one delivery per matching subscription, in the transaction that stores it.

Matching is done on the cached configuration; the transaction checks that it is still the current one. A delivery whose
subscription has a free slot here is inserted already claimed, so that it can go out without another look.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from relay.clock import Clock, Instant, after
from relay.frozen import frozen
from relay.ids import new_id
from relay.model import DELIVERY, ENVELOPE, Delivery, DeliveryStatus, Result, Subscription
from relay.pipeline.bell import Bell
from relay.pipeline.routing import NO_PAYLOAD, Content, Router
from relay.store.configuration import Configuration


@frozen()
class DeliveryWork:
    """One delivery to attempt, with what is at hand already. `body` is the envelope; None = load it."""

    delivery: Delivery
    job_id: str = ""  # known where the body is
    body: bytes | None = None


class DeliveryHands(Protocol):
    """The hands that deliver, as far as this stage needs them."""

    def reserve(self, lane: str) -> bool: ...

    def release(self, lane: str) -> None: ...

    def start(self, work: DeliveryWork) -> None: ...

    def hint(self) -> None: ...


def new_delivery(result: Result, subscription_id: str, now: Instant, *, pulled: bool = False) -> Delivery:
    """The first delivery of a result to a subscription, which has it sent or, if `pulled`, takes it."""
    return Delivery(
        id=new_id(DELIVERY, now),
        result_id=result.id,
        subscription_id=subscription_id,
        replay_id=None,
        message_id=result.id,
        status=DeliveryStatus.PENDING,
        attempts=0,
        budget_from=0,
        created_at=now,
        settled_at=None,
        http_status=None,
        due_at=None if pulled else now,
        lease_until=None,
        claims=0,
        last_error=None,
        pull_at=now if pulled else None,
    )


@frozen()
class Plan:
    """The deliveries of one result. The claimed ones have a slot each: `start` them or `release` them."""

    deliveries: tuple[Delivery, ...]
    hands: DeliveryHands
    bell: Bell
    needs_envelope: bool = True  # somebody gets one, so it is worth making while the payload is at hand

    @property
    def claimed(self) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.claims]

    def start(self, job_id: str, body: bytes | None) -> None:
        """They are in the database: send those that are claimed, say that the others are due or may be taken."""
        claimed = self.claimed
        for delivery in claimed:
            self.hands.start(DeliveryWork(delivery, job_id, body))
        if len(claimed) == len(self.deliveries):
            return
        pulled = [delivery.subscription_id for delivery in self.deliveries if delivery.pull_at is not None]
        self.bell.ring(pulled)
        if len(claimed) + len(pulled) < len(self.deliveries):
            self.hands.hint()

    def release(self) -> None:
        """They were not written."""
        for delivery in self.claimed:
            self.hands.release(delivery.subscription_id)


class Fanout:
    """Plans the deliveries of results."""

    def __init__(self, clock: Clock, hands: DeliveryHands, lease_seconds: float, bell: Bell | None = None) -> None:
        self._clock = clock
        self._hands = hands
        self._bell = bell or Bell()
        self._lease_seconds = lease_seconds
        self._router = Router()

    def plan(self, result: Result, configuration: Configuration, content: Content = NO_PAYLOAD) -> Plan:
        """One delivery per matching subscription, claimed where a slot is free."""
        now = self._clock.now()
        wanted = self._router.wanted(result, configuration, content)
        needs_envelope = any(subscription.format == ENVELOPE for subscription in wanted)
        made = tuple(self._claimed_if_free(self._new(result, wanted, now), now))
        return Plan(made, self._hands, self._bell, needs_envelope)

    def _new(self, result: Result, wanted: Iterable[Subscription], now: Instant) -> Iterable[Delivery]:
        return (
            new_delivery(result, subscription.id, now, pulled=subscription.kind == "pull") for subscription in wanted
        )

    def _claimed_if_free(self, deliveries: Iterable[Delivery], now: Instant) -> Iterable[Delivery]:
        lease_until = after(now, self._lease_seconds)
        for delivery in deliveries:
            free = delivery.pull_at is None and self._hands.reserve(delivery.subscription_id)
            yield replace(delivery, lease_until=lease_until, claims=1) if free else delivery
