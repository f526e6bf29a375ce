"""Time, sleep and chance: the only module that touches them.

An `Instant` is whole milliseconds since 1970 in UTC: what both databases store, sort and index alike.
Durations are seconds (float) unless the name says `_ms`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NewType, Protocol

Instant = NewType("Instant", int)


class Clock(Protocol):
    """What the rest of Relay knows of time. Tests pass one they move by hand."""

    def now(self) -> Instant:
        """The wall clock."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards, for measuring."""
        ...

    def worked(self) -> float:
        """Seconds that this thread has had a processor, for telling how busy it is."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...

    def random(self) -> float:
        """A number in [0, 1), for jitter."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> Instant:
        return Instant(time.time_ns() // 1_000_000)

    def monotonic(self) -> float:
        return time.monotonic()

    def worked(self) -> float:
        return time.thread_time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random(self) -> float:
        return random.random()

    def pause(self, seconds: float) -> None:
        """As `sleep`, for a program without an event loop: it stops the thread."""
        time.sleep(seconds)


class CorrectedClock:
    """Another clock, put right by as much as it is ahead."""

    def __init__(self, clock: Clock, ahead_seconds: Callable[[], float]) -> None:
        self._clock = clock
        self._ahead_seconds = ahead_seconds
        self.monotonic, self.worked, self.sleep, self.random = clock.monotonic, clock.worked, clock.sleep, clock.random

    def now(self) -> Instant:
        ahead_seconds = self._ahead_seconds()
        return after(self._clock.now(), -ahead_seconds) if ahead_seconds else self._clock.now()


def after(instant: Instant, seconds: float) -> Instant:
    """The instant `seconds` later (earlier if negative)."""
    return Instant(instant + round(seconds * 1000))


def seconds_between(earlier: Instant, later: Instant) -> float:
    """How many seconds `later` is after `earlier`."""
    return (later - earlier) / 1000


def rfc3339(instant: Instant) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`."""
    moment = datetime.fromtimestamp(instant // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{instant % 1000:03d}Z"


def parse_rfc3339(text: str) -> Instant:
    """Read an RFC 3339 time with an offset. Raises ValueError when it is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset, for example 2026-11-21T19:00:00Z")
    return Instant(int(moment.timestamp() * 1000))
