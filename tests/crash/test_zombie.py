from __future__ import annotations

import pytest

from tests.crash import claims, share, zombie

pytestmark = [pytest.mark.timeout(300), pytest.mark.acceptance, pytest.mark.usefixtures("postgres_to_crash")]


@pytest.mark.slow  # the zombie below has a server and two workers, and its story is audited too
def test_two_servers_and_two_workers_lose_nothing_when_one_of_each_is_killed() -> None:
    # Each looks for work once a second: who looks first may find it all, and in so short a time that does not even out.
    assert share.run(seconds=2, rate=60, fair=None).problems() == []


@pytest.mark.slow
def test_two_workers_share_the_work_fairly() -> None:
    assert share.run(seconds=8, rate=60).problems() == []


def test_a_worker_that_was_stopped_past_its_lease_changes_nothing_when_it_wakes() -> None:
    outcome = zombie.run(1, seed=1)

    assert outcome.problems() == []
    assert outcome.rejected > 0, "no zombie even tried"


@pytest.mark.slow
def test_without_the_fence_a_zombie_is_caught() -> None:
    assert zombie.run(1, seed=1, without=("fence",)).changed != []


@pytest.mark.slow
def test_four_processes_that_race_for_the_same_rows_never_hold_one_twice() -> None:
    outcome = claims.run(5_000, seed=1, rows=100)

    assert outcome.claims >= 5_000
    assert outcome.problems() == []
