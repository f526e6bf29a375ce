"""Due work in memory: a bounded heap per lane, and two ways of choosing whose head goes next."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from relay.store.queue import LATE, Due

MISSED: Final = 1 << 52  # behind every instant


class Lanes:
    """Ids that are due, by lane, lowest order first."""

    def __init__(self, per_lane: int = 256) -> None:
        self._per_lane = per_lane
        self._heaps: dict[str, list[tuple[int, str]]] = {}
        self._known: set[str] = set()
        self._served: dict[str, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._heaps)

    def depth(self, lane: str) -> int:
        """How many wait in this lane's heap."""
        return len(self._heaps.get(lane, ()))

    def offer(self, due: Due) -> bool:
        """Add one, unless it is there. A full lane keeps its first ones: False = one was left out."""
        if due.id in self._known:
            return True
        heap = self._heaps.setdefault(due.lane, [])
        is_full = len(heap) >= self._per_lane
        if is_full:
            last = max(heap)
            if (due.order, due.id) >= last:
                return False
            heap.remove(last)
            heapq.heapify(heap)
            self._known.discard(last[1])
        heapq.heappush(heap, (due.order, due.id))
        self._known.add(due.id)
        return not is_full

    def put_off(self, now: int) -> None:
        """Behind all others with those whose order, a deadline, has passed: under overload the earliest deadline
        would else always be one that is lost already, while those that can still be met are missed one by one."""
        for heap in self._heaps.values():
            while heap[0][0] <= now:
                order, row_id = heap[0]
                heapq.heapreplace(heap, (order + MISSED, row_id))

    def head(self, lane: str) -> int:
        """The order of the lane's first one."""
        return self._heaps[lane][0][0]

    def is_late(self, lane: str) -> bool:
        """Whether all that waits in this lane stands behind what may still come in."""
        return self.head(lane) >= LATE

    def served(self, lane: str) -> int:
        """When this lane was last chosen from, in turns."""
        return self._served.get(lane, 0)

    def take(self, lane: str) -> str:
        """Remove and return the lane's first id."""
        heap = self._heaps[lane]
        _, row_id = heapq.heappop(heap)
        self._known.discard(row_id)
        if not heap:
            del self._heaps[lane]
        self._turn += 1
        self._served[lane] = self._turn
        return row_id

    def forget_served(self, still_used: Callable[[str], bool]) -> None:
        """Drop the memory of lanes that are gone."""
        self._served = {lane: turn for lane, turn in self._served.items() if still_used(lane)}

    def clear(self) -> None:
        """Forget everything that waits: it is still in the database."""
        self._heaps.clear()
        self._known.clear()


class Policy(Protocol):
    """Which of several lanes goes first: the one with the lowest key."""

    def __call__(self, lanes: Lanes, lane: str) -> int: ...


def earliest_first(lanes: Lanes, lane: str) -> int:
    """Across all lanes the lowest order goes first: for jobs, the earliest deadline."""
    return lanes.head(lane)


def round_robin(lanes: Lanes, lane: str) -> int:
    """The lane that was served longest ago goes first, whatever its backlog."""
    return lanes.served(lane)


class Reserve(Protocol):
    """Take a slot for a piece of work of this lane; `late`: only if enough is left for what is not."""

    def __call__(self, lane: str, *, late: bool = False) -> bool: ...


def pick(lanes: Lanes, policy: Policy, reserve: Reserve, limit: int) -> list[tuple[str, str]]:
    """Up to `limit` pieces of work as (lane, id), each with a slot reserved."""
    picked: list[tuple[str, str]] = []
    candidates = [(policy(lanes, lane), lane) for lane in lanes]
    heapq.heapify(candidates)
    while candidates and len(picked) < limit:
        _, lane = heapq.heappop(candidates)
        if not reserve(lane, late=lanes.is_late(lane)):
            continue  # this lane is full for now: it is not asked again in this round
        picked.append((lane, lanes.take(lane)))
        if lanes.depth(lane):
            heapq.heappush(candidates, (policy(lanes, lane), lane))
    return picked
