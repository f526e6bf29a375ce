from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.outage import FLOORS, full_disk, postgres_restarts

pytestmark = [pytest.mark.timeout(300), pytest.mark.acceptance]


@pytest.mark.slow
@pytest.mark.usefixtures("postgres_to_crash")
def test_postgresql_restarted_under_load_costs_503s_and_nothing_else() -> None:
    outcome = postgres_restarts(2, every=1.5)

    assert outcome.problems() == []


@pytest.mark.parametrize("floor", [pytest.param(floor, marks=pytest.mark.slow if floor else ()) for floor in FLOORS])
def test_a_full_disk_is_a_503_until_there_is_room_again(disk: Path, floor: int) -> None:
    outcome = full_disk(disk, floor=floor, every=1.0)

    assert outcome.problems() == []
    assert outcome.counts["503"] > 0
