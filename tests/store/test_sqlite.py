"""SQLite: which thread runs what, and what becomes of a COMMIT that fails."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import sys
import threading
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from relay.errors import StoreUnavailable
from relay.store import sqlite
from relay.store.bulk import SQLITE_FEW, SQLITE_MOST, insert_many
from relay.store.database import Database
from relay.store.schema import spills
from relay.store.sqlite import SLOW_SECONDS
from relay.store.writer import EAGER_ITEMS, MANY_INSERTS, Operation
from tests.support.store import rows_of


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


async def test_after_a_slow_transaction_the_next_ones_keep_off_the_loops_thread(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "monotonic", itertools.count(0.0, SLOW_SECONDS * 1.1).__next__)
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


# --- inserts that come last ---


def _put_spills(connection: Connection, items: list[str]) -> list[int]:
    insert_many(connection, spills, ("payload_id", "created_at"), [(item, 1) for item in items])
    return [int(connection.exec_driver_sql("SELECT count(*) FROM spills").scalar_one()) for _ in items]


PUT_SPILL = Operation("spill", _put_spills, inserts_last=True)


async def _put(database: Database, *names: str) -> list[int | BaseException]:
    return await asyncio.gather(*(database.submit(PUT_SPILL, name) for name in names), return_exceptions=True)


async def _spills(database: Database) -> set[str]:
    return {row["payload_id"] for row in await rows_of(database, spills)}


async def test_many_inserts_that_nothing_looks_at_go_along_with_the_commit(sqlite_database: Database) -> None:
    names = [f"p{number:02}" for number in range(EAGER_ITEMS + MANY_INSERTS)]
    found = await _put(sqlite_database, *names)
    assert found[:EAGER_ITEMS] == [EAGER_ITEMS] * EAGER_ITEMS, "a few are written where they are decided"
    assert found[EAGER_ITEMS:] == [EAGER_ITEMS] * MANY_INSERTS, "many were not there yet when the function ran"
    assert await _spills(sqlite_database) == set(names), "and are, now that it is said to be written"


async def test_many_rows_are_one_statement_up_to_a_limit_and_none_is_left_out(sqlite_database: Database) -> None:
    """Each statement more is a fight for the interpreter lock more."""

    def insert(connection: Connection) -> list[int]:
        statements = list[int]()
        for count in (1, SQLITE_FEW, SQLITE_MOST, SQLITE_MOST + 1, 3 * SQLITE_MOST - 1):
            before = len(statements)
            file = cast(sqlite3.Connection, connection.connection.dbapi_connection)
            file.set_trace_callback(lambda text: statements.append(1) if text.startswith("INSERT") else None)
            rows = [(f"p{count}-{number}", 1) for number in range(count)]
            insert_many(connection, spills, ("payload_id", "created_at"), rows)
            file.set_trace_callback(None)
            statements[before:] = [len(statements) - before]
        return statements

    assert await sqlite_database.write(insert) == [1, 1, 1, 2, 3]
    assert len(await _spills(sqlite_database)) == 1 + SQLITE_FEW + SQLITE_MOST + SQLITE_MOST + 1 + 3 * SQLITE_MOST - 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends timed waits late on purpose")
async def test_the_writers_thread_is_woken_on_time(sqlite_database: Database) -> None:
    def slack(_: Connection) -> str:
        return Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text().strip()

    assert await sqlite_database.write(slack) == "1000"


async def test_one_of_them_that_cannot_be_inserted_sinks_no_neighbour(sqlite_database: Database) -> None:
    names = [f"p{number:02}" for number in range(EAGER_ITEMS + MANY_INSERTS + 4)]
    known = names[EAGER_ITEMS + 3]
    await _put(sqlite_database, known)
    outcomes = await _put(sqlite_database, *names)
    assert [isinstance(outcome, IntegrityError) for outcome in outcomes] == [name == known for name in names]
    assert await _spills(sqlite_database) == set(names)


async def test_a_transaction_that_is_undone_under_them_is_not_taken_for_a_written_one(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def undone(connection: Connection) -> None:
        connection.connection.dbapi_connection.rollback()  # type: ignore[union-attr] # as SQLite does on a full disk

    monkeypatch.setattr(sqlite, "insert_what_waits", undone)
    outcomes = await _put(sqlite_database, *[f"p{number:02}" for number in range(EAGER_ITEMS + MANY_INSERTS)])
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    monkeypatch.undo()
    assert await _put(sqlite_database, "after") == [1]
    assert await _spills(sqlite_database) == {"after"}
