"""Stage 3: ask the provider for a job's result, before it is dropped.

One claimed job, one attempt, one decision, one settlement. Where to ask is found in `places`, the calls are made in
`asking`; what an answer means is the profile's to say (`relay.providers.reading`), what follows from it is decided in
`decision` and written in `concluding`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import structlog

from relay.clock import Instant
from relay.errors import StoreUnavailable
from relay.model import Job, JobStatus
from relay.outbound.provider_door import ProviderDoor
from relay.pipeline.asking import Asked, Asker
from relay.pipeline.bindings import Binding
from relay.pipeline.calling import FetchLimits
from relay.pipeline.capture import KINDS, Message
from relay.pipeline.concluding import Concluder, attempt_of
from relay.pipeline.credentials import Credentials
from relay.pipeline.decision import (
    Conclusion,
    Reading,
    call_outcome,
    decide,
    decide_inline,
    names_another_job,
    postpone,
)
from relay.pipeline.envelope import MAX_ENVELOPE_BYTES
from relay.pipeline.floor import Floor
from relay.pipeline.gate import OriginGate
from relay.pipeline.odd import OddStatuses
from relay.pipeline.places import result_url
from relay.providers.reading import Verdict, read_notification
from relay.store import jobs, notifications
from relay.tracing import SERVER, Attempted, Tracer

__all__ = ["FetchLimits", "Fetcher"]

log = structlog.get_logger(__name__)

NOTHING_TO_ASK_SECONDS: Final = 600.0
BROKEN_SECONDS: Final = 300.0  # until a job is tried again that we ourselves failed at


class Fetcher:
    """Runs claimed jobs."""

    def __init__(
        self,
        floor: Floor,
        door: ProviderDoor,
        gate: OriginGate,
        concluder: Concluder,
        limits: FetchLimits,
    ) -> None:
        self._floor = floor
        self._gate = gate
        self._asker = Asker(floor, door, limits)
        self._concluder = concluder
        self._credentials = Credentials(floor)
        self._odd = OddStatuses()

    async def run(self, job: Job) -> int:
        """Work on one claimed job until it is settled; how many calls that took, hops and pages among them.

        Raises StoreUnavailable: then its lease runs out.
        """
        try:
            return await self._work(job)
        except StoreUnavailable:
            raise
        except Exception:  # not the provider's doing: it is asked again, but not over and over
            log.exception("fetch.failed", job_id=job.id, webhook_id=job.webhook_id)
            await self._postpone(job, seconds=BROKEN_SECONDS, error="internal_error")
            return 1

    async def _work(self, job: Job) -> int:
        webhook = self._floor.configuration.current.webhooks.get(job.webhook_id)
        if webhook is None:  # made by another node a moment ago
            webhook = (await self._floor.configuration.refresh()).webhooks.get(job.webhook_id)
        binding = None if webhook is None else self._floor.bindings.of(webhook)
        if binding is None:
            await self._postpone(job, seconds=60.0, error="provider_profile_missing")
        elif job.inline_notification_id is not None and job.response_url is None:
            await self._take_inline(job, binding, job.inline_notification_id)
        elif (url := result_url(job, binding)) is None:
            await self._nothing_to_ask(job)
        else:
            return await self._fetch(job, binding, url)
        return 0

    async def _postpone(self, job: Job, *, seconds: float, error: str) -> None:
        """Nothing came of it through no fault of the provider: look again later, until it is time to give up."""
        now = self._floor.clock.now()
        if now >= job.give_up_at and not job.status.is_final:
            await self._give_up(job, f"gave up: {error}")
        else:
            await self._concluder.postpone(job, postpone(job, now, seconds=seconds, error=error), None)

    async def _nothing_to_ask(self, job: Job) -> None:
        """Neither a URL nor an id is known yet: a notification may still bring one, until it is time to give up."""
        if self._floor.clock.now() >= job.give_up_at and not job.status.is_final:
            await self._give_up(job, "gave up: there was never anything to ask")
        else:
            await self._postpone(job, seconds=NOTHING_TO_ASK_SECONDS, error="nothing_to_ask")

    async def _give_up(self, job: Job, why: str) -> None:
        conclusion = Conclusion(JobStatus.EXPIRED, why, with_payload=False, provider_status=job.provider_status)
        nothing = Asked(self._floor.payloads.spool(), self._floor.clock.now(), 0, Reading())
        await self._concluder.conclude(job, conclusion, nothing, None)

    async def _fetch(self, job: Job, binding: Binding, url: str) -> int:
        asked, called = await self._ask(job, binding, url)
        reading, verdict = asked.reading, asked.reading.verdict
        said = call_outcome(reading)
        if said is not None:
            self._gate.report(job.webhook_id, said, reading.retry_after_seconds)
        step = decide(called, binding, reading, self._floor.clock.now(), self._floor.clock.random())
        attempt = attempt_of(job, asked)
        if verdict is not None:
            self._look(job, binding, verdict, asked)
        if isinstance(step, Conclusion):
            single_use = binding.profile.retention.single_use
            await self._concluder.conclude(job, step, asked, attempt, single_use=single_use)
        else:
            await asked.spool.discard()
            named = None if verdict is None or names_another_job(called, verdict) else verdict.provider_job_id
            await self._concluder.postpone(job, step, attempt, named)
        if verdict is not None:
            await self._credentials.judge(binding.webhook, verdict)
        outcome = step.status.value
        self._floor.metrics.fetched(binding.webhook.provider, outcome, asked.http_status, asked.duration_ms)
        if self._floor.tracer is not None:
            self._trace(self._floor.tracer, job, binding, asked, outcome)
        log.info(
            "fetch.attempted",
            job_id=job.id,
            webhook_id=job.webhook_id,
            attempt=attempt.number,
            calls=asked.calls,
            http_status=asked.http_status,
            error_code=reading.error_code,
            bytes=asked.spool.size,
            duration_ms=asked.duration_ms,
            outcome=outcome,
        )
        return asked.calls

    async def _ask(self, job: Job, binding: Binding, url: str) -> tuple[Asked, Job]:
        """The answer, and the job as it is called there: it may go by several ids, of which it shows the first."""
        asked = await self._asker.ask(job, binding, url)
        verdict = asked.reading.verdict
        if verdict is None or verdict.provider_job_id is None or not names_another_job(job, verdict):
            return asked, job
        known = partial(jobs.find_by_key, webhook_id=job.webhook_id, kind="id", value=verdict.provider_job_id)
        found = await self._floor.database.read(known)
        if found is None or found.id != job.id:
            return asked, job
        called = replace(job, provider_job_id=verdict.provider_job_id)
        if verdict.hop is None and verdict.next_page is None:
            return asked, called
        await asked.spool.discard()  # it was not followed to the payload
        return await self._asker.ask(called, binding, url), called

    def _trace(self, tracer: Tracer, job: Job, binding: Binding, asked: Asked, outcome: str) -> None:
        attempted = Attempted(
            name=f"fetch {binding.profile.name}",
            kind="CLIENT",
            operation="process",
            job_id=job.id,
            owner_id=job.id,
            number=job.attempts + 1,
            destination=binding.webhook.name,
            outcome=outcome,
            http_status=asked.http_status,
            error=asked.reading.error_code,
            size=asked.spool.size,
            started_at=asked.started_at,
            duration_ms=asked.duration_ms,
            more={SERVER: urlsplit(binding.origin).hostname},
        )
        tracer.write(attempted)

    def _look(self, job: Job, binding: Binding, verdict: Verdict, asked: Asked) -> None:
        """What people should see of an answer, whatever follows from it."""
        if verdict.reason == "unknown_status":
            self._odd.warn(binding, verdict)
        kind, captures = KINDS.get(verdict.kind), self._floor.captures
        if (
            kind is None or asked.whole is None or not asked.reading.of_provider
        ):  # storage's words are not the provider's
            return
        if captures.due(job.webhook_id, kind, asked.started_at):
            message = Message(
                body=asked.whole,
                at=asked.started_at,
                content_type=asked.content_type,
                http_status=asked.http_status,
                job_id=job.id,
            )
            captures.look(binding, kind, message)

    async def _take_inline(self, job: Job, binding: Binding, notification_id: str) -> None:
        """The notification brought the payload, and there is nothing to fetch."""
        stored = await self._floor.database.read(partial(notifications.request, id=notification_id))
        if stored is None or (stored.notification.body_size and not stored.body):  # erased since the job was claimed
            await self._postpone(job, seconds=600.0, error="notification_missing")
            return
        given = stored.notification
        notice = read_notification(binding.profile, given.method, given.query, given.headers, stored.body)
        step = decide_inline(job, notice)
        if not isinstance(step, Conclusion):
            await self._concluder.postpone(job, step, None, taken=notification_id)
            return
        spool = self._floor.payloads.spool()
        await spool.add(stored.body)
        await spool.finish()
        whole = stored.body if len(stored.body) <= MAX_ENVELOPE_BYTES else None
        now: Instant = self._floor.clock.now()
        asked = Asked(
            spool, now, 0, Reading(), content_type=given.content_type, whole=whole, notification_id=notification_id
        )
        await self._concluder.conclude(job, step, asked, None)
