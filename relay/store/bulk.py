"""Inserting many rows with few statements.

A driver's `executemany` steps once per row, and on SQLite each step gives the interpreter lock away and has to win it
back from the busy event loop. One statement with many VALUES steps once. Statements are made for 1, 4, 16 and 64 rows
and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table

SIZES = (64, 16, 4, 1)


@lru_cache(maxsize=256)
def insert_statement(dialect: str, table: Table, columns: tuple[str, ...], rows: int) -> str:
    """`INSERT INTO table (columns) VALUES (…), (…)` in the dialect's own parameter style."""
    width = len(columns)
    if dialect == "sqlite":
        values = ", ".join([f"({', '.join('?' * width)})"] * rows)
    else:
        values = ", ".join(
            f"({', '.join(f'${row * width + column + 1}' for column in range(width))})" for row in range(rows)
        )
    names = ", ".join(f'"{name}"' for name in columns)
    return f'INSERT INTO "{table.name}" ({names}) VALUES {values}'


def insert_many(connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> None:
    """Insert `rows`, tuples in the order of `columns`, with as few statements as their number allows."""
    for part in _parts(rows):
        statement = insert_statement(connection.dialect.name, table, columns, len(part))
        connection.exec_driver_sql(statement, tuple(value for row in part for value in row))


def _parts(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


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
