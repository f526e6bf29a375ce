"""Due rows become work: keys are read into lanes, picked by the stage's policy, claimed by primary key.

Nothing here sorts the backlog: the index gives what has been due longest, and where that is more than fits, the first
ones of each lane in its own order. So one lane's backlog hides nobody's work, nor its own most urgent.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Final, Generic, TypeVar

import structlog

from relay.clock import Clock, Instant, after
from relay.store.database import Database
from relay.store.queue import CLAIM, Claim, Due, QueueTable, due, due_in_lane, next_due_at
from relay.store.rows import Connection, Row
from relay.workers.crew import Crew
from relay.workers.lanes import Lanes, Policy, pick

W = TypeVar("W")
log = structlog.get_logger(__name__)

READ_AT_ONCE: Final = 512
READ_PER_LANE: Final = 64
CLAIM_AT_ONCE: Final = 64
IDLE_SECONDS: Final = 1.0
REFILL_SECONDS: Final = 0.25  # how stale lanes may be while they are not empty: an earlier deadline may have come in
# What becomes due by the passing of time alone is looked for so often at most: waiting jobs that are asked in handfuls
# cost a third of what they cost one by one. New work does not wait for this, it comes with a hint.
HANDFUL_SECONDS: Final = 0.25
SHORTEST_SECONDS: Final = 0.002
CLOCK_SECONDS: Final = 0.001  # so much too early a sleep may end
TAKEN_SECONDS: Final = 5.0  # how long an id that somebody else holds is left alone
LOCKED_SECONDS: Final = 0.25  # the first time: it may only have been locked, by a notification that came this moment


class Scheduler(Generic[W]):
    """One per stage and process."""

    def __init__(
        self,
        queue: QueueTable,
        *,
        database: Database,
        crew: Crew[W],
        policy: Policy,
        clock: Clock,
        open_lanes: Callable[[], Iterable[str]],
        work_of: Callable[[Any], tuple[str, W]],
        lease_seconds: float,
    ) -> None:
        self._queue = queue
        self._database = database
        self._crew = crew
        self._policy = policy
        self._clock = clock
        self._open_lanes = open_lanes
        self._work_of = work_of
        self._lease_seconds = lease_seconds
        self._by_deadline = queue.order != "due_at"
        self._lanes = Lanes()
        self._more: set[str] = set()  # lanes of which more is due than is in memory
        self._taken_until: dict[str, float] = {}
        self._hinted = True
        self._read_at = -math.inf
        self._read_by = math.inf  # when something becomes due by the passing of time alone
        self._asked_at = -math.inf  # for that
        self._wake = asyncio.Event()
        self.paused = False

    def hint(self) -> None:
        """Something became due."""
        self._hinted = True
        self._wake.set()

    def slot_freed(self) -> None:
        """A slot came back: for whoever waits in a lane, or for what a hint told of while there was none."""
        if self._lanes or self._hinted or self._more:
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            started = await self.run_once()
            if not started:
                await self._rest()

    async def run_once(self) -> int:
        """Read, pick, claim, start; how many were started. Raises StoreUnavailable."""
        if self.paused or not self._crew.is_accepting or self._crew.slots.free <= 0:
            return 0
        if self._must_read():
            await self._read()
        elif dry := self._dry():
            await self._refill(dry)
        if self._by_deadline:
            self._lanes.put_off(self._clock.now())
        picked = pick(self._lanes, self._policy, self._crew.reserve, CLAIM_AT_ONCE)
        return await self._claim(picked) if picked else 0

    def _must_read(self) -> bool:
        now = self._clock.monotonic()
        age = now - self._read_at
        if now >= self._read_by:
            return True
        if not self._lanes and not self._more:
            return self._hinted or age >= IDLE_SECONDS / 2
        return age >= (REFILL_SECONDS if self._hinted else IDLE_SECONDS)

    async def _read(self) -> None:
        self._hinted, self._read_by, self._asked_at = False, math.inf, -math.inf
        self._read_at = self._clock.monotonic()
        now = self._clock.now()
        under_way = self._crew.row_ids()  # they may be settled by the time the answer is here
        self._forget_taken()
        found = await self._database.read(partial(due, queue=self._queue, now=now, limit=READ_AT_ONCE))
        if len(found) == READ_AT_ONCE:
            found = await self._read_lanes(found, now)
        else:
            self._more.clear()
        self._offer(found, under_way)

    async def _read_lanes(self, oldest: list[Due], now: Instant) -> list[Due]:
        """More is due than was read: of each lane the first ones. What was read of these lanes is no use then:
        it has waited longest, which need not be most urgent, and would fill the lane."""
        lanes = set(self._open_lanes())
        self._more &= lanes
        wanted = [  # what comes in later may go first
            lane for lane in lanes if self._by_deadline or self._lanes.depth(lane) < READ_PER_LANE
        ]
        return await self._first_of(wanted, now) + [item for item in oldest if item.lane not in lanes]

    def _dry(self) -> list[str]:
        """Lanes that could start something and have nothing left in memory, though more of theirs is due."""
        slots = self._crew.slots
        return [lane for lane in self._more if not self._lanes.depth(lane) and not slots.opens_in(lane)]

    async def _refill(self, dry: Collection[str]) -> None:
        """Go on with these lanes at once: else a backlog would go at the pace at which everything is read anew."""
        under_way = self._crew.row_ids()
        self._offer(await self._first_of(dry, self._clock.now()), under_way)
        self._more -= {lane for lane in dry if not self._lanes.depth(lane)}  # others have them all: look later

    async def _first_of(self, lanes: Collection[str], now: Instant) -> list[Due]:
        """The first ones of each of these lanes, besides those that are under way here or, as far as we know,
        elsewhere."""
        taken = READ_PER_LANE + len(self._taken_until)
        limits = {lane: taken + self._crew.slots.in_lane(lane) for lane in lanes}
        first = await self._database.read(partial(_due_in_lanes, queue=self._queue, limits=limits, now=now))
        counts = Counter(item.lane for item in first)
        self._more.difference_update(limits)
        self._more.update(lane for lane, limit in limits.items() if counts[lane] >= limit)
        return first

    def _offer(self, found: Iterable[Due], under_way: Collection[str]) -> None:
        now = self._clock.monotonic()
        for item in found:
            if item.id in under_way or item.id in self._crew or self._taken_until.get(item.id, now) > now:
                continue
            if not self._lanes.offer(item):
                self._more.add(item.lane)

    def _forget_taken(self) -> None:
        now = self._clock.monotonic()
        if self._taken_until:
            known = self._taken_until.items()
            self._taken_until = {row: until for row, until in known if until + TAKEN_SECONDS > now}

    async def _claim(self, picked: list[tuple[str, str]]) -> int:
        """Claim what was picked. Slots of what somebody else got first go back."""
        now = self._clock.now()
        lease_until = after(now, self._lease_seconds)
        lanes = {row_id: lane for lane, row_id in picked}
        ids = list(lanes)
        try:
            rows = await self._database.submit(CLAIM, Claim(self._queue.table, ids, now, lease_until))
        except BaseException:
            for lane, _ in picked:
                self._crew.release(lane)
            raise
        for row in rows:
            self._start(lanes.pop(row.id), row)
        for row_id, lane in lanes.items():
            seconds = TAKEN_SECONDS if row_id in self._taken_until else LOCKED_SECONDS
            self._taken_until[row_id] = self._clock.monotonic() + seconds
            self._crew.release(lane)
        return len(rows)

    def _start(self, lane: str, row: Row) -> None:
        try:
            real_lane, work = self._work_of(row)
            if real_lane != lane:
                raise AssertionError("a row changed lanes")
        except Exception:  # one bad row stops nobody: its lease runs out and it is tried again
            log.exception("work.unreadable", crew=self._crew.name, row_id=row.id)
            self._crew.release(lane)
        else:
            self._crew.start(lane, (row.id, row.claims), work)

    async def _rest(self) -> None:
        """Until there may be something to do: a hint, a free slot, a lane that opens, the next row's time; or 1 s."""
        seconds = await self._seconds_to_rest()
        if seconds > 0:
            sleep = asyncio.ensure_future(self._clock.sleep(seconds))
            wake = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait((sleep, wake), return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
                wake.cancel()
        self._wake.clear()

    async def _seconds_to_rest(self) -> float:
        # Never quite the same: of two workers that rest in step the same one would come first every time.
        seconds = IDLE_SECONDS * (0.75 + 0.5 * self._clock.random())
        for lane in self._lanes:
            seconds = min(seconds, self._crew.slots.opens_in(lane, late=self._lanes.is_late(lane)))
        for lane in self._more:
            seconds = min(seconds, self._crew.slots.opens_in(lane))
        # What waits in memory and cannot go, of a paused lane for example, is no reason to be late for others.
        if seconds > HANDFUL_SECONDS and not self._hinted:
            seconds = min(seconds, await self._seconds_to_next(seconds))
        return max(seconds, SHORTEST_SECONDS)

    async def _seconds_to_next(self, most: float) -> float:
        """Until something becomes due by the passing of time alone, if that is before `most`. While a lane is full this
        is called at each slot that is freed, so the database is not asked each time."""
        began = self._clock.monotonic()
        if began - self._asked_at < HANDFUL_SECONDS and (self._lanes or self._more):
            return self._read_by - began
        self._asked_at = began
        now = self._clock.now()
        coming: Instant | None = await self._database.read(partial(next_due_at, queue=self._queue, now=now))
        since_read = self._clock.monotonic() - self._read_at
        if coming is None or (left := max((coming - now) / 1000, HANDFUL_SECONDS - since_read)) >= most:
            return most
        # Not a hint: a slot that is freed meanwhile is no reason to look, nothing waits for one.
        self._read_by = self._clock.monotonic() + max(left, SHORTEST_SECONDS) - CLOCK_SECONDS
        return left


def _due_in_lanes(connection: Connection, queue: QueueTable, limits: Mapping[str, int], now: Instant) -> list[Due]:
    """The first ones of each lane; those whose deadline has passed only where there is room left."""
    found: list[Due] = []
    for lane, limit in limits.items():
        ahead = [] if queue.order == "due_at" else due_in_lane(connection, queue, lane, now, limit, later_than=now)
        if len(ahead) < limit:
            known = {item.id for item in ahead}
            behind = due_in_lane(connection, queue, lane, now, limit - len(ahead))
            ahead += [item for item in behind if item.id not in known]
        found += ahead
    return found
