"""`relay db backup`, `prune` and `rekey`: on a real database, with a relay beside it or without."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from relay.model import NotificationStatus, Secret
from relay.signing.vault import Vault
from relay.store import sealing, subscriptions, webhooks
from relay.store.database import Database, open_database
from relay.store.lock import FileLock
from relay.store.rows import Connection
from tests.cli.conftest import Run
from tests.support import crowd
from tests.support.clock import START
from tests.support.noun_rows import notification, put_notification
from tests.support.store import a_subscription, a_webhook

OLD, NEW = "o" * 40, "n" * 40


@pytest.fixture
def url(run: Run, database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database of either kind that the commands use."""
    monkeypatch.setenv("RELAY_DATABASE_URL", database_url)
    monkeypatch.setenv("RELAY_SECRET_KEYS", OLD)
    monkeypatch.setenv("RELAY_ADMIN_KEY", "a" * 40)
    assert run("db", "upgrade").exit_code == 0
    return database_url


async def _register(url: str) -> None:
    vault = Vault([Secret(OLD)])
    database = await open_database(url)

    def write(connection: Connection) -> None:
        webhooks.insert(connection, a_webhook(), vault.seal)
        subscriptions.insert(connection, a_subscription(headers={"x-team": "a"}), vault.seal)
        seen = notification(a_webhook().id, START, status=NotificationStatus.REJECTED)
        body = vault.seal("notifications", "body", seen.id, b"rejected")
        put_notification(connection, seen, body, body_sealed=True)
        sealing.use(connection, vault.newest_key_id, START)

    await database.write(write)
    await database.close()


async def _keys_in_use(url: str, vault: Vault) -> tuple[list[str], str, bytes]:
    database: Database = await open_database(url)
    used = await database.read(sealing.used)
    webhook = await database.read(partial(webhooks.get, id=a_webhook().id, unseal=vault.unseal))
    assert webhook is not None
    await database.read(partial(subscriptions.load_all, unseal=vault.unseal))
    stored = await database.read(_only_notification)
    await database.close()
    return used, webhook.credentials["password"].reveal(), vault.unseal("notifications", "body", *stored)


def _only_notification(connection: Connection) -> tuple[str, bytes]:
    row = connection.exec_driver_sql("SELECT id, body FROM notifications").one()
    return row.id, bytes(row.body)


def test_rekey_leaves_nothing_that_the_old_key_is_needed_for(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(_register(url))
    monkeypatch.setenv("RELAY_SECRET_KEYS", f"{NEW},{OLD}")
    assert run("db", "rekey").stdout == "4\n"
    vault = Vault([Secret(NEW)])
    assert asyncio.run(_keys_in_use(url, vault)) == ([vault.newest_key_id], "p", b"rejected")
    again = run("db", "rekey")
    assert (again.exit_code, again.stdout) == (0, "0\n")
    monkeypatch.setenv("RELAY_SECRET_KEYS", OLD)
    lost = run("db", "rekey")
    assert (lost.exit_code, lost.stdout) == (2, "")
    assert "RELAY_SECRET_KEYS lacks a key" in lost.stderr


def test_prune_deletes_what_the_retention_lets_go(run: Run, url: str) -> None:
    asyncio.run(_register(url))
    asyncio.run(crowd.store_results(url, 250, START, a_webhook().id))
    assert run("db", "prune", "--older-than", "36000").stdout == "0\n"
    pruned = run("db", "prune", "--older-than", "0.001")
    assert (pruned.exit_code, pruned.stdout) == (0, "501\n"), "results, jobs and the notification"
    assert pruned.stderr == "deleted, of results, jobs and notifications together: 501\n"


def test_a_backup_is_a_whole_database_that_only_its_owner_reads(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_DATABASE_URL", f"sqlite:///{tmp_path}/relay.db")
    run("db", "upgrade")
    asyncio.run(crowd.store_results(f"sqlite:///{tmp_path}/relay.db", 100, START))
    lock = FileLock.acquire(f"{tmp_path}/relay.db.lock")  # a relay runs
    try:
        made = run("db", "backup", str(tmp_path / "copy.db"))
    finally:
        lock.release()
    assert made.exit_code == 0 and made.stdout.startswith(f"{tmp_path}/copy.db\t")
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM results").fetchone() == (100,)
        assert copy.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    monkeypatch.setenv("RELAY_DATABASE_URL", f"sqlite:///{tmp_path}/copy.db")
    assert run("db", "check").exit_code == 0
    refused = run("db", "backup", str(tmp_path / "copy.db"))
    assert refused.exit_code == 1 and "there already: give another name" in refused.stderr
    assert not list(tmp_path.glob("*.part"))


def test_a_backup_of_postgresql_is_left_to_its_own_tool(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_DATABASE_URL", "postgresql://relay@127.0.0.1:1/relay")
    refused = run("db", "backup", "copy")
    assert refused.exit_code == 2 and "pg_dump" in refused.stderr


def test_a_backup_that_cannot_be_made_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_DATABASE_URL", f"sqlite:///{tmp_path}/relay.db")
    nothing = run("db", "backup", "copy.db")
    assert (nothing.exit_code, nothing.stderr) == (1, f"Error: there is no database at {tmp_path}/relay.db\n")
    sqlite3.connect(tmp_path / "relay.db").close()
    (tmp_path / "file").write_text("")
    for target in ("file/copy.db", "c" * 300, "none/copy.db"):
        refused = run("db", "backup", target)
        assert refused.exit_code == 1
        assert refused.stderr.startswith("Error: the backup was not made: ") and refused.stderr.count("\n") == 1
    assert refused.stderr.endswith("there is no directory " + str(Path("none").absolute()) + "\n")


def test_beside_a_running_relay_it_is_said_to_stop_it_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_DATABASE_URL", f"sqlite:///{tmp_path}/relay.db")
    run("db", "upgrade")
    lock = FileLock.acquire(f"{tmp_path}/relay.db.lock")  # a relay runs
    try:
        for command in ("prune", "rekey"):
            refused = run("db", command)
            assert refused.exit_code == 1 and "stop that one first" in refused.stderr
    finally:
        lock.release()
