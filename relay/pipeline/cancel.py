"""Cancelling a job at its provider, and what its answer makes of the job.

A provider that says it cancelled ends the job here and now: with a result of its own kind, delivered like any other.
Whoever was asking for the result at that moment loses the job by the fence. A request that was only taken changes
nothing but the time of the next question.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import structlog

from relay.clock import after
from relay.errors import OutboundError
from relay.frozen import frozen
from relay.model import Job, JobStatus
from relay.outbound.provider_door import ProviderDoor, ProviderRequest
from relay.pipeline.asking import Asked
from relay.pipeline.bindings import Binding
from relay.pipeline.concluding import Concluder
from relay.pipeline.decision import Conclusion, Reading
from relay.pipeline.excerpt import redact, scrub
from relay.pipeline.floor import Floor
from relay.pipeline.outcomes import Refused
from relay.pipeline.prepare import origin_problem
from relay.pipeline.receive import FetchHands
from relay.pipeline.watch import Watch
from relay.providers.cancelling import CancelAnswer, CancelRequest, cancel_request, read_cancel
from relay.store import jobs, tracking

log = structlog.get_logger(__name__)

ASK_SOON_SECONDS: Final = 1.0
MAX_ANSWER_BYTES: Final = 1024 * 1024
TAKES: Final = 3


@frozen()
class Cancelled:
    """The provider was asked to cancel; `confirmed` when it said that it did."""

    job: Job
    confirmed: bool


@frozen()
class ProviderFailed:
    """The provider did not say anything useful; `code` says what instead."""

    code: str
    detail: str
    timed_out: bool = False


Outcome = Cancelled | Refused | ProviderFailed


class Canceller:
    """Asks providers to cancel."""

    def __init__(
        self,
        floor: Floor,
        door: ProviderDoor,
        concluder: Concluder,
        hands: FetchHands,
        watch: Watch,
        timeout_seconds: float,
    ) -> None:
        self._floor = floor
        self._door = door
        self._concluder = concluder
        self._hands = hands
        self._watch = watch
        self._timeout_seconds = timeout_seconds

    async def cancel(self, job: Job) -> Outcome:
        """Refuses with `job_is_final`, `cancel_not_supported`, `job_not_acknowledged` and `too_late_to_cancel`."""
        if job.status.is_final:
            return Refused("job_is_final", f"the job is {job.status} already")
        webhook = self._floor.configuration.current.webhooks.get(job.webhook_id)
        binding = None if webhook is None else self._floor.bindings.of(webhook)
        if binding is None or binding.profile.cancel is None:
            return Refused("cancel_not_supported", "this provider has no way to cancel a job")
        request = _request(binding, job)
        if request is None:
            return Refused("job_not_acknowledged", "it is not known yet what the provider calls this job")
        answer = await self._ask(binding, request)
        outcome = answer if isinstance(answer, ProviderFailed) else await self._outcome(job, binding, answer)
        code = None if isinstance(outcome, Cancelled) else outcome.code
        confirmed = isinstance(outcome, Cancelled) and outcome.confirmed
        log.info("job.cancel", job_id=job.id, webhook_id=job.webhook_id, confirmed=confirmed, error_code=code)
        return outcome

    async def _ask(self, binding: Binding, request: CancelRequest) -> CancelAnswer | ProviderFailed:
        call = ProviderRequest(
            method=request.method,
            url=request.url,
            authorization=binding.authorization,
            allowed_origins=binding.origins,
            headers={"accept": "application/json, */*;q=0.5"},
            timeout_seconds=self._timeout_seconds,
            max_bytes=MAX_ANSWER_BYTES,
            max_decoded_bytes=MAX_ANSWER_BYTES,
        )
        try:
            async with self._door.stream(call) as answer:
                body = b"".join([piece async for piece in answer.iter_bytes()])
                return read_cancel(binding.profile, answer.status, dict(answer.headers), body)
        except OutboundError as error:
            detail = f"the provider gave no answer: {error.code}"
            return ProviderFailed("provider_not_reached", detail, timed_out=error.code == "timed_out")

    async def _outcome(self, job: Job, binding: Binding, answer: CancelAnswer) -> Outcome:
        if answer.kind == "took":
            return await self._took(job, answer)
        if answer.kind == "asked":
            return Cancelled(await self._asked(job), confirmed=False)
        said = "" if answer.error is None else f": {scrub(redact(answer.error, binding.confidential()))}"
        if answer.kind in ("too_late", "not_found", "refused"):  # most likely because it has ended
            await self._look_at_once(job)
        if answer.kind in ("too_late", "not_found"):
            if answer.kind == "too_late":
                return Refused("too_late_to_cancel", f"the provider says that the job has ended{said}")
            return Refused("job_unknown_to_provider", f"the provider does not know the job{said}")
        detail = {
            "rejected_credentials": "the provider refuses the webhook's credentials",
            "again": "the provider could not say just now; try again",
        }.get(answer.kind, "the provider refuses to cancel this job")
        return ProviderFailed(f"provider_{answer.kind}", detail + said)

    async def _took(self, job: Job, answer: CancelAnswer) -> Outcome:
        """End the job, unless it has ended while the provider was asked."""
        for _ in range(TAKES):
            lease_until = after(self._floor.clock.now(), self._floor.lease_seconds)
            taken = await self._floor.database.write(partial(tracking.take, job_id=job.id, lease_until=lease_until))
            if taken is None or taken.status.is_final:
                return _as_it_ended(taken)
            now = self._floor.clock.now()
            ended = Conclusion(JobStatus.CANCELLED, with_payload=False, provider_status=answer.provider_status)
            nothing = Asked(self._floor.payloads.spool(), now, 0, Reading())
            if await self._concluder.conclude(taken, ended, nothing, None):
                self._watch.settled(job.id)
                found = await self._floor.database.read(partial(jobs.get, id=job.id))
                return _as_it_ended(found)
        return Refused("job_is_busy", "the job changed at this very moment; ask again")

    async def _asked(self, job: Job) -> Job:
        due_at = after(self._floor.clock.now(), ASK_SOON_SECONDS)
        found = await self._floor.database.write(partial(tracking.ask_by, job_id=job.id, due_at=due_at))
        self._hands.hint()
        return found or job

    async def _look_at_once(self, job: Job) -> None:
        now = self._floor.clock.now()
        await self._floor.database.write(partial(tracking.ask_by, job_id=job.id, due_at=now))
        self._hands.hint()


def _request(binding: Binding, job: Job) -> CancelRequest | None:
    """Where to ask. Only a URL on the webhook's own origins is one that its credentials go to."""

    def own(url: str | None) -> str | None:
        return url if url is not None and origin_problem(binding, url) is None else None

    return cancel_request(
        binding.profile,
        binding.base_url,
        job.provider_job_id,
        own(job.response_url),
        binding.webhook.parameters,
        cancel_url=own(job.cancel_url),
    )


def _as_it_ended(job: Job | None) -> Cancelled | Refused:
    if job is None:
        return Refused("job_is_gone", "the job was deleted meanwhile")
    if job.status is JobStatus.CANCELLED:
        return Cancelled(job, confirmed=True)
    return Refused("job_is_final", f"the job is {job.status} already")
