"""What a fetch came to, written behind the fence: asked again later, or over, with result and deliveries at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import structlog

from relay.clock import Instant, after, seconds_between
from relay.errors import StoreUnavailable
from relay.ids import new_id
from relay.model import ATTEMPT, RESULT, Attempt, Job, Result, Trigger
from relay.pipeline.asking import Asked
from relay.pipeline.decision import Conclusion
from relay.pipeline.deliver import Deliverer
from relay.pipeline.fanout import Fanout, Plan
from relay.pipeline.floor import Floor
from relay.pipeline.routing import Content
from relay.store import tracking
from relay.store.settlement import SETTLE_FETCH, Ended, FetchSettlement, Postponed, Settled

T = TypeVar("T")
log = structlog.get_logger(__name__)

HELD_SECONDS: Final = 600.0  # how long a result that cannot be fetched twice waits for the database
HELD_EVERY_SECONDS: Final = 1.0
TAKES: Final = 3  # how often such a result's job is claimed anew: that it is lost again and again has another reason


class Concluder:
    """Writes what fetches came to. Raises StoreUnavailable."""

    def __init__(self, floor: Floor, fanout: Fanout, deliverer: Deliverer) -> None:
        self._floor = floor
        self._fanout = fanout
        self._deliverer = deliverer
        self._keeping: set[asyncio.Task[bool]] = set()

    async def postpone(
        self, job: Job, step: Postponed, attempt: Attempt | None, named: str | None = None, taken: str | None = None
    ) -> None:
        """The job is asked again. `named` is the provider's id of it, if the answer gave one; `taken` the notification
        whose body was what was looked at."""
        settlement = FetchSettlement(
            job_id=job.id,
            claims=job.claims,
            notified_at=job.notified_at,
            due_at=job.due_at,
            now=self._floor.clock.now(),
            outcome=step,
            attempt=attempt,
            learnt_keys=_learnt(job, named),
            provider_job_id=named,
            taken_notification_id=taken,
        )
        await self._floor.database.submit_patiently(SETTLE_FETCH, settlement)
        self._floor.counters.fetched(job.webhook_id, attempt)

    async def conclude(
        self, job: Job, conclusion: Conclusion, asked: Asked, attempt: Attempt | None, *, single_use: bool = False
    ) -> bool:
        """Result, deliveries, attempt and job in one transaction; prepared anew if the configuration changed.

        `single_use`: what was fetched is nowhere else any more; it outlasts a database that is away, and this call's
        being cancelled. False: the job is somebody else's by now, and nothing was written.
        """
        if not conclusion.with_payload:
            await asked.spool.discard()
        elif single_use:
            keeping = asyncio.ensure_future(self._keep(job, conclusion, asked, attempt))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._kept)
            return await asyncio.shield(keeping)
        done = await self._conclude(job, conclusion, asked, attempt)
        if not done:
            await self._drop(job, asked)
        return done

    async def _keep(self, job: Job, conclusion: Conclusion, asked: Asked, attempt: Attempt | None) -> bool:
        """See `conclude`. Whoever got the job while the database was away asks in vain: it is claimed anew for what is
        at hand, and the old claim changes nothing."""
        until = self._floor.clock.monotonic() + HELD_SECONDS
        for _ in range(TAKES):
            if await self._held(until, job, partial(self._conclude, job, conclusion, asked, attempt)):
                return True
            taken = await self._held(until, job, partial(self._take, job))
            if taken is None:
                break
            job, attempt = taken, None if attempt is None else replace(attempt, number=taken.attempts + 1)
        await self._drop(job, asked)
        return False

    async def _held(self, until: float, job: Job, work: Callable[[], Awaitable[T]]) -> T:
        """Do it as soon as the database is there, and each time as if for the first: an id that is older than others'
        would not be counted, and a lease that has run out meanwhile is no lease."""
        while True:
            try:
                return await work()
            except StoreUnavailable:
                if self._floor.clock.monotonic() >= until:
                    raise
                log.warning("fetch.result_held", job_id=job.id)
                await self._floor.clock.sleep(HELD_EVERY_SECONDS)

    async def _take(self, job: Job) -> Job | None:
        lease_until = after(self._floor.clock.now(), self._floor.lease_seconds)
        take = partial(tracking.take_for_result, job_id=job.id, lease_until=lease_until)
        return await self._floor.database.write(take)

    def _kept(self, keeping: asyncio.Task[bool]) -> None:
        self._keeping.discard(keeping)
        if not keeping.cancelled():
            keeping.exception()  # whoever waited for it has it; asyncio need not complain where nobody did

    async def _drop(self, job: Job, asked: Asked) -> None:
        await asked.spool.discard()
        log.warning("fetch.lease_lost", job_id=job.id)

    async def _conclude(self, job: Job, conclusion: Conclusion, asked: Asked, attempt: Attempt | None) -> bool:
        content = Content(asked.whole if conclusion.with_payload else None)
        while True:
            configuration = self._floor.configuration.current
            result = _result(job, conclusion, asked, self._floor.clock.now())
            plan = self._fanout.plan(result, configuration, content)
            inline = asked.spool.in_memory if conclusion.with_payload else None
            settlement = FetchSettlement(
                job_id=job.id,
                claims=job.claims,
                notified_at=job.notified_at,
                due_at=job.due_at,
                now=result.fetched_at,
                outcome=Ended(
                    result=result, deliveries=plan.deliveries, payload=inline,
                    provider_status=conclusion.provider_status,
                ),
                attempt=attempt,
                config_version=configuration.version,
                learnt_keys=_learnt(job, conclusion.provider_job_id),
                provider_job_id=conclusion.provider_job_id,
                taken_notification_id=asked.notification_id,
            )  # fmt: skip
            try:
                body = self._envelope(result, asked, content.is_json) if plan.needs_envelope else None
                settled = await self._floor.database.submit(SETTLE_FETCH, settlement)
            except BaseException:
                plan.release()
                raise
            if settled is Settled.DONE:
                plan.start(job.id, body)
                self._tell(job, result, plan, attempt)
                return True
            plan.release()
            if settled is Settled.LOST:
                return False
            await self._floor.configuration.refresh(seen=configuration.version)

    def _tell(self, job: Job, result: Result, plan: Plan, attempt: Attempt | None) -> None:
        self._count(job, result)
        took_ms = None if job.notified_at is None else max(0, result.fetched_at - job.notified_at)
        counters = self._floor.counters
        counters.fetched(job.webhook_id, attempt)
        counters.stored(result, [delivery.subscription_id for delivery in plan.deliveries], took_ms)

    def _count(self, job: Job, result: Result) -> None:
        webhook = self._floor.configuration.current.webhooks.get(job.webhook_id)
        now, notified = result.fetched_at, job.notified_at
        self._floor.metrics.stored(
            "" if webhook is None else webhook.provider,
            result.status.value,
            result.size_bytes,
            left_seconds=seconds_between(now, job.deadline),
            waited_seconds=None if notified is None else seconds_between(notified, now),
        )

    def _envelope(self, result: Result, asked: Asked, is_json: bool | None) -> bytes:
        """What goes out, made while the payload is at hand, for those deliveries too that have to wait for a slot."""
        body = self._deliverer.outgoing.envelope(result, None if result.payload_id is None else asked.whole, is_json)
        self._deliverer.outgoing.keep(result, body)
        return body


def attempt_of(job: Job, asked: Asked) -> Attempt:
    """The attempt as it is shown; its calls are one."""
    return Attempt(
        id=new_id(ATTEMPT, asked.started_at),
        owner_id=job.id,
        number=job.attempts + 1,
        trigger=Trigger.RETRY if job.attempts else Trigger.NEW,
        started_at=asked.started_at,
        duration_ms=asked.duration_ms,
        http_status=asked.http_status,
        error_code=asked.reading.error_code,
        response_excerpt=asked.excerpt,
        dns_ms=None if asked.timing is None else asked.timing.dns_ms,
        connect_ms=None if asked.timing is None else asked.timing.connect_ms,
        first_byte_ms=None if asked.timing is None else asked.timing.first_byte_ms,
    )


def _result(job: Job, conclusion: Conclusion, asked: Asked, now: Instant) -> Result:
    result_id = new_id(RESULT, now)
    has_payload = conclusion.with_payload
    return Result(
        id=result_id,
        job_id=job.id,
        webhook_id=job.webhook_id,
        provider_job_id=job.provider_job_id or conclusion.provider_job_id,
        status=conclusion.status,
        error=conclusion.error,
        partial=conclusion.partial,
        metadata=job.metadata,
        content_type=asked.content_type if has_payload else None,
        size_bytes=asked.spool.size if has_payload else None,
        sha256=asked.spool.sha256 if has_payload else None,
        payload_id=(asked.spool.payload_id or result_id) if has_payload else None,
        fetched_at=now,
    )


def _learnt(job: Job, provider_job_id: str | None) -> tuple[tuple[str, str, str], ...]:
    if provider_job_id is None or provider_job_id == job.provider_job_id:
        return ()
    return ((job.webhook_id, "id", provider_job_id),)
