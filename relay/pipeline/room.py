"""Room in memory for what is too large to be kept: bodies that are sent whole, because their signature comes first."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

WAIT_SECONDS: Final = 15.0  # less than a delivery may take beyond its call, so that its lease is not let go meanwhile
LANE_SHARE: Final = 0.5  # of what is free, for a lane that holds some already


class NoRoom(Exception):
    """There was none in time: try again later."""


class Room:
    """Bytes in use over all lanes. A lane that holds some already gets half of what is free at most, so that one whose
    bodies go nowhere leaves some to the others. One body fits always when nothing else is there, however large it is.
    """

    def __init__(self, total: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._total = total
        self._wait_seconds = wait_seconds
        self._used = 0
        self._by_lane: dict[str, int] = {}
        self._waiting: list[_Waiter] = []

    @property
    def used(self) -> int:
        """Bytes that are taken now."""
        return self._used

    async def take(self, lane: str, size: int) -> None:
        """Wait for room. Raises NoRoom; otherwise `give_back` the same."""
        waiter = _Waiter(lane, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._grant()
        try:
            async with asyncio.timeout(self._wait_seconds):
                await waiter.granted
        except BaseException as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._grant()
            else:  # it was granted in the same moment
                self.give_back(lane, size)
            if isinstance(error, TimeoutError):
                raise NoRoom from None
            raise

    def give_back(self, lane: str, size: int) -> None:
        """It is used no more."""
        self._used -= size
        self._by_lane[lane] -= size
        if not self._by_lane[lane]:
            del self._by_lane[lane]
        self._grant()

    def _grant(self) -> None:
        """Let in who fits, in the order of their coming; who waits for others of its own lane is passed by."""
        for waiter in list(self._waiting):
            if waiter.granted.done():  # its caller has been cancelled and does not know it yet
                continue
            free = self._total - self._used
            if self._used and waiter.size > free:
                return
            if waiter.lane in self._by_lane and waiter.size > free * LANE_SHARE:
                continue
            self._waiting.remove(waiter)
            self._used += waiter.size
            self._by_lane[waiter.lane] = self._by_lane.get(waiter.lane, 0) + waiter.size
            waiter.granted.set_result(None)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    lane: str
    size: int
    granted: asyncio.Future[None]
