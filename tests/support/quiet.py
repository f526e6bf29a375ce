"""Knowing when everything waits for time: a database that counts what is under way, and a clock that asks it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from relay.store.database import Database
from relay.store.rows import Connection
from relay.store.writer import Operation
from tests.support.clock import FakeClock

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - In and Out of an operation
O = TypeVar("O")  # noqa: E741

TURNS = 12  # of the loop in which nothing asks the database: then everything waits for time or for the test


class CountedDatabase(Database):
    """The real one; it also says when nobody waits for it."""

    def __init__(self, real: Database) -> None:
        self._real = real
        self.is_sqlite = real.is_sqlite
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.asked = 0

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await self._counted(self._real.read(fn))

    async def write(self, fn: Callable[[Connection], T]) -> T:
        return await self._counted(self._real.write(fn))

    async def submit(self, operation: Operation[I, O], item: I) -> O:
        return await self._counted(self._real.submit(operation, item))

    async def submit_patiently(self, operation: Operation[I, O], item: I) -> O:
        return await self._counted(self._real.submit_patiently(operation, item))

    def post(self, operation: Operation[I, O], item: I, then: Callable[[O | None, Exception | None], None]) -> None:
        def counted(outcome: O | None, error: Exception | None) -> None:
            self._ended()
            then(outcome, error)

        self._began()
        try:
            self._real.post(operation, item, counted)
        except BaseException:
            self._ended()
            raise

    async def _counted(self, asking: Awaitable[T]) -> T:
        self._began()
        try:
            return await asking
        finally:
            self._ended()

    def _began(self) -> None:
        self.asked += 1
        self._under_way += 1
        self._idle.clear()

    def _ended(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    async def quiet(self) -> None:
        """Return when nothing has asked for anything for some turns of the loop: everything waits for time."""
        while True:
            await self._idle.wait()
            asked = self.asked
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if self.asked == asked and not self._under_way:
                return

    async def close(self) -> None:
        await self._real.close()


class QuietClock(FakeClock):
    """A clock that moves on only when the database has done all that was asked of it."""

    database: CountedDatabase | None = None

    async def settle(self, turns: int = 20) -> None:
        """Let everything run that can without time passing."""
        if self.database is None:
            await super().settle(turns)
        else:
            await self.database.quiet()
