"""Stage 5: send one result to one subscriber, once.

Delivery is at least once: a worker may die after the subscriber answered and before that was written down. Subscribers
recognise repeats by `webhook-id`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from relay.clock import Instant, after
from relay.errors import StoreUnavailable
from relay.frozen import frozen
from relay.model import ATTEMPT, Attempt, DeliveryStatus, Result, Subscription, SubscriptionStatus, Trigger, new_id
from relay.outbound.deliveries import DeliveryDoor, Reply
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES, build_envelope, delivery_headers, webhook_timestamp
from relay.pipeline.excerpt import without_values
from relay.pipeline.fanout import DeliveryWork
from relay.pipeline.floor import Floor
from relay.pipeline.schedule import retry_after_seconds
from relay.signing.standard_webhooks import decode_secret, sign
from relay.store import results
from relay.store.settlement import SETTLE_DELIVERY, DeliverySettlement, Settled

log = structlog.get_logger(__name__)

GONE: Final = 410
HEED_RETRY_AFTER: Final = (429, 503)
LONGEST_RETRY_AFTER_SECONDS: Final = 86_400.0
RETRY_JITTER: Final = 0.2  # of the wait, half of it to either side
SURELY_FITS_BYTES: Final = 512 * 1024  # in base64 too
KEPT_BODIES_BYTES: Final = 8 * 1024 * 1024


PayloadUrls = Callable[[str], str]  # where a payload can be had that does not fit into an envelope, by result id


@frozen()
class Step:
    """What a delivery becomes after an attempt."""

    status: DeliveryStatus
    due_at: Instant | None
    last_error: str | None = None
    disable_subscription: bool = False


def next_step(reply: Reply, *, made: int, schedule: Sequence[float], now: Instant, chance: float) -> Step:
    """Decide by the answer. `made` counts the attempts of the present budget, this one among them."""
    if reply.error_code is None and reply.status is not None and 200 <= reply.status < 300:
        return Step(DeliveryStatus.DELIVERED, None)
    error = reply.error_code or f"http_{reply.status}"
    if reply.status == GONE and reply.error_code is None:  # the subscriber asks us to stop (Standard Webhooks)
        return Step(DeliveryStatus.PENDING, now, error, disable_subscription=True)
    if made >= len(schedule):
        return Step(DeliveryStatus.EXHAUSTED, None, error)
    wait = schedule[made] * (1 + RETRY_JITTER * (chance - 0.5))
    if reply.status in HEED_RETRY_AFTER:
        asked = retry_after_seconds(reply.retry_after, now, LONGEST_RETRY_AFTER_SECONDS)
        wait = max(wait, asked or 0.0)
    return Step(DeliveryStatus.PENDING, after(now, wait), error)


class Deliverer:
    """Makes attempts and settles them."""

    def __init__(
        self,
        floor: Floor,
        door: DeliveryDoor,
        payload_url: PayloadUrls,
        *,
        schedule: Sequence[float],
        timeout_seconds: float,
    ) -> None:
        self._floor = floor
        self._door = door
        self._payload_url = payload_url
        self._schedule = tuple(schedule)
        self._timeout_seconds = timeout_seconds
        self._keys: dict[str, tuple[Subscription, list[bytes]]] = {}
        self._bodies = _KeptBodies(KEPT_BODIES_BYTES)

    async def run(self, work: DeliveryWork) -> None:
        """Make one attempt of a claimed delivery and settle it."""
        subscription = self._floor.configuration.current.subscriptions.get(work.delivery.subscription_id)
        if subscription is None:  # made by another node a moment ago
            configuration = await self._floor.configuration.refresh()
            subscription = configuration.subscriptions.get(work.delivery.subscription_id)
        if subscription is None or subscription.deleted_at is not None:
            await self._set_aside(work, DeliveryStatus.CANCELLED, "subscription_deleted")
        elif subscription.status is not SubscriptionStatus.ACTIVE or subscription.url is None:  # paused, or it pulls
            await self._set_aside(work, DeliveryStatus.PENDING, work.delivery.last_error)
        else:
            await self._attempt(work, subscription, subscription.url)

    async def _attempt(self, work: DeliveryWork, subscription: Subscription, url: str) -> None:
        started_at = self._floor.clock.now()
        try:
            found = await self._body(work)
            if found is None:
                await self._set_aside(work, DeliveryStatus.CANCELLED, "result_erased")
                return
            job_id, body = found
            started_at = self._floor.clock.now()
            headers = self._headers(work, job_id, subscription, body, started_at)
            reply = await self._door.post(url, body, headers, timeout_seconds=self._timeout_seconds)
        except StoreUnavailable:
            raise
        except Exception:  # not the subscriber's doing, but it uses up the schedule: so it ends somewhere, visibly
            log.exception("delivery.failed", delivery_id=work.delivery.id, result_id=work.delivery.result_id)
            reply = Reply(None, None, None, "internal_error", 0)
        await self._settle(work, subscription, reply, started_at)

    async def _settle(self, work: DeliveryWork, subscription: Subscription, reply: Reply, started_at: Instant) -> None:
        delivery, clock = work.delivery, self._floor.clock
        now = clock.now()
        number = delivery.attempts + 1
        made = number - delivery.budget_from
        step = next_step(reply, made=made, schedule=self._schedule, now=now, chance=clock.random())
        attempt = Attempt(
            id=new_id(ATTEMPT, started_at),
            owner_id=delivery.id,
            number=number,
            trigger=trigger_of(work),
            started_at=started_at,
            duration_ms=reply.duration_ms,
            http_status=reply.status,
            error_code=reply.error_code,
            response_excerpt=without_values(reply.excerpt, subscription.headers),
            dns_ms=None if reply.timing is None else reply.timing.dns_ms,
            connect_ms=None if reply.timing is None else reply.timing.connect_ms,
            first_byte_ms=None if reply.timing is None else reply.timing.first_byte_ms,
        )
        settlement = DeliverySettlement(
            delivery_id=delivery.id,
            claims=delivery.claims,
            now=now,
            status=step.status,
            due_at=step.due_at,
            attempt=attempt,
            last_error=step.last_error,
            budget_from=delivery.budget_from,
            disable_subscription=subscription.id if step.disable_subscription else None,
        )
        settled = await self._floor.database.submit_patiently(SETTLE_DELIVERY, settlement)
        if step.disable_subscription:
            await self._floor.configuration.refresh()
        log.info(
            "delivery.attempted",
            delivery_id=delivery.id,
            result_id=delivery.result_id,
            subscription_id=subscription.id,
            attempt=number,
            http_status=reply.status,
            error_code=reply.error_code,
            duration_ms=reply.duration_ms,
            outcome=step.status.value if settled is Settled.DONE else settled.value,
        )

    async def _set_aside(self, work: DeliveryWork, status: DeliveryStatus, reason: str | None) -> None:
        """Settle without an attempt: nobody to send to now, or nothing to send."""
        now = self._floor.clock.now()
        settlement = DeliverySettlement(
            delivery_id=work.delivery.id,
            claims=work.delivery.claims,
            now=now,
            status=status,
            due_at=now if status is DeliveryStatus.PENDING else None,
            attempt=None,
            last_error=reason,
        )
        await self._floor.database.submit_patiently(SETTLE_DELIVERY, settlement)

    # --- what is sent ---

    async def message(self, subscription: Subscription, work: DeliveryWork) -> tuple[dict[str, str], bytes] | None:
        """The headers and body that an attempt would send now, for who takes them. None when the result is gone."""
        found = await self._body(work)
        if found is None:
            return None
        job_id, body = found
        return self._headers(work, job_id, subscription, body, self._floor.clock.now()), body

    def _headers(
        self, work: DeliveryWork, job_id: str, subscription: Subscription, body: bytes, now: Instant
    ) -> dict[str, str]:
        delivery = work.delivery
        own = delivery_headers(
            message_id=delivery.message_id,
            delivery_id=delivery.id,
            job_id=job_id,
            attempt=delivery.attempts + 1,
            trigger=trigger_of(work),
            sent_at=now,
            signature=sign(delivery.message_id, webhook_timestamp(now), body, self._signing_keys(subscription, now)),
        )
        return {**subscription.headers, **own}

    def _signing_keys(self, subscription: Subscription, now: Instant) -> list[bytes]:
        """The decoded secrets: the newest, and its predecessor while a rotation overlaps."""
        kept = self._keys.get(subscription.id)
        if kept is None or kept[0] is not subscription:
            kept = self._keys[subscription.id] = (subscription, [decode_secret(each) for each in subscription.secrets])
        until = subscription.previous_secret_until
        return kept[1] if until is not None and now < until else kept[1][:1]

    async def _body(self, work: DeliveryWork) -> tuple[str, bytes] | None:
        """The job and the envelope; None when the result is gone."""
        if work.body is not None:
            return work.job_id, work.body
        result = await self._floor.database.read(partial(results.get, id=work.delivery.result_id))
        if result is None:
            return None
        kept = self._bodies.get(result)
        if kept is None:
            if result.webhook_id not in self._floor.configuration.current.webhooks:  # its name goes into the envelope
                await self._floor.configuration.refresh()
            kept = await self._load(result)
            self._bodies.keep(result, kept)
        return result.job_id, kept

    async def _load(self, result: Result) -> bytes:
        payload: bytes | None = None
        if result.payload_id is not None and (result.size_bytes or 0) <= MAX_ENVELOPE_BYTES:
            payload = await self._floor.payloads.read(result.payload_id)
        return self.envelope(result, payload)

    def keep(self, result: Result, body: bytes) -> None:
        """Remember an envelope: its deliveries are about to be made."""
        self._bodies.keep(result, body)

    def forget_bodies(self) -> None:
        """Drop every envelope that is remembered; what is to be sent yet is made anew."""
        self._bodies = _KeptBodies(KEPT_BODIES_BYTES)

    def envelope(self, result: Result, payload: bytes | None) -> bytes:
        """The body for subscriptions of format `envelope`. `payload` may be left out where it is too large."""
        webhook = self._floor.configuration.current.webhooks.get(result.webhook_id)
        may_be_thin = result.payload_id is not None and (payload is None or len(payload) > SURELY_FITS_BYTES)
        url = self._payload_url(result.id) if may_be_thin else None
        name, provider = (webhook.name, webhook.provider) if webhook is not None else ("", "")
        return build_envelope(result, name, provider, payload, url)


def trigger_of(work: DeliveryWork) -> Trigger:
    """Why this attempt is made: `retry` on every one after the first, in a replay too."""
    if work.delivery.attempts:
        return Trigger.RETRY
    return Trigger.NEW if work.delivery.replay_id is None else Trigger.REPLAY


class _KeptBodies:
    """The latest envelopes, since several subscriptions want the same one. Bounded by bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._bodies: OrderedDict[tuple[str, str | None], bytes] = OrderedDict()

    def get(self, result: Result) -> bytes | None:
        return self._bodies.get(self._key(result))

    def keep(self, result: Result, body: bytes) -> None:
        key = self._key(result)
        if key in self._bodies:
            return
        self._bodies[key] = body
        self._size += len(body)
        while self._size > self._most and len(self._bodies) > 1:
            _, dropped = self._bodies.popitem(last=False)
            self._size -= len(dropped)

    def _key(self, result: Result) -> tuple[str, str | None]:
        return result.id, result.payload_id  # a payload that was erased since is not sent from here
