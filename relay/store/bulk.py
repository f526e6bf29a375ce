"""Inserting many rows with few statements.

A driver's `executemany` steps once per row, and each step is a round trip on PostgreSQL; on SQLite it gives the
interpreter lock away, to be won back from the busy event loop where the writer has a thread of its own. One statement
with many VALUES steps once. Statements are kept: here as text, in the driver as prepared statements. On PostgreSQL they
are made for a few numbers of rows, on SQLite for each number up to `SQLITE_MOST`; a few rows go one by one there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, Dialect, Insert, Table, Update, exc

SIZES: Final = (128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1)
SQLITE_MOST: Final = 64
SQLITE_FEW: Final = 8
SQLITE_STATEMENTS: Final = 384  # what a connection keeps prepared: those of the three tables that are written most
LOOKUP_MOST: Final = 256
_PUT_OFF: Final = "relay.inserts"  # in a connection's `info`


def raw(connection: Connection, statement: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Run a statement of the driver's own on a connection, and fetch what it gives.

    SQLAlchemy's way costs fifty microseconds more, which in a small batch is most of the batch.
    Raises the same sqlalchemy.exc errors.
    """
    with dbapi_errors(connection, statement):
        cursor = connection.connection.cursor()
        try:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall()) if cursor.description else []
        finally:
            cursor.close()


@contextmanager
def dbapi_errors(connection: Connection, statement: str) -> Iterator[None]:
    """Raise a driver's errors as SQLAlchemy would."""
    base = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except base as error:
        raise exc.DBAPIError.instance(
            statement, None, error, base, hide_parameters=True, dialect=connection.dialect
        ) from error


@lru_cache(maxsize=1024)
def insert_statement(
    dialect: str, table: Table, columns: tuple[str, ...], rows: int, ignore_conflicts: bool = False
) -> str:
    """`INSERT INTO table (columns) VALUES (…), (…)` in the dialect's own parameter style."""
    width = len(columns)
    if dialect == "sqlite":
        values = ", ".join([f"({', '.join('?' * width)})"] * rows)
    else:
        values = ", ".join(
            f"({', '.join(f'${row * width + column + 1}' for column in range(width))})" for row in range(rows)
        )
    names = ", ".join(f'"{name}"' for name in columns)
    ending = " ON CONFLICT DO NOTHING" if ignore_conflicts else ""
    return f'INSERT INTO "{table.name}" ({names}) VALUES {values}{ending}'


def insert_many(
    connection: Connection,
    table: Table,
    columns: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    *,
    ignore_conflicts: bool = False,
) -> None:
    """Insert `rows`, tuples in the order of `columns`, with as few statements as their number allows.

    `ignore_conflicts`: a row whose key is there already is left out. While inserts are put off (`put_off_inserts`) this
    only remembers them.
    """
    waiting = connection.info.get(_PUT_OFF)
    if waiting is not None:
        waiting.append((table, columns, rows, ignore_conflicts))
        return
    dialect, start = connection.dialect.name, 0
    if dialect == "sqlite" and len(rows) < SQLITE_FEW:
        if rows:
            _insert_each(connection, insert_statement(dialect, table, columns, 1, ignore_conflicts), rows)
        return
    for size in _even(len(rows)) if dialect == "sqlite" else _from_kept_sizes(len(rows)):
        statement = insert_statement(dialect, table, columns, size, ignore_conflicts)
        raw(connection, statement, tuple(chain.from_iterable(rows[start : start + size])))
        start += size


