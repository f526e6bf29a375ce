"""The provider is dead for 100 of 120 minutes and comes back with little to spare: nothing expires.

Virtual time, but the real scheduler, crew, fetcher, gate and SQLite store. All jobs are accepted in the first minutes,
in an order that is not that of their deadlines. Once the provider is back, it answers a quarter more calls a second
than are needed to get every job in time, and 429 to the rest. The slow tests play it with 1,000 jobs, or with 10,000
where RELAY_TEST_LONG=1.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from relay.app.hands import FETCH, FetchHands, Platform
from relay.clock import Instant
from relay.errors import TimedOut
from relay.model import Job, Webhook
from relay.outbound.provider_door import ProviderRequest
from relay.pipeline.gate import OriginGate, Outcome
from relay.store import schema
from relay.store.queue import QueueTable
from relay.workers.slots import Gate, LaneLimit, Slots
from tests.support.clock import START
from tests.support.doors import Page
from tests.support.quiet import QuietClock
from tests.support.stage import DEFAULT_PLAN, ORIGIN, Plan, Stage
from tests.support.store import rows_of

MINUTE = 60_000
BACK_AT = Instant(START + 100 * MINUTE)
OVER_AT = Instant(START + 125 * MINUTE)
RETENTION_MINUTES = (101, 102, 104, 106, 108, 110, 114, 119)  # one webhook each, all on one origin
TO_SPARE = 1.25
JOBS = 10_000 if os.environ.get("RELAY_TEST_LONG") == "1" else 1_000
FEW = 300  # enough to tell the policies apart


@dataclass(frozen=True, order=True)
class Coming:
    """One job: when its notification comes, and when the provider drops its result."""

    at: Instant
    number: int
    lane: int
    deadline: Instant


def coming_jobs(count: int, seed: int = 7) -> list[Coming]:
    """Deadlines anywhere in the last twenty minutes; arrivals in the first ones, in another order."""
    chance = random.Random(seed)
    made = []
    for number in range(count):
        deadline = chance.uniform(101.5, 120)
        lane = chance.choice([lane for lane, kept in enumerate(RETENTION_MINUTES) if kept <= deadline])
        made.append(Coming(_minute(deadline - RETENTION_MINUTES[lane]), number, lane, _minute(deadline)))
    return sorted(made)


def _minute(number: float) -> Instant:
    return Instant(START + round(number * MINUTE))


def needed_per_second(jobs: Sequence[Coming]) -> float:
    """The least rate at which all could be had in time, in the order of their deadlines, from the moment it is back."""
    ends = sorted(job.deadline for job in jobs)
    return max((place + 1) / ((end - BACK_AT) / 1000) for place, end in enumerate(ends))


class Recovering:
    """A provider that is dead, then back, with a limit; each result is gone after its deadline."""

    def __init__(self, clock: QuietClock, jobs: Sequence[Coming], per_second: float) -> None:
        self._clock = clock
        self._deadlines = {job.number: job.deadline for job in jobs}
        self._rate = per_second
        self._tokens = 1.0
        self._at = BACK_AT
        self.answers: Counter[int] = Counter()

    async def __call__(self, request: ProviderRequest) -> Page:
        now = self._clock.now()
        page = self._answer(now, int(request.url.rpartition("/")[2]))
        self.answers[page.status] += 1
        if page.status == 599:
            raise TimedOut("nobody there")
        return page

    def _answer(self, now: Instant, number: int) -> Page:
        if now < BACK_AT:
            return Page(599)
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._at) / 1000 * self._rate)
        self._at = now
        if self._tokens < 1:
            return Page(429, b"{}")
        self._tokens -= 1
        return (
            Page(404, b"{}") if now >= self._deadlines[number] else Page(body=b'{"response": {"number": %d}}' % number)
        )


async def play(stage: Stage, jobs: Sequence[Coming]) -> tuple[Counter[str], Recovering]:
    """Two hours and five minutes; how the jobs ended."""
    kept = [minutes * 60.0 for minutes in RETENTION_MINUTES]
    webhooks = [await stage.add_webhook(retention_seconds=seconds, origins=(ORIGIN,)) for seconds in kept]
    stage.provider.answering = provider = Recovering(stage.clock, jobs, needed_per_second(jobs) * TO_SPARE)
    left = list(reversed(jobs))
    while stage.clock.now() < OVER_AT:
        now = stage.clock.now()
        arrived = []
        while left and left[-1].at <= now:
            arrived.append(left.pop())
        await asyncio.gather(*(_notify(stage, webhooks, job) for job in arrived))
        await _work(stage)
        if provider.answers[200] == len(jobs):
            break
        stage.clock.advance(_step(stage, webhooks[0], left))
    rows = await rows_of(stage.database, schema.jobs)
    return Counter(row["status"] for row in rows), provider


async def _notify(stage: Stage, webhooks: Sequence[Webhook], job: Coming) -> None:
    await stage.accept(webhooks[job.lane], {"response_url": f"{ORIGIN}/results/{job.number}"})


async def _work(stage: Stage) -> None:
    while True:
        await stage.database.quiet()
        if not await stage.fetching.scheduler.run_once():
            return


def _step(stage: Stage, webhook: Webhook, left: Sequence[Coming]) -> float:
    """As far as nothing can happen; a little further, so that things happen together."""
    opens_in = stage.gate.opens_in(webhook.id)
    step = max(opens_in, 0.2) if opens_in else 0.5
    now = stage.clock.now()
    if left:
        step = min(step, max(left[-1].at - now, 20_000) / 1000)
    return min(step, (BACK_AT - now) / 1000) if now < BACK_AT else step


async def _played(url: str, count: int, plan: Plan = DEFAULT_PLAN) -> tuple[Counter[str], Counter[int]]:
    stage = await Stage.open(url, plan)
    try:
        ended, provider = await play(stage, coming_jobs(count))
    finally:
        await stage.close()
    return ended, provider.answers


@pytest.mark.parametrize("count", [FEW, pytest.param(JOBS, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("silence")
async def test_all_results_are_fetched_before_they_are_dropped(sqlite_stage_url: str, count: int) -> None:
    ended, answers = await _played(sqlite_stage_url, count)
    assert ended == {"completed": count}
    assert answers[429] < count / 10, "the pace stays just below the limit"
    assert answers[599] < 300, "a dead provider is asked now and then, not by every job"


# --- the same without the parts that make it so ---


def first_in_first_out(
    platform: Platform, handle: Callable[[Job], Awaitable[None]], gate: Gate, *, slots: int, max_seconds: float
) -> FetchHands:
    """Hands as in `fetch_hands`, but those that came first go first."""
    queue = QueueTable(schema.jobs, lane="webhook_id", order="created_at")
    return FetchHands(
        replace(FETCH, queue=queue),
        platform,
        slots=Slots(slots, lambda _: LaneLimit(True, 8), platform.clock, gate),
        handle=handle,
        open_lanes=lambda: platform.configuration.current.webhooks,
        max_seconds=max_seconds,
    )


class NoRamp(OriginGate):
    """A breaker without a pace: once the provider is back, everything goes at once, and again after each 429."""

    def report(self, lane: str, outcome: Outcome, retry_after: float | None = None) -> None:
        super().report(lane, Outcome.FINE if outcome is Outcome.THROTTLED else outcome, retry_after)
        origin = self._origin(lane)
        origin.pace, origin.climbing = None, False


@pytest.mark.slow
@pytest.mark.usefixtures("silence")
async def test_first_in_first_out_loses_some(sqlite_stage_url: str) -> None:
    ended, _ = await _played(sqlite_stage_url, FEW, replace(DEFAULT_PLAN, fetch_hands=first_in_first_out))
    assert ended["expired"] > 20


@pytest.mark.slow
@pytest.mark.usefixtures("silence")
async def test_without_the_ramp_some_are_lost(sqlite_stage_url: str) -> None:
    ended, answers = await _played(sqlite_stage_url, FEW, replace(DEFAULT_PLAN, gate=NoRamp))
    assert ended["expired"] > 20
    assert answers[429] > FEW
