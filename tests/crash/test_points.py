from __future__ import annotations

import os

import pytest

from tests.crash import points, strace

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


@pytest.fixture(autouse=True)
def _strace() -> None:
    if not strace.is_there():
        reason = "NO STRACE: kills at exact system calls are not made on this machine; install strace"
        if os.environ.get("RELAY_REQUIRE_STRACE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def test_a_relay_that_is_killed_at_a_sync_a_write_or_an_answer_loses_nothing() -> None:
    reached, findings = points.killed([3, 21])

    assert (reached, findings.lines()) == (2 * len(points.CALLS), [])


def test_a_relay_whose_disk_fails_to_sync_ends_and_has_acknowledged_nothing_that_is_lost() -> None:
    assert points.failed_sync(20).lines() == []
