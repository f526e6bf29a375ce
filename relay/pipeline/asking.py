"""One attempt to get a job's result: the question, the hop that its answer leads to, the pages that it goes on with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from relay.clock import Instant
from relay.errors import OutboundError
from relay.model import Job
from relay.outbound.engine import Timing
from relay.outbound.provider_door import ProviderDoor
from relay.pipeline.bindings import Binding
from relay.pipeline.calling import Allowance, Answered, Calls, FetchLimits
from relay.pipeline.decision import Reading, names_another_job
from relay.pipeline.floor import Floor
from relay.pipeline.paging import Pages
from relay.pipeline.payloads import Spool
from relay.pipeline.places import hop_question, own_question
from relay.pipeline.schedule import retry_after_seconds
from relay.providers.pages import read_hop
from relay.providers.reading import NextHop, Verdict, read_answer

LONGEST_RETRY_AFTER_SECONDS: Final = 86_400.0


@dataclass(slots=True)
class Asked:
    """What came of an attempt. `spool` holds the answer, or what its hop or pages brought.

    `whole` is the body where it is small enough for an envelope.
    """

    spool: Spool
    started_at: Instant
    duration_ms: int
    reading: Reading
    http_status: int | None = None
    content_type: str | None = None
    whole: bytes | None = None
    excerpt: str | None = None
    calls: int = 0
    timing: Timing | None = None
    notification_id: str | None = None  # that brought it; then nobody was asked


class Asker:
    """Asks providers."""

    def __init__(self, floor: Floor, door: ProviderDoor, limits: FetchLimits) -> None:
        self._floor = floor
        self._door = door
        self._limits = limits

    async def ask(self, job: Job, binding: Binding, url: str) -> Asked:
        """Ask at `url` and wherever the answer leads. Does not raise what went wrong outside."""
        clock = self._floor.clock
        began = clock.monotonic()
        asked = Asked(self._floor.payloads.spool(), clock.now(), 0, Reading())
        allowance = Allowance(clock, self._limits)
        calls = Calls(self._floor.payloads, self._door, binding, allowance)
        try:
            outcome = await _run(calls, job, binding, url)
        except OutboundError as error:
            outcome = Reading(error_code=error.code, of_provider=not allowance.presigned)
            asked.http_status = allowance.http_status
        if isinstance(outcome, Reading):
            asked.reading = outcome
        else:
            self._take(asked, outcome)
        asked.calls, asked.timing = allowance.calls, allowance.timing
        asked.duration_ms = round((clock.monotonic() - began) * 1000)
        return asked

    def _take(self, asked: Asked, answered: Answered) -> None:
        asked.spool, asked.whole, asked.excerpt = answered.spool, answered.whole, answered.excerpt
        asked.http_status, asked.content_type = answered.http_status, answered.content_type
        asked.reading = Reading(
            verdict=answered.verdict,
            retry_after_seconds=self._retry_after(answered.verdict),
            of_provider=not answered.question.is_presigned,
        )

    def _retry_after(self, verdict: Verdict) -> float | None:
        now = self._floor.clock.now()
        asked = retry_after_seconds(verdict.retry_after, now, LONGEST_RETRY_AFTER_SECONDS) or verdict.hint_seconds
        return None if asked is None else min(asked, LONGEST_RETRY_AFTER_SECONDS)


async def _run(calls: Calls, job: Job, binding: Binding, url: str) -> Answered | Reading:
    judge = partial(read_answer, binding.profile)
    first = await calls.get(own_question(binding, url), judge)
    verdict = first.verdict
    if names_another_job(job, verdict):
        return first
    if verdict.hop is not None:
        await first.spool.discard()
        return await _follow(calls, job, binding, verdict, verdict.hop)
    return first if verdict.next_page is None else await Pages(calls, job, judge).read(first)


async def _follow(calls: Calls, job: Job, binding: Binding, said: Verdict, hop: NextHop) -> Answered | Reading:
    """The payload from where the answer says that it lies. What is there leads nowhere else."""
    question = hop_question(job, binding, hop, said.provider_job_id)
    if question is None:
        return Reading(error_code="foreign_origin" if hop.credentials else "url_refused")
    judge = partial(read_hop, binding.profile, hop.rule)
    answered = await calls.get(question, judge, needs_body=bool(hop.rule.status or hop.rule.error))
    there = answered.verdict
    if there.kind == "completed":
        answered.verdict = replace(said, kind="completed", hop=None)
    else:  # about the job it says what the first answer said
        answered.verdict = replace(
            there,
            provider_status=there.provider_status or said.provider_status,
            provider_job_id=said.provider_job_id,
            completed_at=said.completed_at,
            expires_at=said.expires_at,
        )
    return answered
