from __future__ import annotations

import pytest

from tests.crash import duplicates, replay
from tests.crash.conftest import SQLITE_FIRST
from tests.crash.world import Kind

# tests/pipeline/test_replay.py restarts half-way, and tests/store/test_intake.py repeats, on PostgreSQL too.
pytestmark = [pytest.mark.timeout(120), pytest.mark.acceptance, SQLITE_FIRST]


def test_a_replay_that_is_killed_half_way_delivers_each_result_once_to_each(kind: Kind) -> None:
    report = replay.run(kind, 150, kills=1)
    assert report.problems == []


def test_a_thousand_copies_of_a_notification_are_one_job_one_fetch_and_one_delivery_to_each(kind: Kind) -> None:
    assert duplicates.run(kind, 1000).problems() == []
