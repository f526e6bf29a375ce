"""Stage 3: ask the provider for a job's result, before it is dropped.

One claimed job, one question, one decision, one settlement. What an answer means is the profile's to say
(`relay.providers.reading`), what follows from it is decided in `relay.pipeline.decision`; here it is asked and written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog

from relay.clock import Instant
from relay.errors import OutboundError, StoreUnavailable
from relay.frozen import frozen
from relay.model import ATTEMPT, RESULT, Attempt, Job, JobStatus, Result, Secret, Trigger, new_id
from relay.outbound.provider_door import ProviderDoor, ProviderRequest
from relay.pipeline.bindings import Binding
from relay.pipeline.credentials import Credentials
from relay.pipeline.decision import Conclusion, Reading, call_outcome, conclude_inline, decide, postpone
from relay.pipeline.deliver import Deliverer
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES
from relay.pipeline.excerpt import redact, safe_excerpt
from relay.pipeline.fanout import Fanout
from relay.pipeline.floor import Floor
from relay.pipeline.gate import OriginGate
from relay.pipeline.payloads import Spool
from relay.pipeline.schedule import retry_after_seconds
from relay.providers.reading import Verdict, read_answer, read_notification
from relay.store import notifications
from relay.store.settlement import SETTLE_FETCH, Ended, FetchSettlement, Postponed, Settled

log = structlog.get_logger(__name__)

LONGEST_RETRY_AFTER_SECONDS: Final = 86_400.0
EXCERPT_BYTES: Final = 1024
NOTHING_TO_ASK_SECONDS: Final = 600.0
BROKEN_SECONDS: Final = 300.0  # until a job is tried again that we ourselves failed at


@frozen()
class FetchLimits:
    """Bounds of one fetch."""

    timeout_seconds: float
    max_bytes: int  # of the body as sent; decoded it may be four times that


@dataclass(slots=True)
class Asked:
    """What came back. `whole` is the body where it is small enough for an envelope."""

    spool: Spool
    started_at: Instant
    duration_ms: int
    reading: Reading
    http_status: int | None = None
    content_type: str | None = None
    whole: bytes | None = None
    excerpt: str | None = None


class Fetcher:
    """Runs claimed jobs."""

    def __init__(
        self,
        floor: Floor,
        door: ProviderDoor,
        gate: OriginGate,
        fanout: Fanout,
        deliverer: Deliverer,
        limits: FetchLimits,
    ) -> None:
        self._floor = floor
        self._door = door
        self._gate = gate
        self._fanout = fanout
        self._deliverer = deliverer
        self._limits = limits
        self._credentials = Credentials(floor)

    async def run(self, job: Job) -> None:
        """Work on one claimed job until it is settled. Raises StoreUnavailable: then its lease runs out."""
        try:
            await self._work(job)
        except StoreUnavailable:
            raise
        except Exception:  # not the provider's doing: it is asked again, but not over and over
            log.exception("fetch.failed", job_id=job.id, webhook_id=job.webhook_id)
            now = self._floor.clock.now()
            await self._postpone(job, postpone(job, now, seconds=BROKEN_SECONDS, error="internal_error"), None)

    async def _work(self, job: Job) -> None:
        webhook = self._floor.configuration.current.webhooks.get(job.webhook_id)
        if webhook is None:  # made by another node a moment ago
            webhook = (await self._floor.configuration.refresh()).webhooks.get(job.webhook_id)
        binding = None if webhook is None else self._floor.bindings.of(webhook)
        now = self._floor.clock.now()
        if binding is None:
            await self._postpone(job, postpone(job, now, seconds=60.0, error="provider_profile_missing"), None)
        elif job.inline_notification_id is not None and job.response_url is None:
            await self._take_inline(job, binding, job.inline_notification_id)
        elif (url := result_url(job, binding)) is None:
            await self._nothing_to_ask(job, binding, now)
        else:
            await self._fetch(job, binding, url)

    async def _nothing_to_ask(self, job: Job, binding: Binding, now: Instant) -> None:
        """Neither a URL nor an id is known yet: a notification may still bring one, until it is time to give up."""
        if now < job.give_up_at or job.status.is_final:
            await self._postpone(job, postpone(job, now, seconds=NOTHING_TO_ASK_SECONDS, error="nothing_to_ask"), None)
            return
        conclusion = Conclusion(JobStatus.EXPIRED, "gave up: there was never anything to ask", with_payload=False)
        await self._conclude(job, binding, conclusion, Asked(self._floor.payloads.spool(), now, 0, Reading()), None)

    async def _fetch(self, job: Job, binding: Binding, url: str) -> None:
        asked = await self._ask(job, binding, url)
        now = self._floor.clock.now()
        reading = asked.reading
        outcome = call_outcome(reading)
        if outcome is not None:
            self._gate.report(job.webhook_id, outcome, reading.retry_after_seconds)
        step = decide(job, binding, reading, now, self._floor.clock.random())
        attempt = _attempt(job, asked)
        if isinstance(step, Conclusion):
            await self._conclude(job, binding, step, asked, attempt)
        else:
            await asked.spool.discard()
            await self._postpone(job, step, attempt)
        if reading.verdict is not None:
            await self._credentials.judge(binding.webhook, reading.verdict)
        log.info(
            "fetch.attempted",
            job_id=job.id,
            webhook_id=job.webhook_id,
            attempt=attempt.number,
            http_status=asked.http_status,
            error_code=reading.error_code,
            bytes=asked.spool.size,
            duration_ms=asked.duration_ms,
            outcome=step.status.value,
        )

    # --- asking ---

    async def _ask(self, job: Job, binding: Binding, url: str) -> Asked:
        clock, spool = self._floor.clock, self._floor.payloads.spool()
        began, started_at = clock.monotonic(), clock.now()
        asked = Asked(spool, started_at, 0, Reading())
        request = ProviderRequest(
            method="GET",
            url=url,
            authorization=binding.authorization,
            allowed_origins=binding.origins,
            headers={"accept": "application/json, */*;q=0.5"},
            timeout_seconds=self._limits.timeout_seconds,
            max_bytes=self._limits.max_bytes,
            max_decoded_bytes=self._limits.max_bytes * 4,
        )
        try:
            async with self._door.stream(request) as answer:
                asked.http_status = answer.status
                asked.content_type = answer.headers.get("content-type")
                headers = dict(answer.headers)
                async for piece in answer.iter_bytes():
                    await spool.add(piece)
            await spool.finish()
        except OutboundError as error:
            asked.reading = Reading(error_code=error.code)
        except BaseException:
            await spool.discard()
            raise
        else:
            asked.reading = await self._read(binding, asked, headers)
        asked.duration_ms = round((clock.monotonic() - began) * 1000)
        return asked

    async def _read(self, binding: Binding, asked: Asked, headers: Mapping[str, str]) -> Reading:
        """What the answer means. A large body is read back one at a time: memory is for one of them."""
        body = asked.spool.in_memory
        if body is None and asked.spool.payload_id is not None:
            async with self._floor.payloads.reading:
                body = await self._floor.payloads.read(asked.spool.payload_id)
                verdict = read_answer(binding.profile, asked.http_status or 0, headers, body)
                asked.whole = body if len(body) <= MAX_ENVELOPE_BYTES else None
        else:
            asked.whole = body or b""
            verdict = read_answer(binding.profile, asked.http_status or 0, headers, asked.whole)
        if verdict.kind != "completed":
            secrets = [*binding.webhook.credentials.values(), *_headers_of(binding).values()]
            if asked.whole is not None:
                asked.excerpt = safe_excerpt(asked.whole[:EXCERPT_BYTES], secrets)
            if verdict.error is not None:
                verdict = replace(verdict, error=redact(verdict.error, secrets))
        return Reading(verdict=verdict, retry_after_seconds=self._retry_after(verdict))

    def _retry_after(self, verdict: Verdict) -> float | None:
        now = self._floor.clock.now()
        asked = retry_after_seconds(verdict.retry_after, now, LONGEST_RETRY_AFTER_SECONDS) or verdict.hint_seconds
        return None if asked is None else min(asked, LONGEST_RETRY_AFTER_SECONDS)

    async def _take_inline(self, job: Job, binding: Binding, notification_id: str) -> None:
        """The notification brought the payload, and there is nothing to fetch."""
        stored = await self._floor.database.read(partial(notifications.request, id=notification_id))
        now = self._floor.clock.now()
        if stored is None:
            await self._postpone(job, postpone(job, now, seconds=600.0, error="notification_missing"), None)
            return
        given = stored.notification
        notice = read_notification(binding.profile, given.method, given.query, given.headers, stored.body)
        spool = self._floor.payloads.spool()
        await spool.add(stored.body)
        await spool.finish()
        whole = stored.body if len(stored.body) <= MAX_ENVELOPE_BYTES else None
        asked = Asked(spool, now, 0, Reading(), content_type=given.content_type, whole=whole)
        await self._conclude(job, binding, conclude_inline(notice), asked, None)

    # --- settling ---

    async def _postpone(self, job: Job, step: Postponed, attempt: Attempt | None) -> None:
        settlement = FetchSettlement(
            job_id=job.id,
            claims=job.claims,
            notified_at=job.notified_at,
            now=self._floor.clock.now(),
            outcome=step,
            attempt=attempt,
        )
        await self._floor.database.submit(SETTLE_FETCH, settlement)

    async def _conclude(
        self, job: Job, binding: Binding, conclusion: Conclusion, asked: Asked, attempt: Attempt | None
    ) -> None:
        """Result, deliveries, attempt and job in one transaction; prepared anew if the configuration changed."""
        if not conclusion.with_payload:
            await asked.spool.discard()
        while True:
            configuration = self._floor.configuration.current
            result = _result(job, conclusion, asked, self._floor.clock.now())
            plan = self._fanout.plan(result, configuration)
            inline = asked.spool.in_memory if conclusion.with_payload else None
            ended = Ended(
                result=result, deliveries=plan.deliveries, payload=inline, provider_status=conclusion.provider_status
            )
            settlement = FetchSettlement(
                job_id=job.id,
                claims=job.claims,
                notified_at=job.notified_at,
                now=result.fetched_at,
                outcome=ended,
                attempt=attempt,
                config_version=configuration.version,
                learnt_keys=_learnt(job, conclusion.provider_job_id),
            )
            try:
                body = self._envelope(result, asked) if plan.deliveries else None
                settled = await self._floor.database.submit(SETTLE_FETCH, settlement)
            except BaseException:
                plan.release()
                raise
            if settled is Settled.DONE:
                plan.start(job.id, body)
                return
            plan.release()
            if settled is Settled.LOST:
                await asked.spool.discard()
                log.warning("fetch.lease_lost", job_id=job.id)
                return
            await self._floor.configuration.refresh(seen=configuration.version)

    def _envelope(self, result: Result, asked: Asked) -> bytes:
        """What goes out, made while the payload is at hand, for those deliveries too that have to wait for a slot."""
        body = self._deliverer.envelope(result, None if result.payload_id is None else asked.whole)
        self._deliverer.keep(result, body)
        return body


def result_url(job: Job, binding: Binding) -> str | None:
    """Where the job's result is asked for; None when it cannot be known."""
    fetch = binding.profile.fetch
    if fetch.kind == "template":
        if job.provider_job_id is None or binding.base_url is None:
            return None
        return fetch.url(binding.base_url, job.provider_job_id, binding.webhook.parameters)
    return job.response_url


def _headers_of(binding: Binding) -> Mapping[str, Secret]:
    return {} if binding.authorization is None else binding.authorization.headers


def _attempt(job: Job, asked: Asked) -> Attempt:
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
