"""Where jobs begin without a notification: somebody names one, and from then on it is fetched by polling."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from relay.clock import Instant
from relay.errors import Conflict
from relay.frozen import frozen
from relay.model import Job, JobStatus, Webhook
from relay.pipeline.bindings import Binding
from relay.pipeline.cancel import Cancelled, Canceller, ProviderFailed
from relay.pipeline.floor import Floor
from relay.pipeline.outcomes import Record, Refused
from relay.pipeline.prepare import job_keys, origin_problem
from relay.pipeline.receive import FetchHands
from relay.pipeline.waiting import first_poll, waiting_job
from relay.pipeline.watch import Watch
from relay.store import jobs, tracking
from relay.store.rows import Connection

LOOK_AGAIN_SECONDS: Final = 0.5
TRIES: Final = 3  # another node may be making the same job


@frozen()
class Tracked:
    """A job that is followed now; not `created` when it was known before."""

    job: Job
    created: bool


@frozen(kw_only=True)
class TrackRequest:
    """What a caller knows of a job: an id, a URL, or both."""

    provider_job_id: str | None
    response_url: str | None
    metadata: Mapping[str, Any]
    submitted_at: Instant | None


class Tracker:
    """Jobs as the API has them: follow, fetch, wait, cancel."""

    def __init__(self, floor: Floor, hands: FetchHands, watch: Watch, canceller: Canceller) -> None:
        self._floor = floor
        self._hands = hands
        self._watch = watch
        self._canceller = canceller

    async def track(
        self, webhook: Webhook, request: TrackRequest, record: Record[Tracked] | None = None
    ) -> Tracked | Refused:
        """Follow a job. Refuses a foreign `response_url` and a job that another webhook of the account has."""
        binding = self._floor.bindings.of(webhook)
        if binding is None:
            return Refused(
                "provider_profile_missing",
                f"the profile {webhook.provider!r} is not loaded, or this webhook no longer fits it",
            )
        problem = _problem(binding, request)
        if problem is not None:
            return problem
        job = self._new_job(binding, request)
        siblings = self._floor.bindings.siblings(webhook, self._floor.configuration.current.webhooks)
        keys = job_keys(request.provider_job_id, request.response_url)

        def write(connection: Connection) -> Tracked | Refused:
            followed = tracking.follow(connection, job, keys, siblings)
            if followed.job is None:
                return _refused(followed.refused or tracking.CONFLICT)
            tracked = Tracked(followed.job, followed.created)
            if record is not None:
                record(connection, tracked)
            return tracked

        for left in reversed(range(TRIES)):
            try:
                outcome = await self._floor.database.write(write)
                break
            except Conflict:
                if not left:
                    raise
        self._hands.hint()
        return outcome

    def _new_job(self, binding: Binding, request: TrackRequest) -> Job:
        now = self._floor.clock.now()
        return waiting_job(
            self._floor,
            binding,
            due_at=first_poll(binding, now, expects_notification=False),
            submitted_at=min(request.submitted_at or now, now),
            metadata=request.metadata,
            provider_job_id=request.provider_job_id,
            response_url=request.response_url,
        )

    async def fetch_now(self, job: Job) -> Job | Refused:
        """Make the job due now. Refuses a completed one."""
        if job.status is JobStatus.COMPLETED:
            return Refused("job_is_final", "the job is completed: its result is stored")
        now = self._floor.clock.now()
        found = await self._floor.database.write(partial(tracking.make_due, job_id=job.id, now=now))
        self._hands.hint()
        return found or Refused("job_is_gone", "the job was deleted meanwhile")

    async def wait(self, job_id: str, seconds: float) -> Job | None:
        """The job as soon as it is final, or as it is after `seconds`; None when there is none."""
        clock = self._floor.clock
        ends_at = clock.monotonic() + seconds
        with self._watch.waiting(job_id) as settled:
            while True:
                settled.clear()
                job = await self._floor.database.read(partial(jobs.get, id=job_id))
                left = ends_at - clock.monotonic()
                if job is None or job.status.is_final or left <= 0:
                    return job
                try:
                    async with asyncio.timeout(min(left, LOOK_AGAIN_SECONDS)):
                        await settled.wait()
                except TimeoutError:
                    continue

    async def cancel(self, job: Job) -> Cancelled | Refused | ProviderFailed:
        """Ask the provider to cancel. Refuses with `cancel_not_supported`, `job_is_final` and the like."""
        return await self._canceller.cancel(job)

    async def credentials_changed(self, webhook_id: str) -> None:
        """Fetch at once what waited for working credentials."""
        now = self._floor.clock.now()
        await self._floor.database.write(partial(tracking.make_all_due, webhook_id=webhook_id, now=now))
        self._hands.hint()


def _problem(binding: Binding, request: TrackRequest) -> Refused | None:
    if request.response_url is not None and origin_problem(binding, request.response_url) is not None:
        origins = ", ".join(sorted(binding.origins))
        return Refused(
            "foreign_response_url", f"the URL is not on an origin of this webhook ({origins})", "response_url"
        )
    if binding.profile.fetch.kind == "template" and request.provider_job_id is None:
        return Refused("provider_job_id_required", "this provider's results are asked for by id", "provider_job_id")
    return None


def _refused(reason: str) -> Refused:
    if reason == tracking.ELSEWHERE:
        return Refused(reason, "another webhook of the same provider account tracks this job")
    return Refused(reason, "provider_job_id and response_url belong to two different jobs")
