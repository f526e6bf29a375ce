"""Time that only moves when a test says so."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random

from relay.clock import Instant, after

START = Instant(1_795_287_600_000)  # 2026-11-21T19:00:00Z


class FakeClock:
    """A `relay.clock.Clock`: stands still, and wakes sleepers in the order of their times when it is advanced."""

    def __init__(self, now: Instant = START, seed: int = 1) -> None:
        self._now = now
        self._elapsed = 0.0
        self._random = random.Random(seed)
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> Instant:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    def worked(self) -> float:
        return 0.0

    def random(self) -> float:
        return self._random.random()

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has been advanced by `seconds`; at once (after a turn of the loop) for none."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waker = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), waker))
        await waker

    def advance(self, seconds: float) -> None:
        """Move on by `seconds` and wake, in the order of their times, the sleepers that are due.

        They run when the loop next does and all see the new time; `elapse` gives each its own.
        """
        self._step_to(self._elapsed + seconds)
        while self._sleepers and self._sleepers[0][0] <= self._elapsed:
            self._wake_first()

    async def elapse(self, seconds: float) -> None:
        """Move on by `seconds` as time would: each sleeper wakes at its own time and runs until it waits again."""
        target = self._elapsed + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            self._step_to(self._sleepers[0][0])
            self._wake_first()
            await self.settle()
        self._step_to(target)

    def set(self, now: Instant) -> None:
        """Change the wall clock alone, as an operator or NTP would; the monotonic clock and sleepers do not notice."""
        self._now = now

    @property
    def sleepers(self) -> int:
        """How many are asleep."""
        return sum(not waker.done() for _, _, waker in self._sleepers)

    async def settle(self, turns: int = 20) -> None:
        """Let everything that can run without time passing run: some turns of the loop."""
        for _ in range(turns):
            await asyncio.sleep(0)

    def _wake_first(self) -> None:
        waker = heapq.heappop(self._sleepers)[2]
        if not waker.done():  # a cancelled sleeper is done
            waker.set_result(None)

    def _step_to(self, elapsed: float) -> None:
        self._now = after(self._now, elapsed - self._elapsed)
        self._elapsed = elapsed
