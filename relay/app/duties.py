"""What is gathered in memory while the stages work, and written every few seconds: captures and counts. And what is
done by the time of day, which nobody may do whose clock is wrong, or who is about to stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from relay.errors import StoreUnavailable
from relay.pipeline import counters
from relay.pipeline.floor import Floor
from relay.workers.supervisor import Duty

CAPTURE_SECONDS: Final = 2.0


def gathered(floor: Floor) -> list[Duty]:
    """The duties that write it."""

    async def write_counts() -> int:
        return await counters.flush(floor.counters, floor.database, floor.clock)

    return [
        Duty("captures", floor.captures.run_once, CAPTURE_SECONDS),
        Duty("rollups", write_counts, counters.FLUSH_SECONDS),
    ]


async def write_last_counts(floor: Floor | None) -> None:
    """What was counted since, before the database is closed. They are statistics: not worth a complaint at the end."""
    if floor is not None:
        with contextlib.suppress(StoreUnavailable):
            await counters.flush(floor.counters, floor.database, floor.clock)


def while_it_may(duty: Duty, may: Callable[[], bool]) -> Duty:
    """The same duty, left undone while the clock is wrong: hours ahead, what others write this moment is old. And while
    the process stops: a probe that is taken then is made by nobody."""

    async def run_once() -> int:
        return await duty.run_once() if may() else 0

    return replace(duty, run_once=run_once)
