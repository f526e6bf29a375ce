"""Stage 5: send one result to one subscriber, once.

Delivery is at least once: a worker may die after the subscriber answered and before that was written down. Subscribers
recognise repeats by `webhook-id`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from relay.clock import Instant, after, rfc3339, seconds_between
from relay.errors import StoreUnavailable
from relay.frozen import frozen
from relay.ids import new_id
from relay.model import ATTEMPT, Attempt, DeliveryStatus, Secret, Subscription, SubscriptionStatus, Trigger
from relay.outbound.deliveries import DeliveryDoor, Reply
from relay.pipeline.breaker import Breakers, Health, health_of
from relay.pipeline.envelope import delivery_headers, webhook_timestamp
from relay.pipeline.excerpt import without_values
from relay.pipeline.fanout import DeliveryWork
from relay.pipeline.floor import Floor
from relay.pipeline.formats import Message
from relay.pipeline.outgoing import Outgoing, PayloadUrls
from relay.pipeline.pace import Pace
from relay.pipeline.room import NoRoom
from relay.pipeline.schedule import retry_after_seconds
from relay.signing.standard_webhooks import SigningKey, sign, signing_key
from relay.store.settlement import SETTLE_DELIVERY, DeliverySettlement, Settled
from relay.tracing import MESSAGE_ID, TRIGGER, Attempted, Tracer

log = structlog.get_logger(__name__)

GONE: Final = 410
HEED_RETRY_AFTER: Final = (429, 503)
LONGEST_RETRY_AFTER_SECONDS: Final = 86_400.0
LONGEST_TIMEOUT_SECONDS: Final = 300.0  # that a subscription may ask for
RETRY_JITTER: Final = 0.2  # of the wait, half of it to either side
ROOM_AGAIN_SECONDS: Final = 5.0


@frozen()
class Step:
    """What a delivery becomes after an attempt."""

    status: DeliveryStatus
    due_at: Instant | None
    last_error: str | None = None
    disable_reason: str | None = None  # why its subscription is to be disabled


def next_step(reply: Reply, *, made: int, schedule: Sequence[float], now: Instant, chance: float) -> Step:
    """Decide by the answer. `made` counts the attempts of the present budget, this one among them."""
    if reply.error_code is None and reply.status is not None and 200 <= reply.status < 300:
        return Step(DeliveryStatus.DELIVERED, None)
    error = reply.error_code or f"http_{reply.status}"
    if reply.status == GONE and reply.error_code is None:  # the subscriber asks us to stop (Standard Webhooks)
        return Step(DeliveryStatus.PENDING, now, error, "answered 410 Gone")
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
        breakers: Breakers,
        *,
        schedule: Sequence[float],
        timeout_seconds: float,
        disable_after_seconds: float | None = None,
        part_of: Callable[[float], float] = float,
    ) -> None:
        self._floor = floor
        self._door = door
        self._breakers = breakers
        self._schedule = tuple(schedule)
        self._timeout_seconds = timeout_seconds
        self._disable_after_seconds = disable_after_seconds
        self._pace = Pace(floor.clock, part_of)
        self._keys: dict[str, tuple[Subscription, dict[Secret, SigningKey]]] = {}
        self.outgoing = Outgoing(floor, payload_url)

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
        message: Message | None = None
        try:
            message = await self.outgoing.message(work, subscription)
            if message is None:
                await self._set_aside(work, DeliveryStatus.CANCELLED, "result_erased")
                return
            if subscription.rate_per_second is not None:
                await self._pace.keep(subscription)
            started_at = self._floor.clock.now()
            sign_it = partial(self._headers, work, message, subscription, started_at)
            headers = sign_it() if not message.held else await asyncio.to_thread(sign_it)
            timeout = self._timeout_seconds if subscription.timeout_seconds is None else subscription.timeout_seconds
            reply = await self._door.post(url, message.body, headers, timeout_seconds=timeout)
        except NoRoom:
            later = after(started_at, ROOM_AGAIN_SECONDS)
            await self._set_aside(work, DeliveryStatus.PENDING, work.delivery.last_error, later)
            return
        except StoreUnavailable:
            raise
        except Exception:  # not the subscriber's doing, but it uses up the schedule: so it ends somewhere, visibly
            log.exception("delivery.failed", delivery_id=work.delivery.id, result_id=work.delivery.result_id)
            reply = Reply(None, None, None, "internal_error", 0)
        finally:
            if message is not None and message.held:
                self.outgoing.sent(message, subscription)
        await self._settle(work, subscription, reply, started_at, message)

    async def _settle(
        self, work: DeliveryWork, subscription: Subscription, reply: Reply, started_at: Instant, message: Message | None
    ) -> None:
        delivery, clock = work.delivery, self._floor.clock
        now = clock.now()
        number = delivery.attempts + 1
        made = number - delivery.budget_from
        schedule = subscription.schedule_seconds or self._schedule
        await self._ask_before_disabling(subscription.id, reply, now)
        news = self._breakers.report(subscription.id, reply, made=made, started_at=started_at)
        step = next_step(reply, made=made, schedule=schedule, now=now, chance=clock.random())
        if step.last_error is not None:
            step = self._unless_hopeless(step, subscription.id, now)
        attempt = attempt_of(work, subscription, reply, started_at)
        settlement = DeliverySettlement(
            delivery_id=delivery.id,
            claims=delivery.claims,
            now=now,
            status=step.status,
            due_at=step.due_at,
            attempt=attempt,
            last_error=step.last_error,
            budget_from=delivery.budget_from,
            disable_subscription=subscription.id if step.disable_reason else None,
            disable_reason=step.disable_reason,
        )
        settled = await self._floor.database.submit_patiently(SETTLE_DELIVERY, settlement)
        if settled is Settled.DONE:
            self._floor.counters.attempted(subscription.id, step.status)
        if news is not None:
            await self._breakers.write(news)
        if step.disable_reason:
            await self._floor.configuration.refresh()
        outcome = step.status.value if settled is Settled.DONE else settled.value
        self._count(work, subscription.name, outcome, attempt, now)
        if self._floor.tracer is not None and message is not None:
            self._trace(self._floor.tracer, work, message, subscription.name, attempt, outcome)
        log.info(
            "delivery.attempted",
            delivery_id=delivery.id,
            result_id=delivery.result_id,
            subscription_id=subscription.id,
            attempt=number,
            http_status=reply.status,
            error_code=reply.error_code,
            duration_ms=reply.duration_ms,
            outcome=outcome,
        )

    async def _ask_before_disabling(self, subscription_id: str, reply: Reply, now: Instant) -> None:
        """Somebody may have enabled it a moment ago, at another node: then its failures are forgotten."""
        if health_of(reply) is not Health.FINE and self._hopeless_since(subscription_id, now) is not None:
            with suppress(StoreUnavailable):
                await self._breakers.refresh()

    def _hopeless_since(self, subscription_id: str, now: Instant) -> Instant | None:
        since, most = self._breakers.failing_since(subscription_id), self._disable_after_seconds
        return since if most is not None and since is not None and seconds_between(since, now) >= most else None

    def _unless_hopeless(self, step: Step, subscription_id: str, now: Instant) -> Step:
        """After days of nothing but failures the subscription is disabled, and its deliveries wait for it."""
        since = self._hopeless_since(subscription_id, now)
        if since is None or step.disable_reason:
            return step
        return Step(DeliveryStatus.PENDING, now, step.last_error, f"nothing but failures since {rfc3339(since)}")

    def _count(self, work: DeliveryWork, name: str, outcome: str, attempt: Attempt, now: Instant) -> None:
        metrics = self._floor.metrics
        metrics.attempted(name, outcome, attempt.http_status, attempt.trigger.value, attempt.duration_ms)
        if outcome == DeliveryStatus.DELIVERED.value and work.delivery.replay_id is None:
            metrics.delivered(name, seconds_between(work.delivery.created_at, now))

    def _trace(
        self, tracer: Tracer, work: DeliveryWork, message: Message, name: str, attempt: Attempt, outcome: str
    ) -> None:
        attempted = Attempted(
            name=f"deliver {name}",
            kind="PRODUCER",
            operation="send",
            job_id=message.job_id,
            owner_id=work.delivery.id,
            number=attempt.number,
            destination=name,
            outcome=outcome,
            http_status=attempt.http_status,
            error=attempt.error_code,
            size=len(message.body),
            started_at=attempt.started_at,
            duration_ms=attempt.duration_ms,
            more={MESSAGE_ID: work.delivery.message_id, TRIGGER: attempt.trigger.value},
        )
        tracer.write(attempted)

    async def _set_aside(
        self, work: DeliveryWork, status: DeliveryStatus, reason: str | None, due_at: Instant | None = None
    ) -> None:
        """Settle without an attempt: nobody to send to now, or nothing to send, or not now."""
        now = self._floor.clock.now()
        self._breakers.skipped(work.delivery.subscription_id)
        settlement = DeliverySettlement(
            delivery_id=work.delivery.id,
            claims=work.delivery.claims,
            now=now,
            status=status,
            due_at=(due_at or now) if status is DeliveryStatus.PENDING else None,
            attempt=None,
            last_error=reason,
        )
        await self._floor.database.submit_patiently(SETTLE_DELIVERY, settlement)

    # --- what is sent ---

    async def message(self, subscription: Subscription, work: DeliveryWork) -> tuple[dict[str, str], bytes] | None:
        """The headers and body that an attempt would send now, for who takes them. None when the result is gone.
        Raises NoRoom."""
        message = await self.outgoing.message(work, subscription)
        if message is None:
            return None
        try:
            return self._headers(work, message, subscription, self._floor.clock.now()), message.body
        finally:
            self.outgoing.sent(message, subscription)

    def _headers(
        self, work: DeliveryWork, message: Message, subscription: Subscription, now: Instant
    ) -> dict[str, str]:
        delivery, keys = work.delivery, self._signing_keys(subscription, now)
        own = delivery_headers(
            message_id=delivery.message_id,
            delivery_id=delivery.id,
            job_id=message.job_id,
            attempt=delivery.attempts + 1,
            trigger=trigger_of(work),
            sent_at=now,
            signature=sign(delivery.message_id, webhook_timestamp(now), message.body, keys),
            content_type=message.content_type,
        )
        return {**subscription.headers, **(message.headers or {}), **own}

    def _signing_keys(self, subscription: Subscription, now: Instant) -> list[SigningKey]:
        """Decoded: the newest secret, and those before it while their rotations overlap."""
        kept = self._keys.get(subscription.id)
        if kept is None or kept[0] is not subscription:
            made = {each: signing_key(each) for each in subscription.secrets}
            kept = self._keys[subscription.id] = (subscription, made)
        return [kept[1][each] for each in subscription.signing_secrets(now)]


def attempt_of(work: DeliveryWork, subscription: Subscription, reply: Reply, started_at: Instant) -> Attempt:
    """The log's line of an attempt that was made."""
    timing = reply.timing
    return Attempt(
        id=new_id(ATTEMPT, started_at),
        owner_id=work.delivery.id,
        number=work.delivery.attempts + 1,
        trigger=trigger_of(work),
        started_at=started_at,
        duration_ms=reply.duration_ms,
        http_status=reply.status,
        error_code=reply.error_code,
        response_excerpt=without_values(reply.excerpt, subscription.headers),
        dns_ms=None if timing is None else timing.dns_ms,
        connect_ms=None if timing is None else timing.connect_ms,
        first_byte_ms=None if timing is None else timing.first_byte_ms,
    )


def trigger_of(work: DeliveryWork) -> Trigger:
    """Why this attempt is made: `retry` on every one after the first, in a replay too."""
    if work.delivery.attempts:
        return Trigger.RETRY
    return Trigger.NEW if work.delivery.replay_id is None else Trigger.REPLAY
