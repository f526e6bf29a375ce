"""A table of the tests' own: the writer does not care what is written."""

from __future__ import annotations

from sqlalchemy import Connection, text

NUMBERS = "numbers"


def make_numbers(connection: Connection) -> None:
    """A table with a unique column."""
    connection.execute(text(f"CREATE TABLE IF NOT EXISTS {NUMBERS} (n BIGINT PRIMARY KEY)"))


def put_number(connection: Connection, number: int) -> int:
    """Insert one; a second time it is an IntegrityError."""
    connection.execute(text(f"INSERT INTO {NUMBERS} (n) VALUES (:n)"), {"n": number})
    return number


def numbers(connection: Connection) -> list[int]:
    """All of them."""
    return list(connection.execute(text(f"SELECT n FROM {NUMBERS} ORDER BY n")).scalars())


def put_numbers(connection: Connection, items: list[int]) -> list[int]:
    """The same for an Operation."""
    for number in items:
        put_number(connection, number)
    return [number * 10 for number in items]
