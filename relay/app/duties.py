"""What is gathered in memory while the stages work, and written every few seconds: captures and counts."""

from __future__ import annotations

import contextlib
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
