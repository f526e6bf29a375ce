"""A clock that moves only when told, shared by the tests of the stand-ins."""

import asyncio
import heapq

from relay.clock import Instant, after


class HandClock:
    """Starts at a fixed moment; sleepers wake in order while `advance` moves it."""

    def __init__(self) -> None:
        self._start = self._now = Instant(1_795_000_000_000)
        self._sleepers: list[tuple[Instant, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> Instant:
        return self._now

    def worked(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return (self._now - self._start) / 1000

    def random(self) -> float:
        return 0.5

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (after(self._now, seconds), self._count, woken))
        self._wake()
        await woken

    async def advance(self, seconds: float) -> None:
        """Move on, waking whoever's time has come."""
        self._now = after(self._now, seconds)
        self._wake()
        await asyncio.sleep(0)

    def _wake(self) -> None:
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
