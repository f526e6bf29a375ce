from __future__ import annotations

import pytest

from tests.crash.kill import Start, measure, run
from tests.crash.load import Ack
from tests.crash.world import Kind

pytestmark = pytest.mark.timeout(300)


KILLS = [
    ("sqlite", 1),
    pytest.param("postgres", 1, marks=pytest.mark.acceptance),  # to be killed again and again is in `make proofs`
    *(pytest.param(kind, 6, marks=pytest.mark.slow) for kind in ("sqlite", "postgres")),
]


@pytest.mark.parametrize(("kind", "cycles"), KILLS, indirect=["kind"])
def test_kills_lose_nothing(kind: Kind, cycles: int) -> None:
    assert run(kind, cycles, seed=1, rate=60).findings.lines() == []


def test_recovery_is_measured_from_each_start_to_its_first_acknowledgement() -> None:
    acks = [Ack(str(at), at, "", "", "") for at in (1.0, 9.0, 11.5, 12.0, 22.5)]

    starts = [Start(10.0), Start(15.0), Start(20.0)]
    measure(starts, acks)

    # the relay that started at 15 was killed before it acknowledged anything
    assert [start.recovery for start in starts] == [1.5, None, 2.5]


def test_recovery_is_judged_without_the_time_in_which_others_had_the_processor() -> None:
    assert Start(0.0, ready=6.0, cpu=1.5, recovery=6.25).own == 1.75
