"""Who may start now."""

from __future__ import annotations

import math
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.workers.slots import PACE, LaneLimit, Slots
from tests.support.clock import FakeClock


class Gate:
    """Lets in so many at a time, and counts."""

    def __init__(self, most: int) -> None:
        self.left, self.unused = most, 0

    def enter(self, lane: str) -> bool:
        self.left -= self.left > 0
        return self.left >= 0

    def leave(self, lane: str, *, used: bool) -> None:
        self.unused += not used

    def opens_in(self, lane: str) -> float | None:
        return None


def slots_of(total: int = 10, most: int = 3, rate: float | None = None, *, clock: FakeClock | None = None) -> Slots:
    return Slots(total, lambda lane: LaneLimit(lane != "closed", most, rate), clock or FakeClock())


def test_a_lane_has_a_cap_and_others_are_not_touched_by_it() -> None:
    slots = slots_of()
    assert [slots.reserve("a") for _ in range(5)] == [True, True, True, False, False]
    assert slots.reserve("b")
    assert (slots.in_lane("a"), slots.in_lane("b"), slots.taken, slots.free) == (3, 1, 4, 6)
    slots.release("a")
    assert slots.reserve("a")


def test_there_is_a_cap_over_everything() -> None:
    slots = slots_of(total=2)
    assert [slots.reserve(lane) for lane in "abc"] == [True, True, False]
    assert slots.opens_in("c") == math.inf


def test_a_closed_lane_takes_nothing_and_time_does_not_help() -> None:
    slots = slots_of()
    assert not slots.reserve("closed")
    assert slots.opens_in("closed") == math.inf


def test_a_rate_lets_one_through_and_says_when_the_next(clock: FakeClock) -> None:
    slots = slots_of(most=100, rate=2.0, clock=clock)
    assert slots.reserve("a") and not slots.reserve("a")
    assert slots.opens_in("a") == pytest.approx(0.5 / PACE)
    clock.advance(slots.opens_in("a"))
    assert slots.reserve("a") and not slots.reserve("a")
    clock.advance(60)
    assert [slots.reserve("a") for _ in range(2)] == [True, False], "nothing is saved up"


def windows(starts: list[float], seconds: float) -> int:
    """The most that started in any span of this length."""
    return max(bisect_left(starts, at + seconds) - place for place, at in enumerate(starts))


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0, 10.0, 40.0, 150.0])
@settings(deadline=None, max_examples=20)
@given(pauses=st.lists(st.floats(0, 2), max_size=12))
def test_no_second_has_more_than_the_rate_however_it_is_asked(rate: float, pauses: list[float]) -> None:
    clock = FakeClock()
    slots, starts = slots_of(total=10_000, most=10_000, rate=rate, clock=clock), []
    for pause in (*pauses, 1.0, 1.0):
        until = clock.monotonic() + min(pause, 60 / rate)
        while True:
            if slots.reserve("a"):
                starts.append(clock.monotonic())
            elif clock.monotonic() + (wait := max(slots.opens_in("a"), 0.001)) <= until:
                clock.advance(wait)
            else:
                break
        clock.advance(max(until - clock.monotonic(), 0.0))
    for seconds in (1.0, 2.0, 5.0):
        assert windows(starts, seconds) <= math.ceil(rate * seconds)


def test_a_pace_that_is_asked_all_the_time_is_nearly_the_rate(clock: FakeClock) -> None:
    for rate in (1.0, 10.0, 150.0):
        slots, started = slots_of(total=100_000, most=100_000, rate=rate, clock=clock), 0
        for _ in range(20_000):
            started += slots.reserve("a")
            clock.advance(0.001)
        assert started >= 20 * rate * 0.9


def test_another_rate_brings_no_extra_start(clock: FakeClock) -> None:
    rate = [10.0]
    slots = Slots(10, lambda lane: LaneLimit(True, 9, rate[0]), clock)
    assert slots.reserve("a")
    rate[0] = 5.0
    assert not slots.reserve("a") and slots.opens_in("a") == pytest.approx(0.2 / PACE)


def test_what_was_not_used_costs_nothing_of_the_rate(clock: FakeClock) -> None:
    slots = slots_of(rate=0.1, clock=clock)
    for _ in range(5):
        assert slots.reserve("a")
        slots.release("a", used=False)
    assert slots.reserve("a")
    slots.release("a")
    assert not slots.reserve("a")


def test_a_slot_that_the_gate_refuses_costs_nothing_of_the_rate(clock: FakeClock) -> None:
    gate = Gate(0)
    gate.left = -1
    slots = Slots(10, lambda lane: LaneLimit(True, 3, 0.1), clock, gate)
    assert not slots.reserve("a")
    gate.left = 5
    assert slots.reserve("a")
    slots.release("a", used=False)
    assert gate.unused == 1
    assert slots.opens_in("a") == math.inf, "the gate waits for something to happen"


def test_lanes_that_hang_leave_some_slots_to_the_others(clock: FakeClock) -> None:
    slots = Slots(64, lambda lane: LaneLimit(True, 8), clock, share=0.25)
    for _ in range(8):
        for lane in range(40):
            slots.reserve(f"hangs-{lane}")
    assert slots.free > 0
    assert slots.reserve("fine") and slots.opens_in("hangs-0") == math.inf


def test_a_lone_lane_gets_its_cap_where_there_is_room(clock: FakeClock) -> None:
    slots = Slots(64, lambda lane: LaneLimit(True, 32), clock)
    assert [slots.reserve("a") for _ in range(33)] == [True] * 32 + [False]


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=200))
def test_the_books_are_always_right(steps: list[tuple[str, bool]]) -> None:
    slots, out = slots_of(total=5, most=2), {"a": 0, "b": 0, "c": 0}
    for lane, take in steps:
        if take:
            out[lane] += slots.reserve(lane)
        elif out[lane]:
            slots.release(lane)
            out[lane] -= 1
        assert slots.taken == sum(out.values()) <= 5
        assert all(slots.in_lane(name) == number <= 2 for name, number in out.items())


def test_work_that_takes_more_than_its_slot_stands_for_is_charged_to_the_rate(clock: FakeClock) -> None:
    slots = slots_of(most=100, rate=2.0, clock=clock)
    assert slots.reserve("a")
    slots.charge("a", 3)
    slots.release("a")
    assert slots.opens_in("a") == pytest.approx(2.0 / PACE), "four calls at two a second"
    clock.advance(1.9 / PACE)
    assert not slots.reserve("a")
    clock.advance(0.1 / PACE)
    assert slots.reserve("a")
    slots.charge("a", -1)  # nothing was asked at all
    slots.release("a")
    assert slots.reserve("a")
    slots.charge("without a rate", 3)


def test_what_stands_behind_gets_half_of_a_lane_and_half_of_all() -> None:
    slots = slots_of(total=8, most=4)
    assert [slots.reserve("a", late=True) for _ in range(3)] == [True, True, False]
    assert slots.opens_in("a", late=True) == math.inf and slots.opens_in("a") == 0.0
    assert slots.reserve("a") and not slots.reserve("a", late=True), "what goes first takes of the same half"
    assert slots.reserve("b", late=True)
    assert not slots.reserve("c", late=True), "four of eight are taken"
    assert slots.reserve("c")
    alone = slots_of(total=8, most=1)
    assert alone.reserve("a", late=True), "a lane of one has room for it when it is idle"
