from __future__ import annotations

import pytest

from tests.crash.kill import recoveries, run
from tests.crash.load import Ack
from tests.crash.world import Kind

pytestmark = pytest.mark.timeout(300)


def test_three_kills_lose_nothing(kind: Kind) -> None:
    assert run(kind, 3, seed=1, rate=60).findings.lines() == []


def test_recovery_is_measured_from_each_start_to_its_first_acknowledgement() -> None:
    acks = [Ack(str(at), at, "", "", "") for at in (1.0, 9.0, 11.5, 12.0, 22.5)]

    # the relay that started at 15 was killed before it acknowledged anything
    assert recoveries([10.0, 15.0, 20.0], acks) == [1.5, 2.5]
