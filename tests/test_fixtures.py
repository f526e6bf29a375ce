"""The fixtures themselves: a test that stands on a broken one proves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import psutil
import pytest
from sqlalchemy import String, create_engine, literal, select

from tests.support import ports, stopwatch
from tests.support.clock import START, FakeClock
from tests.support.order import TESTS, in_parts
from tests.support.ports import SYSTEM_RANGE, free_port, outside
from tests.support.postgres import ExistingPostgres, PostgresServer, find_binaries

TOP = Path(__file__).parents[1]


async def _value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def test_each_process_begins_with_its_share_of_the_long_files() -> None:
    counts = {
        "browser/test_f.py": 1,  # a room that stays together
        "browser/test_g.py": 2,
        "client/test_a.py": 20,
        "crash/test_b.py": 2,
        "crash/test_c.py": 3,
        "journeys/test_d.py": 9,
        "test_e.py": 26,
    }
    items: list[Any] = [
        SimpleNamespace(path=TESTS / name, number=n) for name, count in counts.items() for n in range(count)
    ]
    ordered = in_parts(items, 2)
    assert sorted(ordered, key=items.index) == items
    assert [item.path.name for item in (*ordered[:6], *ordered[31:42])] == [
        "test_f.py", *["test_g.py"] * 2, *["test_c.py"] * 3, *["test_b.py"] * 2, *["test_d.py"] * 9,
    ]  # fmt: skip


async def test_each_test_gets_an_empty_postgres_database(postgres_url: str) -> None:
    assert await _value(postgres_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    await _value(postgres_url, "CREATE TABLE left_behind ()")


async def test_what_another_test_left_is_not_seen(postgres_url: str) -> None:
    assert await _value(postgres_url, "SELECT to_regclass('left_behind')") is None


async def test_a_template_is_prepared_once_and_copied(postgres_server: ExistingPostgres) -> None:
    prepared: list[str] = []

    def prepare(url: str) -> None:
        prepared.append(url)

    names = {postgres_server.template("test_fixtures", prepare) for _ in range(2)}
    assert len(prepared) == 1
    url = postgres_server.create_database(template=names.pop())
    try:
        assert await _value(url, "SELECT 1") == 1
    finally:
        postgres_server.drop_database(url)


def test_the_database_url_comes_in_both_kinds(database_url: str, request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.id
    assert database_url.startswith({"sqlite": "sqlite:///", "postgres": "postgresql://"}[kind])


def test_a_killed_server_with_fsync_comes_back_with_what_it_acknowledged(durable_postgres: PostgresServer) -> None:
    durable_postgres.execute("CREATE TABLE kept AS SELECT 1")
    durable_postgres.kill()
    durable_postgres.start()
    durable_postgres.execute("INSERT INTO kept VALUES (2)")
    durable_postgres.restart_immediately()
    durable_postgres.execute("DROP TABLE kept")
    durable_postgres.stop()
    durable_postgres.start()


def test_a_server_dies_with_the_process_that_started_it_and_its_data_is_swept() -> None:
    if find_binaries() is None:
        pytest.skip("no PostgreSQL of our own")
    program = (
        "from tests.support.postgres import PostgresServer; import os\n"
        "with PostgresServer() as server:\n"
        "    print(server.pid, server.home, server.data, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    dying = subprocess.run([sys.executable, "-c", program], cwd=TOP, capture_output=True, text=True)
    pid, *directories = dying.stdout.split()
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(int(pid)).wait(10)
    with PostgresServer():
        assert [path for path in directories if Path(path).exists()] == []


async def test_advance_wakes_sleepers_in_the_order_of_their_times(clock: FakeClock) -> None:
    woken: list[str] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("late", 3))
        group.create_task(sleeper("soon", 1))
        await clock.settle()
        clock.advance(0.5)
        await clock.settle()
        assert woken == []
        clock.advance(5)
    assert woken == ["soon", "late"]
    assert clock.now() == START + 5500
    assert clock.monotonic() == 5.5


async def test_elapse_gives_a_loop_each_of_its_turns_at_its_own_time(clock: FakeClock) -> None:
    turns: list[float] = []

    async def every_second() -> None:
        while True:
            await clock.sleep(1)
            turns.append(clock.monotonic())

    task = asyncio.create_task(every_second())
    await clock.elapse(3.5)
    assert turns == [1, 2, 3]
    assert clock.sleepers == 1
    task.cancel()
    await clock.settle()
    assert clock.sleepers == 0


def test_setting_the_wall_clock_leaves_the_monotonic_one(clock: FakeClock) -> None:
    clock.set(START)
    clock.advance(1)
    clock.set(START)
    assert (clock.now(), clock.monotonic()) == (START, 1)


def test_chance_repeats_itself_from_its_seed() -> None:
    assert [FakeClock(seed=7).random() for _ in range(2)] == [FakeClock(seed=7).random() for _ in range(2)]


def test_two_processes_are_never_given_the_same_port() -> None:
    draw = "from tests.support.ports import free_port; print(*(free_port() for _ in range(50)))"
    drawing = [subprocess.Popen([sys.executable, "-c", draw], cwd=TOP, stdout=subprocess.PIPE) for _ in range(2)]
    drawn = [int(port) for process in drawing for port in process.communicate()[0].split()]
    assert len(drawn) == len(set(drawn)) == 100
    low, high = map(int, SYSTEM_RANGE.read_text().split())
    assert all(not low <= port <= high for port in drawn) or len(outside(low, high)) > 55_000


def test_a_port_on_which_somebody_listens_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_range", lambda: range(port, port + 2))
        assert {free_port(), free_port()} == {port + 1}


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(32768, 60999, range(10_000, 32_768)), (1024, 32767, range(32_768, 65_536)), (1024, 65535, range(10_000, 65_536))],
)
def test_ports_are_handed_out_where_the_system_chooses_none(first: int, last: int, expected: range) -> None:
    assert outside(first, last) == expected


def test_a_stopwatch_leaves_out_what_others_had_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = iter([5.0, 5.25])
    monkeypatch.setattr(stopwatch, "waited_for_processor", lambda pid: next(waited))
    watch = stopwatch.Stopwatch()
    assert watch.own_seconds == pytest.approx(watch.seconds - 0.25, abs=0.1)


def test_waits_for_the_processor_are_counted_or_nothing_is_left_out() -> None:
    assert 0 <= stopwatch.waited_for_processor(os.getpid()) < 10_000
    assert stopwatch.waited_for_processor(2**22 + 1) == 0  # no such process


def test_engines_of_one_kind_share_what_they_compiled() -> None:
    one, other = create_engine("sqlite://"), create_engine("sqlite://")
    for engine in (one, other):
        with engine.connect() as connection:
            assert connection.execute(select(literal("shared", String) + "!")).scalar_one() == "shared!"
    assert one._compiled_cache is not None and one._compiled_cache is other._compiled_cache
    assert one._compiled_cache is not create_engine("postgresql+asyncpg://")._compiled_cache
