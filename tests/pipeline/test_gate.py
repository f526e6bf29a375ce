"""How hard a provider may be asked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.pipeline.gate import (
    LONGEST_PAUSE_SECONDS,
    LONGEST_THROTTLE_PAUSE_SECONDS,
    OPENS_AFTER,
    SLOWEST,
    UNPACED,
    OriginGate,
    Outcome,
)
from tests.support.clock import FakeClock

FINE, THROTTLED, DOWN = Outcome.FINE, Outcome.THROTTLED, Outcome.DOWN
LANE, SIBLING, ELSEWHERE = "wh_1", "wh_2", "wh_3"
ORIGINS = {LANE: "https://a.example", SIBLING: "https://a.example", ELSEWHERE: "https://b.example"}


@pytest.fixture
def gate(clock: FakeClock) -> OriginGate:
    return OriginGate(clock, ORIGINS.__getitem__)


def call(gate: OriginGate, outcome: Outcome, *, lane: str = LANE, retry_after: float | None = None) -> None:
    assert gate.enter(lane)
    gate.report(lane, outcome, retry_after)
    gate.leave(lane)


def open_breaker(gate: OriginGate) -> None:
    for _ in range(OPENS_AFTER):
        call(gate, DOWN)


def wait_for(gate: OriginGate, clock: FakeClock) -> float:
    waited = gate.opens_in(LANE)
    assert waited is not None
    clock.advance(waited + 0.001)
    return waited


def test_the_breaker_opens_after_five_failures_in_a_row(gate: OriginGate) -> None:
    for _ in range(OPENS_AFTER - 1):
        call(gate, DOWN)
    call(gate, FINE)
    for _ in range(OPENS_AFTER - 1):
        call(gate, DOWN)
    assert gate.enter(LANE)
    gate.report(LANE, DOWN)
    gate.leave(LANE)
    assert gate.is_open(ORIGINS[LANE])
    assert not gate.enter(LANE)


def test_all_webhooks_of_the_origin_are_held_and_no_others(gate: OriginGate) -> None:
    open_breaker(gate)
    assert not gate.enter(SIBLING)
    assert gate.enter(ELSEWHERE)


def test_one_probe_goes_and_nobody_else_until_it_is_over(gate: OriginGate, clock: FakeClock) -> None:
    open_breaker(gate)
    wait_for(gate, clock)
    assert gate.enter(LANE)
    assert not gate.enter(LANE) and not gate.enter(SIBLING)
    assert gate.opens_in(LANE) is None, "time alone does not help"
    gate.report(LANE, DOWN)
    gate.leave(LANE)
    assert not gate.enter(LANE), "it has to wait again"


def test_pauses_between_probes_grow_to_half_a_minute(gate: OriginGate, clock: FakeClock) -> None:
    open_breaker(gate)
    pauses = []
    for _ in range(9):
        pauses.append(wait_for(gate, clock))
        call(gate, DOWN)
    assert 1.6 <= pauses[0] <= 2.4
    assert all(pause <= LONGEST_PAUSE_SECONDS * 1.2 for pause in pauses)
    assert pauses[-1] >= LONGEST_PAUSE_SECONDS * 0.8


def test_a_probe_that_was_cancelled_lets_the_next_one_try(gate: OriginGate, clock: FakeClock) -> None:
    open_breaker(gate)
    wait_for(gate, clock)
    assert gate.enter(LANE)
    gate.leave(LANE)
    assert gate.enter(LANE)


def test_calls_from_before_neither_lengthen_the_pause_nor_let_a_second_probe_in(
    gate: OriginGate, clock: FakeClock
) -> None:
    for _ in range(20):
        assert gate.enter(LANE)
    for _ in range(10):
        gate.report(LANE, DOWN)
        gate.leave(LANE)
    assert wait_for(gate, clock) <= 2.4
    assert gate.enter(LANE), "the probe"
    gate.leave(LANE)  # one of the ten that are still out
    assert not gate.enter(LANE)


def test_once_back_the_pace_climbs_from_one_a_second(gate: OriginGate, clock: FakeClock) -> None:
    open_breaker(gate)
    wait_for(gate, clock)
    call(gate, FINE)
    assert not gate.is_open(ORIGINS[LANE])
    made = []
    for _ in range(5):
        made.append(_calls_in_a_second(gate, clock))
    assert made[0] <= 6
    assert made == sorted(made)
    assert 16 <= made[-1] <= 400


def _calls_in_a_second(gate: OriginGate, clock: FakeClock) -> int:
    made = 0
    for _ in range(100):
        while gate.enter(LANE):
            gate.report(LANE, FINE)
            gate.leave(LANE)
            made += 1
        clock.advance(0.01)
    return made


def test_an_origin_that_never_throttles_ends_without_a_pace(gate: OriginGate, clock: FakeClock) -> None:
    open_breaker(gate)
    wait_for(gate, clock)
    call(gate, FINE)
    for _ in range(15):
        for _ in range(100):
            for _ in range(20):
                if gate.enter(LANE):
                    gate.report(LANE, FINE)
                    gate.leave(LANE)
            clock.advance(0.01)
    assert all(gate.enter(LANE) for _ in range(round(UNPACED)))


def test_a_throttle_holds_everybody_and_slows_the_pace(gate: OriginGate, clock: FakeClock) -> None:
    for _ in range(50):
        call(gate, FINE)
        clock.advance(0.1)
    call(gate, THROTTLED)
    assert not gate.enter(SIBLING)
    assert wait_for(gate, clock) == pytest.approx(0.5, abs=0.01)
    made = _calls_in_a_second(gate, clock)
    assert 8 <= made <= 12, "close below the ten a second that went well"


def test_a_burst_of_throttles_is_one_fall(gate: OriginGate, clock: FakeClock) -> None:
    for _ in range(8):
        assert gate.enter(LANE)
    for _ in range(8):
        gate.report(LANE, THROTTLED)
        gate.leave(LANE)
    waited = gate.opens_in(LANE)
    assert waited is not None and waited <= 1.5


def test_a_retry_after_holds_as_long_as_asked_up_to_half_a_minute(gate: OriginGate, clock: FakeClock) -> None:
    call(gate, THROTTLED, retry_after=7.0)
    assert gate.opens_in(LANE) == pytest.approx(7.0)
    clock.advance(8)
    call(gate, THROTTLED, retry_after=1e9)
    assert gate.opens_in(LANE) == pytest.approx(LONGEST_THROTTLE_PAUSE_SECONDS)


@pytest.mark.parametrize("limit", [0.5, 2.0, 10.0, 40.0])
def test_the_pace_finds_a_limit_and_stays_just_below_it(limit: float) -> None:
    clock = FakeClock()
    gate = OriginGate(clock, ORIGINS.__getitem__)
    open_breaker(gate)
    wait_for(gate, clock)
    tokens, fine, refused = 1.0, 0, 0
    seconds = 1200 if limit < 1 else 300
    for _ in range(seconds * 100):
        tokens = min(max(1.0, limit), tokens + limit / 100)
        while gate.enter(LANE):
            outcome = FINE if tokens >= 1 else THROTTLED
            fine, refused = fine + (outcome is FINE), refused + (outcome is THROTTLED)
            tokens -= outcome is FINE
            gate.report(LANE, outcome)
            gate.leave(LANE)
        clock.advance(0.01)
    assert fine >= 0.81 * limit * seconds
    assert refused <= 0.1 * fine + 10


def test_what_was_not_used_costs_nothing_of_the_pace(gate: OriginGate, clock: FakeClock) -> None:
    call(gate, THROTTLED)
    wait_for(gate, clock)
    for _ in range(5):
        assert gate.enter(LANE)
        gate.leave(LANE, used=False)
    assert gate.enter(LANE)


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["enter", "end", "drop", "wait"]), st.sampled_from(list(Outcome)), st.floats(0, 1e6)),
    max_size=120,
)


@settings(max_examples=300, deadline=None)
@given(ACTIONS)
def test_whatever_happened_it_opens_again(actions: list[tuple[str, Outcome, float]]) -> None:
    clock = FakeClock()
    gate = OriginGate(clock, ORIGINS.__getitem__)
    out = 0
    for action, outcome, number in actions:
        if action == "enter":
            out += gate.enter(LANE)
        elif action == "wait":
            clock.advance(number % 40)
        elif out:
            out -= 1
            if action == "end":
                gate.report(LANE, outcome, number if outcome is THROTTLED else None)
            gate.leave(LANE, used=action == "end")
    for _ in range(out):
        gate.leave(LANE)
    waited = gate.opens_in(LANE)
    assert waited is not None and waited <= max(LONGEST_PAUSE_SECONDS * 1.2, 1 / SLOWEST)
    clock.advance(waited + 0.01)
    assert gate.enter(LANE)


def test_a_webhook_that_moves_while_it_is_asked_blocks_nobody(clock: FakeClock) -> None:
    """Its calls left another origin than they had entered, and a breaker that opened there later stayed open for ever:
    the call that was missing there passed for one from before the breaker opened."""
    origins = dict(ORIGINS)
    gate = OriginGate(clock, origins.__getitem__)
    assert gate.enter(LANE)
    origins[LANE] = ORIGINS[ELSEWHERE]
    gate.report(LANE, FINE)
    gate.leave(LANE)
    for lane in (SIBLING, ELSEWHERE):
        for _ in range(OPENS_AFTER):
            call(gate, DOWN, lane=lane)
        for _ in range(3):
            waited = gate.opens_in(lane)
            assert waited is not None
            clock.advance(waited + 0.001)
            call(gate, DOWN, lane=lane)
