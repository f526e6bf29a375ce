from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from relay.errors import SchemaStale, SettingError, StoreUnavailable
from relay.store import migrate
from relay.store.connect import is_sqlite, open_engine, sqlite_path
from relay.store.verify_schema import findings
from tests.support.postgres import ExistingPostgres

HEAD = migrate._status_of(None).head
STEPS = migrate._status_of(None).pending

UPGRADE = "import asyncio, sys; from relay.store import migrate; print(asyncio.run(migrate.upgrade(sys.argv[1])))"


async def _execute(database_url: str, *statements: str) -> None:
    engine = open_engine(database_url)
    try:
        async with engine.begin() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)
    finally:
        await engine.dispose()


def _make_empty(database_url: str) -> None:
    if is_sqlite(database_url):
        sqlite_path(database_url).touch()


async def _values(database_url: str, query: str) -> list[object]:
    return await migrate.look(database_url, lambda connection: list(connection.execute(text(query)).scalars()))


async def test_an_upgraded_database_agrees_with_the_tables_in_the_code(database_url: str) -> None:
    assert await migrate.upgrade(database_url) == list(STEPS)
    assert await migrate.look(database_url, findings) == []


async def test_a_second_upgrade_has_nothing_to_do(database_url: str) -> None:
    await migrate.upgrade(database_url)
    assert await migrate.upgrade(database_url) == []


async def test_the_configuration_row_that_every_node_reads_is_there_once(database_url: str) -> None:
    await migrate.upgrade(database_url)
    assert await _values(database_url, "SELECT id * 100 + version FROM config") == [101]


async def test_status_tells_what_is_pending_and_then_that_nothing_is(database_url: str) -> None:
    before = await migrate.status(database_url)
    await migrate.upgrade(database_url)
    after = await migrate.status(database_url)
    assert (before.current, before.head, before.pending) == (None, HEAD, STEPS)
    assert (after.current, after.pending, after.is_ahead) == (HEAD, (), False)


async def test_a_server_is_told_to_upgrade_an_empty_database(database_url: str) -> None:
    with pytest.raises(SchemaStale, match="run `relay db upgrade`"):
        await migrate.check(database_url)
    await migrate.upgrade(database_url)
    assert (await migrate.check(database_url)).current == HEAD


async def test_old_code_keeps_running_on_the_next_schema(database_url: str) -> None:
    await migrate.upgrade(database_url)
    await _execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    found = await migrate.check(database_url)
    assert found.is_ahead
    assert await migrate.upgrade(database_url) == []


async def test_a_step_that_fails_leaves_the_database_as_it_was(database_url: str) -> None:
    _make_empty(database_url)
    await _execute(database_url, "CREATE TABLE sealing_keys (in_the_way integer)")  # what the first step makes last
    with pytest.raises(StoreUnavailable, match="sealing_keys"):
        await migrate.upgrade(database_url)
    assert (await migrate.status(database_url)).current is None
    tables = await migrate.look(database_url, _tables)
    assert tables <= {"sealing_keys", "alembic_version"}


def _tables(connection: Connection) -> set[str]:
    catalogue = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
        "postgresql": "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
    }
    return set(connection.execute(text(catalogue[connection.dialect.name])).scalars())


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("DROP TABLE nodes", "table nodes is missing"),
        ("CREATE TABLE stray (a integer)", "table stray is not of this Relay"),
        ("ALTER TABLE jobs ADD COLUMN stray integer", "column jobs.stray is not of this Relay"),
        ("DROP INDEX ix_jobs_due", "index ix_jobs_due is missing"),
    ],
)
async def test_check_names_what_is_not_as_it_should_be(database_url: str, damage: str, finding: str) -> None:
    await migrate.upgrade(database_url)
    await _execute(database_url, damage)
    assert await migrate.look(database_url, findings) == [finding]


async def test_check_sees_an_index_that_covers_other_rows(database_url: str) -> None:
    await migrate.upgrade(database_url)
    await _execute(
        database_url,
        "DROP INDEX ix_deliveries_odd",
        "CREATE INDEX ix_deliveries_odd ON deliveries (status, id) WHERE status <> 'pending'",
    )
    assert await migrate.look(database_url, findings) == ["index ix_deliveries_odd covers other rows than it should"]


