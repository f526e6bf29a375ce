"""Loops that are started again."""

from __future__ import annotations

import structlog

from relay.errors import StoreUnavailable
from relay.workers.supervisor import LONGEST_PAUSE_SECONDS, Duty, Supervisor
from tests.support.clock import FakeClock


async def test_a_loop_that_fails_is_started_again_more_and_more_patiently(clock: FakeClock) -> None:
    supervisor, began = Supervisor(clock), []

    async def failing() -> None:
        began.append(clock.monotonic())
        raise StoreUnavailable("gone") if len(began) % 2 else ValueError("a bug")

    with structlog.testing.capture_logs() as logs:
        supervisor.watch("failing", failing)
        await clock.elapse(120)
        await supervisor.stop()
    waits = [later - earlier for earlier, later in zip(began, began[1:], strict=False)]
    assert waits[0] < 0.2 and max(waits) <= LONGEST_PAUSE_SECONDS * 1.5
    assert len(began) > 20, "for ever"
    assert {entry["event"] for entry in logs} == {"loop.store_unavailable", "loop.failed"}


async def test_one_that_ran_well_for_a_while_is_started_again_at_once(clock: FakeClock) -> None:
    supervisor, began = Supervisor(clock), []

    async def failing() -> None:
        began.append(clock.monotonic())
        await clock.sleep(0 if len(began) < 8 else 60)
        raise ValueError("now and then")

    supervisor.watch("failing", failing)
    await clock.elapse(200)
    await supervisor.stop()
    assert began[-1] - began[-2] < 60.2


async def test_a_loop_that_fails_stops_no_other(clock: FakeClock) -> None:
    supervisor, turns = Supervisor(clock), []

    async def failing() -> None:
        raise ValueError("a bug")

    async def fine() -> None:
        while True:
            turns.append(clock.monotonic())
            await clock.sleep(1)

    supervisor.watch("failing", failing)
    supervisor.watch("fine", fine)
    await clock.elapse(10)
    await supervisor.stop()
    assert turns == [float(second) for second in range(11)]


async def test_a_duty_is_repeated_at_once_while_there_is_work_then_rests(clock: FakeClock) -> None:
    supervisor, left, ran = Supervisor(clock), [3, 2, 0, 1, 0], []

    async def run_once() -> int:
        ran.append(clock.monotonic())
        return left.pop(0) if left else 0

    supervisor.watch_duty(Duty("duty", run_once, 60.0))
    await clock.elapse(130)
    await supervisor.stop()
    assert ran == [0, 0, 0, 60, 60, 120]


async def test_something_run_once_may_fail_without_anybody_noticing_but_the_log(clock: FakeClock) -> None:
    supervisor, errors = Supervisor(clock), [ValueError("a bug"), StoreUnavailable("gone")]

    async def run_once() -> int:
        raise errors.pop()

    with structlog.testing.capture_logs() as logs:
        supervisor.soon(run_once)
        supervisor.soon(run_once)
        await clock.settle()
        await supervisor.stop()
    assert sorted(entry["event"] for entry in logs) == ["loop.failed", "loop.store_unavailable"]


async def test_stopping_ends_every_loop(clock: FakeClock) -> None:
    supervisor, ended = Supervisor(clock), []

    async def loop() -> None:
        try:
            await clock.sleep(1000)
        finally:
            ended.append(True)

    supervisor.watch("a", loop)
    supervisor.watch("b", loop)
    await clock.settle()
    await supervisor.stop()
    assert ended == [True, True]
