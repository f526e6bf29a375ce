"""The work in flight in this process: reserved slots, running tasks, extended leases."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from relay.clock import Clock
from relay.store.queue import Held
from relay.workers.slots import Slots

W = TypeVar("W")
log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _Task:
    held: Held
    lane: str
    give_up_at: float  # monotonic; past it the lease is no longer extended
    task: asyncio.Task[None] | None = None


class Crew(Generic[W]):
    """Runs `handle` for each piece of work. A piece is known by the row it claimed."""

    def __init__(
        self,
        name: str,
        *,
        slots: Slots,
        handle: Callable[[W], Awaitable[None]],
        clock: Clock,
        max_seconds: float,
        on_free: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.slots = slots
        self._handle = handle
        self._clock = clock
        self._max_seconds = max_seconds
        self._on_free = on_free
        self._tasks: dict[str, _Task] = {}
        self._accepting = True
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._tasks

    def row_ids(self) -> set[str]:
        """The rows that are being worked on."""
        return set(self._tasks)

    @property
    def is_accepting(self) -> bool:
        """Whether new work is taken; not while stopping."""
        return self._accepting

    def reserve(self, lane: str, *, late: bool = False) -> bool:
        """A slot for one piece of work of this lane. Pair it with `start` or `release`."""
        if not self._accepting or not self.slots.reserve(lane, late=late):
            return False
        self._idle.clear()
        return True

    def release(self, lane: str) -> None:
        """Give back a slot that was reserved and not used."""
        self._free(lane, used=False)

    def _free(self, lane: str, *, used: bool) -> None:
        self.slots.release(lane, used=used)
        if not self.slots.taken:
            self._idle.set()
        self._on_free()

    def start(self, lane: str, held: Held, work: W) -> None:
        """Work on a row that is claimed, in the slot that was reserved."""
        entry = _Task(held, lane, self._clock.monotonic() + self._max_seconds)
        self._tasks[held[0]] = entry
        entry.task = asyncio.get_running_loop().create_task(self._run(entry, work))

    async def _run(self, entry: _Task, work: W) -> None:
        try:
            await self._handle(work)
        except asyncio.CancelledError:
            raise
        except Exception:  # one bad row stops nobody: its lease runs out and it is tried again
            log.exception("work.failed", crew=self.name, row_id=entry.held[0])
        finally:
            if self._tasks.get(entry.held[0]) is entry:  # not a later claim of the same row
                del self._tasks[entry.held[0]]
            self._free(entry.lane, used=True)

    def leases(self) -> list[Held]:
        """The claims to extend: work that has gone on longer than it may is left to whoever claims it next."""
        now = self._clock.monotonic()
        return [entry.held for entry in self._tasks.values() if entry.give_up_at > now]

    def drop_lost(self, asked: Collection[Held], kept: Collection[str]) -> int:
        """Stop working on what is no longer ours."""
        gone = {held for held in asked if held[0] not in kept}
        lost = [entry for entry in self._tasks.values() if entry.held in gone]  # a later claim of the row is not
        for entry in lost:
            if entry.task is not None:
                entry.task.cancel()
        return len(lost)

    async def drain(self, seconds: float) -> list[Held]:
        """Take nothing new, wait for what is under way or about to be (its slot is reserved), and cancel it after
        `seconds`: the claims to give back."""
        self._accepting = False
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            pass
        unfinished = list(self._tasks.values())
        for entry in unfinished:
            if entry.task is not None:
                entry.task.cancel()
        await asyncio.gather(*(entry.task for entry in unfinished if entry.task), return_exceptions=True)
        return [entry.held for entry in unfinished]
