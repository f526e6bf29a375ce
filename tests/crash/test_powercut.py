from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.durable import answers, premature
from tests.crash.powercut import Traced, cut_power

pytestmark = [pytest.mark.timeout(300), pytest.mark.acceptance]

Run = Callable[..., Traced]


def test_a_2xx_is_sent_after_its_fsync_and_outlives_a_power_cut_at_any_moment(traced: Run) -> None:
    run = traced()
    assert len(answers(run.calls)) > 10
    assert premature(run.calls, run.wal) == []

    outcome = cut_power(run, images=150, seed=1)
    assert (outcome.images, outcome.problems) == (150, [])
    assert outcome.before_any > 0, "the making of the database was not cut into"
    assert outcome.upgraded > 0, "no image was started again"


@pytest.mark.slow  # what the proof above is worth
def test_without_the_fsync_of_every_commit_both_proofs_fail(traced: Run) -> None:
    run = traced("fsync")

    assert premature(run.calls, run.wal) != []
    assert any("acknowledged are lost" in problem for problem in cut_power(run, images=60, seed=1).problems)
