"""Every loop is supervised: what fails is logged and started again, and one that fails stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from relay.clock import Clock
from relay.errors import StoreUnavailable

log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Duty:
    """Something small done again and again. `run_once` returns how much it did; after work it runs again at once."""

    name: str
    run_once: Callable[[], Awaitable[int]]
    every_seconds: float


class Supervisor:
    """Runs loops and duties until it is stopped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._once: set[asyncio.Task[None]] = set()

    def watch(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run `loop`, which does not end by itself, and start it again whenever it fails."""
        self._tasks.append(asyncio.get_running_loop().create_task(self._keep(name, loop), name=name))

    def watch_duty(self, duty: Duty) -> None:
        """Run a duty every so often."""

        async def loop() -> None:
            while True:
                if not await duty.run_once():
                    await self._clock.sleep(duty.every_seconds)

        self.watch(duty.name, loop)

    def soon(self, run_once: Callable[[], Awaitable[int]]) -> None:
        """Run something once, now, beside everything else."""

        async def run() -> None:
            try:
                await run_once()
            except StoreUnavailable as error:
                log.warning("loop.store_unavailable", loop="once", reason=str(error))
            except Exception:
                log.exception("loop.failed", loop="once")

        task = asyncio.get_running_loop().create_task(run())
        self._once.add(task)
        task.add_done_callback(self._once.discard)

    async def _keep(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = self._clock.monotonic()
            try:
                await loop()
            except StoreUnavailable as error:
                log.warning("loop.store_unavailable", loop=name, reason=str(error))
            except Exception:
                log.exception("loop.failed", loop=name)
            if self._clock.monotonic() - began > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            await self._clock.sleep(pause * (0.5 + self._clock.random()))
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def stop(self) -> None:
        """End every loop where it stands."""
        tasks = [*self._tasks, *self._once]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
