"""What each of several workers may take of a cap over all of them: never more together, and for a cap all of it."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from relay.workers.shares import Share


@given(st.integers(1, 1000), st.integers(1, 40))
def test_the_parts_of_a_cap_are_the_cap(cap: int, workers: int) -> None:
    parts = [Share(workers, place).of_cap(cap) for place in range(workers)]
    assert sum(parts) == cap and max(parts) - min(parts) <= 1


@given(st.floats(0.01, 5000), st.integers(1, 40))
def test_no_second_of_all_workers_together_has_more_than_the_rate(rate: float, workers: int) -> None:
    parts = [Share(workers, place).of_rate(rate) for place in range(workers)]
    assert any(parts)
    assert sum(math.ceil(part) for part in parts) <= math.ceil(rate)


def test_a_worker_that_the_others_do_not_count_yet_takes_nothing_of_a_rate() -> None:
    assert Share(2, 1, is_known=False).of_rate(100) == 0
    assert Share(2, 1, is_known=False).of_cap(8) == 4
    assert Share(1, 0, is_known=False).of_rate(100) == 100
