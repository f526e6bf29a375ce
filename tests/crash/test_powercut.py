from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.crash.durable import answers, premature
from tests.crash.powercut import Traced, cut_power

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("traced")]

Run = Callable[..., Traced]


def test_a_2xx_is_never_sent_before_an_fsync_covers_its_notification(traced: Run) -> None:
    run = traced()

    assert len(answers(run.calls)) > 10
    assert premature(run.calls, run.wal) == []


def test_without_the_fsync_of_every_commit_a_2xx_is_sent_too_early(traced: Run) -> None:
    run = traced("fsync")

    assert premature(run.calls, run.wal) != []


def test_after_a_power_cut_at_any_moment_everything_acknowledged_is_there(traced: Run) -> None:
    outcome = cut_power(traced(), images=250, seed=1)

    assert (outcome.images, outcome.problems) == (250, [])
    assert outcome.before_any > 0, "the making of the database was not cut into"
    assert outcome.upgraded > 0, "no image was started again"


def test_without_the_fsync_of_every_commit_a_power_cut_loses_what_was_acknowledged(traced: Run) -> None:
    outcome = cut_power(traced("fsync"), images=60, seed=1)

    assert any("acknowledged are lost" in problem for problem in outcome.problems)
