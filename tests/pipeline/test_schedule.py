"""When a provider is asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.clock import Instant, after, seconds_between
from relay.pipeline.schedule import (
    AFTER_DEADLINE_SECONDS,
    FORCED_BEFORE_SECONDS,
    FORCED_JITTER_SECONDS,
    JITTER,
    LAST_SECONDS,
    next_attempt,
    retry_after_seconds,
)
from tests.support.clock import START

WAITS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
FAR = after(START, 7200)
DAY = 86_400.0


def wait(step: int, *, deadline: Instant = FAR, chance: float = 0.5, at_least: float | None = None) -> float:
    due = next_attempt(START, step=step, waits=WAITS, deadline=deadline, chance=chance, at_least=at_least)
    return seconds_between(START, due)


def test_the_waits_are_those_of_the_list_and_the_last_one_repeats() -> None:
    assert [wait(step) for step in range(1, 10)] == [1, 2, 5, 10, 20, 30, 60, 60, 60]


def test_waits_are_jittered_to_both_sides() -> None:
    expected = pytest.approx((60 * (1 - JITTER), 60 * (1 + JITTER)))
    assert (wait(7, chance=0.0), wait(7, chance=1.0)) == expected


@pytest.mark.parametrize("before", FORCED_BEFORE_SECONDS)
def test_an_attempt_is_forced_before_the_deadline(before: float) -> None:
    left = before + 40.0
    assert wait(7, deadline=after(START, left), chance=0.5) == left - before - FORCED_JITTER_SECONDS / 2


@given(st.sampled_from(FORCED_BEFORE_SECONDS), st.floats(0, 1, exclude_max=True))
def test_a_forced_attempt_is_jittered_and_never_late(before: float, chance: float) -> None:
    left = before + 30.0
    waited = wait(7, deadline=after(START, left), chance=chance)
    assert left - before - FORCED_JITTER_SECONDS - 0.001 <= waited <= left - before


def test_all_four_are_made_when_the_list_would_make_none() -> None:
    now, made = START, []
    while now < FAR:
        now = next_attempt(now, step=1, waits=(3600.0,), deadline=FAR, chance=0.5)
        made.append(seconds_between(now, FAR))
    for before in (600, 300, 120, 60):
        assert any(before <= left <= before + FORCED_JITTER_SECONDS for left in made), before


def test_in_the_last_minute_it_is_asked_again_and_again() -> None:
    now, deadline, made = START, after(START, 55), 0
    while now < deadline:
        now, made = next_attempt(now, step=7, waits=WAITS, deadline=deadline, chance=0.5), made + 1
    assert 4 <= made <= 10


def test_a_retry_after_overrides_forced_attempts_but_ends_before_the_deadline() -> None:
    assert wait(1, deadline=after(START, 3000), at_least=2500.0) == 2500
    assert wait(1, deadline=after(START, 3000), at_least=DAY) == 3000 - 30
    assert wait(1, deadline=after(START, 20), at_least=DAY) == 1, "no time for what was asked: the usual wait"


def test_a_short_retry_after_takes_no_chance_away_that_there_is_without_it() -> None:
    """A provider that says "in a second" was asked again when it had dropped the result."""
    for left in (20, 40, 55, 100, 160, 340, 640):
        assert wait(7, deadline=after(START, left), at_least=1.0) == wait(7, deadline=after(START, left)), left


def test_a_shorter_retry_after_does_not_shorten_the_wait() -> None:
    assert wait(7, at_least=3.0) == 60


def test_after_the_deadline_the_pace_is_a_minute_or_what_was_asked() -> None:
    past = after(START, -1)
    assert wait(1, deadline=past) == AFTER_DEADLINE_SECONDS
    assert wait(1, deadline=past, at_least=600.0) == 600


@given(
    step=st.integers(0, 50),
    left=st.floats(-DAY, DAY),
    chance=st.floats(0, 1, exclude_max=True),
    asked=st.none() | st.floats(0, DAY),
)
def test_the_next_attempt_is_always_later_and_never_too_late(
    step: int, left: float, chance: float, asked: float | None
) -> None:
    deadline = after(START, left)
    waited = wait(step, deadline=deadline, chance=chance, at_least=asked)
    assert 0 < waited <= max(72.0, AFTER_DEADLINE_SECONDS, asked or 0.0) + 0.001
    if left > LAST_SECONDS:
        assert waited <= left + 0.001


@given(st.floats(0, 7000), st.floats(0, 1, exclude_max=True), st.integers(1, 9))
def test_a_closer_deadline_never_means_a_longer_wait(left: float, chance: float, step: int) -> None:
    closer, farther = after(START, left), after(START, left + 7200)
    if seconds_between(START, closer) > 0:
        assert wait(step, deadline=closer, chance=chance) <= wait(step, deadline=farther, chance=chance) + 0.1


@given(st.integers(0, 20), st.integers(0, 20), st.floats(0, 1, exclude_max=True))
def test_waits_do_not_shrink_with_the_tries(step: int, more: int, chance: float) -> None:
    assert wait(step, chance=chance) <= wait(step + more, chance=chance)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("1e9", None),
        ("1.5", None),
        ("٣", None),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("600", 600.0),
        ("1000000000", DAY),
        ("9" * 400, DAY),
        ("Sat, 21 Nov 2026 19:02:00 GMT", 120.0),
        ("Saturday, 21-Nov-26 19:02:00 GMT", 120.0),
        ("Sat, 21 Nov 2026 18:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
        ("Sat, 99 Nov 2026 19:02:00 GMT", None),
        ("Sat, 21 Nov 2026 19:02:00 +9999999", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_and_never_absurd(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, START, DAY) == seconds


@given(st.text())
def test_no_retry_after_is_too_strange(header: str) -> None:
    found = retry_after_seconds(header, START, DAY)
    assert found is None or 0 <= found <= DAY
