"""Stage 5 for those who cannot be called: a subscriber takes its messages, and says when it has handled them.

A message carries the bytes and headers that a push would send now. It is leased to who took it and comes again when the
lease ends without an acknowledgement. The number of leases has no limit, or a consumer that crashes for an hour would
lose everything it was given meanwhile: a message ends as `exhausted` when it has waited as long as results are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from relay.clock import Instant, after
from relay.frozen import frozen
from relay.ids import new_id
from relay.model import ATTEMPT, CLOUDEVENTS, RAW, Attempt, Delivery, Subscription, SubscriptionStatus, Trigger
from relay.pipeline.bell import Bell, rest
from relay.pipeline.deliver import ROOM_AGAIN_SECONDS, Deliverer, trigger_of
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES
from relay.pipeline.fanout import DeliveryWork
from relay.pipeline.floor import Floor
from relay.pipeline.room import NoRoom
from relay.store import deliveries, pulling
from relay.store.pulling import LEASED, Waiting
from relay.store.queue import Held

LOOK_AGAIN_SECONDS: Final = 1.0  # for leases that end, and for what another node planned
ENVELOPE_HEAD_BYTES: Final = 4096
ANSWER_BYTES: Final = 8 * 1024 * 1024  # of bodies in one answer, unless a single one is larger


@frozen(kw_only=True)
class Take:
    """What a subscriber asks for."""

    limit: int
    wait_seconds: float
    lease_seconds: float


@frozen(kw_only=True)
class Message:
    """One message that was taken."""

    delivery: Delivery  # as it is now; `attempts` counts this lease
    trigger: Trigger
    lease_until: Instant
    headers: Mapping[str, str]
    body: bytes

    @property
    def lease(self) -> Held:
        return self.delivery.id, self.delivery.claims


class Puller:
    """Leases messages, and ends leases."""

    def __init__(self, floor: Floor, deliverer: Deliverer, bell: Bell) -> None:
        self._floor = floor
        self._deliverer = deliverer
        self._bell = bell

    async def take(self, subscription_id: str, wanted: Take, given_up: asyncio.Event) -> list[Message]:
        """Messages as soon as there are some, or none after the wait. None as well while it is paused or disabled.

        `given_up` is set when nobody waits for the answer any more: whatever was taken is given back.
        """
        clock = self._floor.clock
        ends_at = clock.monotonic() + wanted.wait_seconds
        with self._bell.waiting(subscription_id) as rung:
            while True:
                rung.clear()
                messages = await self._take_now(subscription_id, wanted)
                if given_up.is_set():
                    await self.release(subscription_id, [message.lease for message in messages], 0.0)
                    return []
                left = ends_at - clock.monotonic()
                if messages or left <= 0:
                    return messages
                await rest(clock, min(left, LOOK_AGAIN_SECONDS), rung, given_up)

    async def release(self, subscription_id: str, leases: Collection[Held], delay_seconds: float) -> set[Held]:
        """Give them back before the lease ends; those that still stood."""
        if not leases:
            return set()
        now = self._floor.clock.now()
        give_back = partial(
            pulling.release,
            subscription_id=subscription_id,
            leases=leases,
            now=now,
            pull_at=after(now, delay_seconds),
        )
        released = await self._floor.database.write(give_back)
        self._bell.ring([subscription_id])
        return released

    async def _take_now(self, subscription_id: str, wanted: Take) -> list[Message]:
        subscription = self._floor.configuration.current.subscriptions.get(subscription_id)
        if subscription is None or subscription.status is not SubscriptionStatus.ACTIVE:
            return []
        leased: list[Delivery] = []
        while not leased:  # others may have been quicker, and yet more be waiting
            now = self._floor.clock.now()
            look = partial(pulling.waiting, subscription_id=subscription_id, now=now, limit=wanted.limit)
            ids = _that_fit(await self._floor.database.read(look), whole=subscription.format in (RAW, CLOUDEVENTS))
            if not ids:
                return []
            until = after(now, wanted.lease_seconds)
            lease = partial(pulling.lease, ids=ids, now=now, until=until, attempt_of=partial(_attempt, now=now))
            leased = await self._floor.database.write(lease)
        messages = [await self._message(subscription, delivery, until) for delivery in leased]
        return [message for message in messages if message is not None]

    async def _message(self, subscription: Subscription, delivery: Delivery, until: Instant) -> Message | None:
        """None when the result is gone, and the delivery ended; or when there is no room for it now."""
        work = _work(delivery)
        try:
            sent = await self._deliverer.message(subscription, work)
        except NoRoom:
            await self.release(subscription.id, [(delivery.id, delivery.claims)], ROOM_AGAIN_SECONDS)
            return None
        if sent is None:
            end = partial(deliveries.cancel, id=delivery.id, now=self._floor.clock.now())
            await self._floor.database.write(end)
            return None
        headers, body = sent
        return Message(delivery=delivery, trigger=trigger_of(work), lease_until=until, headers=headers, body=body)


def _that_fit(found: Sequence[Waiting], *, whole: bool) -> list[str]:
    """The first ones whose bodies go into one answer together; always one. `whole`: large ones do not go out thin."""
    ids: list[str] = []
    room = ANSWER_BYTES
    for item in found:
        room -= (item.size_bytes if whole else min(item.size_bytes, MAX_ENVELOPE_BYTES)) + ENVELOPE_HEAD_BYTES
        if ids and room < 0:
            break
        ids.append(item.id)
    return ids


def _attempt(delivery: Delivery, now: Instant) -> Attempt:
    """The log's line of a lease that begins; its end is written when it is known."""
    return Attempt(
        id=new_id(ATTEMPT, now),
        owner_id=delivery.id,
        number=delivery.attempts,
        trigger=trigger_of(_work(delivery)),
        started_at=now,
        duration_ms=0,
        http_status=None,
        error_code=LEASED,
        response_excerpt=None,
    )


def _work(leased: Delivery) -> DeliveryWork:
    """The attempt that this lease is, as the deliver stage would have been given it."""
    return DeliveryWork(replace(leased, attempts=leased.attempts - 1))
