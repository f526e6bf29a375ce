"""This process among the others."""

from __future__ import annotations

import pytest
import structlog
from sqlalchemy import select

from relay.clock import Instant, after
from relay.ids import new_id
from relay.store import nodes, schema
from relay.workers.heartbeat import MOST_SKEW_SECONDS, Heartbeat
from relay.workers.shares import Share
from tests.support.stage import Stage

REAL = nodes.database_now


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's clock is PostgreSQL's too."""
    monkeypatch.setattr(nodes, "database_now", lambda connection: None)


def beating(stage: Stage, role: str = nodes.WORKER) -> Heartbeat:
    return Heartbeat(new_id("node", stage.clock.now()), role, stage.database, stage.clock)


async def test_workers_count_each_other(stage: Stage) -> None:
    first, second, server = beating(stage), beating(stage), beating(stage, "server")
    assert await first.run_once() == 0
    assert first.workers == 1
    await second.run_once()
    await server.run_once()
    await first.run_once()
    assert (first.workers, second.workers, server.workers) == (2, 2, 2)


async def test_a_worker_knows_its_place_and_when_the_others_have_noticed_it(stage: Stage) -> None:
    first = beating(stage)
    await first.run_once()
    stage.clock.advance(10)
    second = beating(stage)
    await second.run_once()
    assert (second.share, first.share) == (Share(2, 1, is_known=False), Share(1, 0))
    stage.clock.advance(5)
    await first.run_once()
    assert first.share == Share(2, 0)
    stage.clock.advance(5)
    await second.run_once()
    assert second.share == Share(2, 1)


async def test_nobody_waits_for_a_dead_worker_to_notice_it(stage: Stage) -> None:
    await beating(stage).run_once()
    stage.clock.advance(20)
    late = beating(stage)
    await late.run_once()
    assert not late.share.is_known
    stage.clock.advance(11)
    await late.run_once()
    assert late.share == Share()


async def test_who_leaves_is_counted_no_more(stage: Stage) -> None:
    first, second = beating(stage), beating(stage)
    await first.run_once()
    await second.run_once()
    await second.leave()
    await first.run_once()
    assert first.workers == 1


async def test_who_died_is_counted_no_more_after_a_while(stage: Stage) -> None:
    first, second = beating(stage), beating(stage)
    await second.run_once()
    stage.clock.advance(300)
    await first.run_once()
    assert first.workers == 1


@pytest.mark.parametrize(("skew", "right"), [(0.0, True), (1.9, True), (-1.9, True), (2.5, False), (-2.5, False)])
async def test_a_clock_that_is_off_is_noticed(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch, skew: float, right: bool
) -> None:
    heartbeat = beating(sqlite_stage)
    theirs: list[Instant] = [after(sqlite_stage.clock.now(), -skew)]
    monkeypatch.setattr(nodes, "database_now", lambda connection: theirs[0])
    with structlog.testing.capture_logs() as logs:
        await heartbeat.run_once()
    assert heartbeat.skew_seconds == pytest.approx(skew)
    assert heartbeat.clock_is_right is right
    assert [entry["event"] for entry in logs] == ([] if right else ["clock.skewed"])
    theirs[0] = sqlite_stage.clock.now()
    await heartbeat.run_once()
    assert heartbeat.clock_is_right and MOST_SKEW_SECONDS == 2


async def test_an_answer_that_took_long_tells_nothing_of_the_clocks(
    sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was stopped for a while in the middle of the comparison has not got another clock by that."""
    heartbeat = beating(sqlite_stage)
    asked_at = sqlite_stage.clock.now()

    def answer(connection: object) -> Instant:
        sqlite_stage.clock.advance(6)
        return asked_at

    monkeypatch.setattr(nodes, "database_now", answer)
    await heartbeat.run_once()
    assert heartbeat.clock_is_right


async def test_a_worker_whose_clock_is_wrong_is_counted_only_when_it_is_right_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes nothing, and the first worker has all of what is too little for two: nobody took that."""
    late = beating(stage)
    stage.clock.advance(1)  # places are by the time in the ids
    right = beating(stage)
    monkeypatch.setattr(nodes, "database_now", lambda connection: after(stage.clock.now(), 5))
    await late.run_once()
    assert not late.clock_is_right and not late.share.is_known
    monkeypatch.setattr(nodes, "database_now", lambda connection: stage.clock.now())
    await right.run_once()
    assert right.share == Share()
    await late.run_once()
    assert late.share == Share(2, 0, is_known=False), "the other one still takes all"
    for _ in range(2):
        stage.clock.advance(5)
        await right.run_once()
        await late.run_once()
    assert (late.share, right.share) == (Share(2, 0), Share(2, 1))


async def test_a_worker_whose_clock_is_ahead_forgets_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = beating(stage), beating(stage)
    await first.run_once()
    now = stage.clock.now()
    stage.clock.advance(2 * nodes.FORGOTTEN_SECONDS)
    monkeypatch.setattr(nodes, "database_now", lambda connection: now)
    await second.run_once()
    seen = await stage.database.read(lambda c: list(c.execute(select(schema.nodes.c.role)).scalars()))
    assert sorted(seen) == [nodes.IDLE, nodes.WORKER]


async def test_the_real_databases_clock_can_be_compared(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "database_now", REAL)
    heartbeat = beating(stage)
    await heartbeat.run_once()
    if stage.database.is_sqlite:
        assert heartbeat.skew_seconds == 0, "one process, one clock"
    else:
        assert not heartbeat.clock_is_right, "the test's clock stands still in its own time"