async def test_looking_cannot_write(database_url: str) -> None:
    await migrate.upgrade(database_url)
    with pytest.raises(StoreUnavailable, match=r"(?i)read.?only"):
        await migrate.look(database_url, lambda connection: connection.exec_driver_sql("DELETE FROM config"))


def test_two_processes_that_upgrade_at_once_both_succeed(database_url: str) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", UPGRADE, database_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    answers = [racer.communicate(timeout=60) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0, 0], answers
    assert sorted(out.strip() for out, _ in answers) == [str(list(STEPS)).encode(), b"[]", b"[]"]


async def test_an_upgrade_waits_for_the_lock_only_so_long(database_url: str) -> None:
    _make_empty(database_url)
    take = {"sqlite": "BEGIN IMMEDIATE", "postgresql": f"SELECT pg_advisory_lock({migrate.LOCK_KEY})"}
    engine = open_engine(database_url)
    try:
        async with engine.connect() as holder:
            if engine.dialect.name == "sqlite":
                await holder.exec_driver_sql("PRAGMA journal_mode=WAL")
            await holder.exec_driver_sql(take[engine.dialect.name])
            with pytest.raises(StoreUnavailable, match="another process"):
                await migrate.upgrade(database_url, wait_seconds=0.2)
    finally:
        await engine.dispose()
    assert await migrate.upgrade(database_url) == list(STEPS)


async def test_a_sqlite_file_is_made_for_its_owner_with_the_pages_that_cannot_be_changed_later(tmp_path: Path) -> None:
    path = tmp_path / "new" / "relay.db"
    assert (await migrate.status(f"sqlite:///{path}")).current is None
    assert not path.parent.exists()
    await migrate.upgrade(f"sqlite:///{path}")
    connection = sqlite3.connect(path)
    try:
        pragmas = [
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "auto_vacuum", "journal_mode")
        ]
    finally:
        connection.close()
    assert pragmas == [4096, 2, "wal"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match=f"cannot create the database file {tmp_path}/file/relay.db"):
        await migrate.upgrade(f"sqlite:///{tmp_path}/file/relay.db")


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "relay.db").write_text("these are not the pages you are looking for" * 100)
    with pytest.raises(StoreUnavailable, match="file is not a database"):
        await migrate.upgrade(f"sqlite:///{tmp_path / 'relay.db'}")


@pytest.mark.parametrize(
    "url", ["mysql://root:planted@db/relay", "sqlite://", "sqlite:///:memory:", "sqlite:///x?y=planted"]
)
async def test_a_url_of_another_kind_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingError, match="RELAY_DATABASE_URL") as caught:
        await migrate.status(url)
    assert "planted" not in str(caught.value)


async def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(SettingError, match=r"pip install 'relay-webhooks\[postgres\]'"):
        await migrate.upgrade("postgresql://nobody@localhost/nowhere")


async def test_a_database_that_is_away_is_unavailable_and_the_password_stays_inside() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        await migrate.status("postgresql://relay:planted-password@127.0.0.1:1/relay")
    assert "planted-password" not in str(caught.value)


async def test_postgresql_takes_both_schemes_and_the_options_of_its_own_tools(
    postgres_server: ExistingPostgres, postgres_url: str
) -> None:
    short = postgres_url.replace("postgresql://", "postgres://") + "?sslmode=disable"
    assert await migrate.upgrade(short) == list(STEPS)
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await migrate.status(postgres_server.url("no_such_database"))


@pytest.mark.parametrize("fault", ["none", "no database"])
def test_a_process_that_upgraded_ends_by_itself(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "relay.db"
    if fault == "no database":
        path.write_text("not a database" * 100)
    ended = subprocess.run([sys.executable, "-c", UPGRADE, f"sqlite:///{path}"], capture_output=True, timeout=30)
    assert (ended.returncode == 0) == (fault == "none")


def test_steps_are_one_line_and_never_go_back() -> None:
    scripts = ScriptDirectory.from_config(migrate.alembic_config())
    assert len(scripts.get_heads()) == 1
    assert not any(hasattr(step.module, "downgrade") for step in scripts.walk_revisions())


async def test_upgrading_inside_a_running_loop_leaves_no_task_behind(tmp_path: Path) -> None:
    before = len(asyncio.all_tasks())
    await migrate.upgrade(f"sqlite:///{tmp_path / 'relay.db'}")
    assert len(asyncio.all_tasks()) == before
