"""SQLite: which thread runs what, and what becomes of a COMMIT that fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from functools import partial

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from relay.store import sqlite
from relay.store.database import Database
from relay.store.writer import Operation


def _value(connection: Connection, query: str) -> object:
    return connection.exec_driver_sql(query).scalar()


async def _note_threads(database: Database, count: int = 1, weight: int = 0) -> set[str]:
    """On which threads the statements of a batch of operations were run."""

    def apply(connection: Connection, items: list[int]) -> list[str]:
        connection.exec_driver_sql("SELECT 1")
        return [threading.current_thread().name for _ in items]

    operation: Operation[int, str] = Operation("note", apply, lambda _: weight)
    return set(await asyncio.gather(*(database.submit(operation, number) for number in range(count))))


def _thread(_: Connection) -> str:
    return threading.current_thread().name


async def test_a_few_quick_statements_run_on_the_loops_own_thread(sqlite_database: Database) -> None:
    assert await _note_threads(sqlite_database) == {threading.current_thread().name}


async def test_what_may_take_long_keeps_off_the_loops_thread(sqlite_database: Database) -> None:
    assert "relay-writer" in await sqlite_database.write(_thread)
    assert "relay-writer" in (await _note_threads(sqlite_database, count=4, weight=200_000)).pop()
    assert "relay-writer" in (await _note_threads(sqlite_database, count=200)).pop()


async def test_after_a_slow_transaction_the_next_ones_keep_off_the_loops_thread(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "SLOW_SECONDS", -1.0)
    monkeypatch.setattr(sqlite, "SLOW_REST", 2)
    here = threading.current_thread().name
    seen = [(await _note_threads(sqlite_database)).pop() for _ in range(4)]
    assert [name == here for name in seen] == [True, False, False, True]


async def test_a_stranger_who_holds_the_write_lock_does_not_hold_the_event_loop(
    sqlite_database: Database, sqlite_url: str
) -> None:
    stranger = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(_note_threads(sqlite_database))
    await asyncio.wait_for(asyncio.to_thread(int), 5)  # the loop turns
    assert not writing.done()
    stranger.execute("COMMIT")
    stranger.close()
    assert "relay-writer" in (await asyncio.wait_for(writing, 10)).pop()
    assert await _note_threads(sqlite_database) == {threading.current_thread().name}


async def test_a_commit_that_fails_is_undone_and_the_next_transaction_begins_anew(sqlite_database: Database) -> None:
    """A deferred constraint is judged by COMMIT itself."""

    def apply(connection: Connection, items: list[int]) -> list[None]:
        for number in items:
            connection.exec_driver_sql("INSERT INTO children VALUES (?, ?)", (number, number))
        return [None for _ in items]

    def prepare(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE parents (id INTEGER PRIMARY KEY)")
        reference = "REFERENCES parents DEFERRABLE INITIALLY DEFERRED"
        connection.exec_driver_sql(f"CREATE TABLE children (id INTEGER PRIMARY KEY, parent INTEGER {reference})")
        connection.exec_driver_sql("INSERT INTO parents VALUES (2)")

    await sqlite_database.write(prepare)
    await sqlite_database._backend.transact(_enforce_foreign_keys_outside_of_transactions)
    operation: Operation[int, None] = Operation("child", apply)
    outcomes = await asyncio.gather(
        *(sqlite_database.submit(operation, number) for number in (1, 2)), return_exceptions=True
    )
    assert isinstance(outcomes[0], IntegrityError)
    assert outcomes[1] is None
    assert await sqlite_database.read(partial(_value, query="SELECT group_concat(id) FROM children")) == "2"


def _enforce_foreign_keys_outside_of_transactions(connection: Connection) -> None:
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
