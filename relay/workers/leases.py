"""Leases of work in flight are extended in one batch per process, well before they end."""

from __future__ import annotations

from functools import partial
from typing import Any

import structlog

from relay.clock import Clock, after
from relay.store.database import Database
from relay.store.queue import Held, QueueTable, extend, give_back
from relay.workers.crew import Crew

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """For one stage: extends what its crew works on, and gives back what it could not finish."""

    def __init__(
        self, queue: QueueTable, *, database: Database, crew: Crew[Any], clock: Clock, lease_seconds: float
    ) -> None:
        self._queue = queue
        self._database = database
        self._crew = crew
        self._clock = clock
        self._lease_seconds = lease_seconds
        self.lost = 0  # pieces of work, since the start

    @property
    def every_seconds(self) -> float:
        """How often `run_once` is due: two may fail before a lease ends."""
        return self._lease_seconds / 3

    async def run_once(self) -> int:
        """Extend; cancel work whose lease went to somebody else. Always 0: the next time is not at once."""
        asked = self._crew.leases()
        if asked:
            until = after(self._clock.now(), self._lease_seconds)
            kept = await self._database.write(partial(extend, table=self._queue.table, claims=asked, lease_until=until))
            lost = self._crew.drop_lost(asked, kept)
            self.lost += lost
            if lost:
                log.warning("leases.lost", crew=self._crew.name, count=lost)
        return 0

    async def give_back(self, unfinished: list[Held]) -> None:
        """Free the rows of work that was cancelled."""
        if unfinished:
            await self._database.write(partial(give_back, table=self._queue.table, claims=unfinished))
