"""The work in flight."""

from __future__ import annotations

import asyncio

from relay.workers.crew import Crew
from relay.workers.slots import LaneLimit, Slots
from tests.support.clock import FakeClock


class Handling:
    """Work that lasts until it is told to end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.may_end = asyncio.Event()

    async def __call__(self, work: str) -> None:
        self.begun.append(work)
        if work == "broken":
            raise ValueError("a bad row")
        await self.may_end.wait()
        self.ended.append(work)


def crew_of(handling: Handling, clock: FakeClock, *, max_seconds: float = 60.0) -> Crew[str]:
    slots = Slots(6, lambda lane: LaneLimit(True, 3), clock)
    return Crew("test", slots=slots, handle=handling, clock=clock, max_seconds=max_seconds)


def start(crew: Crew[str], row_id: str, claims: int = 1) -> None:
    assert crew.reserve("lane")
    crew.start("lane", (row_id, claims), row_id)


async def test_one_bad_row_stops_nobody(clock: FakeClock) -> None:
    handling = Handling()
    crew = crew_of(handling, clock)
    for row_id in ("a", "broken", "b"):
        start(crew, row_id)
    assert not crew.reserve("lane"), "the lane is full"
    handling.may_end.set()
    await clock.settle()
    assert handling.ended == ["a", "b"]
    assert len(crew) == 0 and crew.slots.taken == 0


async def test_draining_waits_for_what_is_under_way_and_takes_nothing_new(clock: FakeClock) -> None:
    handling = Handling()
    crew = crew_of(handling, clock)
    start(crew, "a")
    draining = asyncio.ensure_future(crew.drain(60))
    await clock.settle()
    assert not draining.done() and not crew.is_accepting and not crew.reserve("lane")
    handling.may_end.set()
    assert await draining == []
    assert handling.ended == ["a"]


async def test_draining_waits_for_rows_that_are_being_claimed_this_moment(clock: FakeClock) -> None:
    """They were started when everything else had stopped: a call cut short, and a lease that nobody gave back."""
    handling = Handling()
    handling.may_end.set()
    crew = crew_of(handling, clock)
    assert crew.reserve("lane") and crew.reserve("lane")
    draining = asyncio.ensure_future(crew.drain(60))
    await clock.settle()
    assert not draining.done()
    crew.start("lane", ("a", 1), "a")
    crew.release("lane")
    assert await draining == [] and handling.ended == ["a"]


async def test_what_is_not_done_in_time_is_cancelled_and_given_back(clock: FakeClock) -> None:
    handling = Handling()
    crew = crew_of(handling, clock)
    start(crew, "a", 7)
    assert await crew.drain(0) == [("a", 7)]
    assert handling.ended == [] and len(crew) == 0 and crew.slots.taken == 0


async def test_leases_are_extended_for_work_that_may_still_go_on(clock: FakeClock) -> None:
    crew = crew_of(Handling(), clock, max_seconds=60)
    start(crew, "a")
    clock.advance(59)
    start(crew, "b")
    assert crew.leases() == [("a", 1), ("b", 1)]
    clock.advance(2)
    assert crew.leases() == [("b", 1)]
    await crew.drain(0)


async def test_lost_work_is_cancelled(clock: FakeClock) -> None:
    handling = Handling()
    crew = crew_of(handling, clock)
    start(crew, "a")
    start(crew, "b")
    await clock.settle()
    assert crew.drop_lost([("a", 1), ("b", 1)], {"b"}) == 1
    await clock.settle()
    assert crew.row_ids() == {"b"}
    await crew.drain(0)


async def test_a_later_claim_of_the_same_row_is_not_lost_with_the_earlier_one(clock: FakeClock) -> None:
    handling = Handling()
    crew = crew_of(handling, clock)
    start(crew, "a", claims=3)
    assert crew.drop_lost([("a", 1)], set()) == 0
    await clock.settle()
    assert "a" in crew
    await crew.drain(0)


async def test_when_an_earlier_claim_ends_the_later_one_is_still_known(clock: FakeClock) -> None:
    handling = Handling()
    crew = crew_of(handling, clock)
    start(crew, "a", claims=1)
    await clock.settle()
    start(crew, "a", claims=3)
    crew.slots.release("lane")  # as if the first one's task ended: only its own entry goes
    crew.slots.reserve("lane")
    assert crew.leases() == [("a", 3)]
    handling.may_end.set()
    await clock.settle()
    assert len(crew) == 0 and crew.slots.taken == 0