def _even(count: int) -> Iterator[int]:
    """`count` in parts of at most SQLITE_MOST that differ by one at most."""
    parts = -(-count // SQLITE_MOST)
    for part in range(parts):
        yield (count + part) // parts


def _from_kept_sizes(count: int) -> Iterator[int]:
    """`count` in parts of SIZES."""
    for size in SIZES:
        while count >= size:
            yield size
            count -= size


def put_off_inserts(connection: Connection) -> None:
    """From now on `insert_many` remembers what it is given, until `insert_what_waits`."""
    connection.info[_PUT_OFF] = []


def insert_what_waits(connection: Connection) -> None:
    """Insert what was put off, in its order; with nothing put off this does nothing."""
    for table, columns, rows, ignore_conflicts in connection.info.pop(_PUT_OFF, None) or ():
        insert_many(connection, table, columns, rows, ignore_conflicts=ignore_conflicts)


def forget_what_waits(connection: Connection) -> None:
    """Insert no more of it."""
    connection.info.pop(_PUT_OFF, None)


def _insert_each(connection: Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    with dbapi_errors(connection, statement):
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(statement, rows)
        finally:
            cursor.close()


def insert_ignoring(connection: Connection, table: Table) -> Insert:
    """An INSERT that does nothing about rows whose key is there already."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).on_conflict_do_nothing()
    from sqlalchemy.dialects import postgresql  # with its driver, 40 ms

    return postgresql.insert(table).on_conflict_do_nothing()


class Prepared:
    """A statement with named parameters, compiled once for each kind of database."""

    def __init__(self, statement: Update) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute it once for each of `rows`. Raises sqlalchemy.exc errors."""
        text, names, fixed = self._for(connection.dialect)
        with dbapi_errors(connection, text):
            cursor = connection.connection.cursor()
            try:
                cursor.executemany(
                    text, [tuple(row[name] if name in row else fixed[name] for name in names) for row in rows]
                )
            finally:
                cursor.close()

    def _for(self, dialect: Dialect) -> tuple[str, tuple[str, ...], Mapping[str, Any]]:
        made = self._compiled.get(dialect.name)
        if made is None:
            compiled = self._statement.compile(dialect=dialect)
            names = tuple(compiled.positiontup or ())
            made = self._compiled[dialect.name] = (str(compiled), names, dict(compiled.params))
        return made


def lookup(
    connection: Connection,
    table: Table,
    columns: tuple[str, ...],
    key: str,
    values: Iterable[Any],
    where: Mapping[str, Any] | None = None,
    *,
    lock: bool = False,
) -> list[tuple[Any, ...]]:
    """The rows of `table` whose `key` is one of `values` and that equal `where` besides: plain tuples of `columns`.

    `lock` keeps others from changing them until the transaction ends (on SQLite nobody else writes anyway).
    SQLAlchemy spells an IN out anew each time it is executed; here the text is kept, padded to a power of two.
    """
    equal = where or {}
    found: list[tuple[Any, ...]] = []
    for part in chunks(values, LOOKUP_MOST):
        room = 1 << (len(part) - 1).bit_length()
        statement = lookup_statement(connection.dialect.name, table, columns, key, tuple(equal), room, lock)
        padded = (*equal.values(), *part, *part[-1:] * (room - len(part)))
        found += raw(connection, statement, padded)
    return found


@lru_cache(maxsize=256)
def lookup_statement(
    dialect: str, table: Table, columns: tuple[str, ...], key: str, equal: tuple[str, ...], count: int, lock: bool
) -> str:
    """`SELECT columns FROM table WHERE equal… AND key IN (…)` in the dialect's own parameter style."""
    marks = ["?" if dialect == "sqlite" else f"${number + 1}" for number in range(len(equal) + count)]
    conditions = [f'"{name}" = {mark}' for name, mark in zip(equal, marks, strict=False)]
    conditions.append(f'"{key}" IN ({", ".join(marks[len(equal) :])})')
    names = ", ".join(f'"{name}"' for name in columns)
    ending = f' ORDER BY "{key}" FOR UPDATE' if lock and dialect != "sqlite" else ""  # one order: no deadlocks
    return f'SELECT {names} FROM "{table.name}" WHERE {" AND ".join(conditions)}{ending}'


def chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """`values` in lists of at most `size`: the parameters of one statement are limited."""
    part: list[Any] = []
    for value in values:
        part.append(value)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
