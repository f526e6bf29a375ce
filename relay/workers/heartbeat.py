"""This process among the others: alive, how many share the work, and whether the clocks agree."""

from __future__ import annotations

from functools import partial
from typing import Final

import structlog

from relay.clock import Clock
from relay.store import nodes
from relay.store.database import Database
from relay.workers.shares import Share

log = structlog.get_logger(__name__)

MOST_SKEW_SECONDS: Final = 2.0
SLOWEST_ANSWER_SECONDS: Final = 1.0


class Heartbeat:
    """Beats for one node. Leases and due times are shared, so a node whose clock is off must not claim."""

    every_seconds = 10.0

    def __init__(self, node_id: str, role: str, database: Database, clock: Clock) -> None:
        self._node_id = node_id
        self._role = role
        self._database = database
        self._clock = clock
        self.share = Share()
        self.skew_seconds = 0.0

    @property
    def workers(self) -> int:
        """How many workers are alive, as far as we know."""
        return self.share.workers

    @property
    def clock_is_right(self) -> bool:
        """Whether our clock and the database's are close enough to work by."""
        return abs(self.skew_seconds) <= MOST_SKEW_SECONDS

    @property
    def ahead_seconds(self) -> float:
        """By how much our clock has to be put right for what the others go by."""
        return 0.0 if self.clock_is_right else self.skew_seconds

    async def run_once(self) -> int:
        """Compare the clocks, beat, count the workers. Always 0: the next beat is not at once.

        Whose clock is wrong is no worker for that time: it would keep a part of the work, and the first one keeps all
        of what is too little to be divided.
        """
        await self._compare_clocks()
        role = self._role if self.clock_is_right else nodes.IDLE
        beat = partial(nodes.beat, node_id=self._node_id, role=role, now=self._clock.now())
        found = await self._database.write(beat)
        self.share = Share(found.workers, found.place, found.is_known and self.clock_is_right)
        return 0

    async def _compare_clocks(self) -> None:
        before, began = self._clock.now(), self._clock.monotonic()
        theirs = await self._database.read(nodes.database_now)
        if theirs is None or self._clock.monotonic() - began > SLOWEST_ANSWER_SECONDS:
            return  # it was read at some moment of that time: nobody knows which
        ours = (before + self._clock.now()) / 2
        was_right = self.clock_is_right
        self.skew_seconds = (ours - theirs) / 1000
        if was_right and not self.clock_is_right:
            log.error("clock.skewed", skew_seconds=round(self.skew_seconds, 3))

    async def leave(self) -> None:
        """Say that this node is gone, so that the others take its share at once."""
        await self._database.write(partial(nodes.leave, node_id=self._node_id))
