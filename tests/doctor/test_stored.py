"""What the doctor says of databases: real ones, and states that no test server can be brought into."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from relay.clock import Instant, SystemClock
from relay.doctor import stored
from relay.doctor.findings import Level
from relay.settings import Settings
from relay.store import examine, sealing
from relay.store.database import open_database
from relay.store.examine import PostgresState

KEY = "a key of more than thirty-two characters".replace(" ", "-")
FINE = PostgresState(
    version=170_002,
    settings={
        "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "max_connections": "100",
        "superuser_reserved_connections": "3",
    },
    connections=10,
    is_standby=False,
)  # fmt: skip


class SlowClock(SystemClock):
    """An hour behind."""

    def now(self) -> Instant:
        return Instant(super().now() - 3_600_000)


def settings(url: str, tmp_path: Path, **more: Any) -> Settings:
    return Settings.model_validate({"database_url": url, "data_dir": tmp_path, "secret_keys": KEY} | more)


def test_a_server_that_keeps_its_word() -> None:
    assert [finding.level for finding in stored.postgres(FINE)] == [Level.OK]


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_may_lose_what_it_acknowledged(name: str) -> None:
    (finding,) = stored.postgres(replace(FINE, settings=FINE.settings | {name: "off"}))
    assert (finding.level, finding.advice) == (Level.FAIL, f"set {name} = on")


@pytest.mark.parametrize(
    ("state", "level", "says"),
    [
        (replace(FINE, is_standby=True), Level.FAIL, "standby"),
        (replace(FINE, version=120_022), Level.FAIL, "too old"),
        (replace(FINE, connections=86), Level.WARN, "86 of 97 connections"),
    ],
)
def test_a_server_that_will_not_do(state: PostgresState, level: Level, says: str) -> None:
    (finding,) = stored.postgres(state)
    assert finding.level is level
    assert says in finding.says


def test_clocks_that_disagree() -> None:
    assert [next(iter(stored.clocks(skew))).level for skew in (0.1, -0.4, 1.0, -2.5, 3600.0)] == [
        Level.OK, Level.OK, Level.WARN, Level.FAIL, Level.FAIL,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 6, 23), True), ((3, 7, 0), False), ((3, 40, 1), False), ((3, 44, 5), False), ((3, 44, 6), True),
        ((3, 45, 0), False), ((3, 46, 1), False), ((3, 50, 6), False), ((3, 50, 7), True), ((3, 51, 0), False),
        ((3, 51, 2), False), ((3, 51, 3), True), ((3, 52, 0), True),
    ],
)  # fmt: skip
def test_litestream_beside_a_sqlite_that_cannot_bear_it(
    version: tuple[int, int, int], safe: bool, tmp_path: Path
) -> None:
    assert examine.may_be_checkpointed_by_two(version) is safe
    given = settings(f"sqlite:///{tmp_path}/relay.db", tmp_path)
    assert [finding.level for finding in stored.sqlite(given, version)] == [Level.OK]
    (tmp_path / ".relay.db-litestream").mkdir()
    assert [finding.level for finding in stored.sqlite(given, version)] == [Level.OK if safe else Level.FAIL]


async def test_a_database_that_is_away(tmp_path: Path) -> None:
    (finding,) = await stored.database(settings("postgresql://relay@127.0.0.1:1/relay", tmp_path), SystemClock())
    assert (finding.check, finding.level) == ("database", Level.FAIL)


async def test_postgresql_without_its_schema_and_with_a_clock_of_its_own(postgres_url: str, tmp_path: Path) -> None:
    found = await stored.database(settings(postgres_url, tmp_path), SlowClock())
    by_check = {finding.check: finding for finding in found}
    assert (by_check["migrations"].level, by_check["migrations"].advice) == (Level.FAIL, "run `relay db upgrade`")
    assert by_check["clock"].level is Level.FAIL
    assert "-3600" in by_check["clock"].says
    assert any("fsync = off" in finding.says for finding in found)  # as the tests' own server has it


async def test_a_schema_that_is_newer(stage_postgres_url: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(stage_postgres_url)
    known = await connection.fetchval("SELECT version_num FROM alembic_version")
    try:
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
        found = await stored.database(settings(stage_postgres_url, tmp_path), SystemClock())
    finally:
        await connection.execute("UPDATE alembic_version SET version_num = $1", known)
        await connection.close()
    assert [finding.level for finding in found if finding.check == "migrations"] == [Level.WARN]


async def test_a_key_that_stored_secrets_need(sqlite_stage_url: str, tmp_path: Path) -> None:
    given = settings(sqlite_stage_url, tmp_path)
    found = await stored.database(given, SystemClock())
    assert [finding.level for finding in found] == [Level.OK, Level.OK]
    database = await open_database(sqlite_stage_url)
    await database.write(partial(sealing.use, key_id="lost", now=SystemClock().now()))
    await database.close()
    (finding,) = [each for each in await stored.database(given, SystemClock()) if each.check == "keys"]
    assert (finding.level, "lost" in finding.says) == (Level.FAIL, True)
