"""What the query files share: JSON columns, sealed columns, keyset pages and the type of a connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Generic, TypeVar

import orjson
from sqlalchemy import Column, ColumnElement, Connection, Select, Table, and_, literal, select, true
from sqlalchemy import Row as SqlRow

from relay.clock import Instant
from relay.frozen import frozen
from relay.model import Secret, lowest_id

__all__ = ["Connection", "Page", "Row", "Seal", "Unseal"]

Row = SqlRow[Any]
Seal = Callable[[str, str, str, bytes], bytes]
"""`(table, column, row id, plaintext) -> sealed bytes`, and `Unseal` the way back."""
Unseal = Seal

T = TypeVar("T")


@frozen()
class Page(Generic[T]):
    """Newest first; `more` says that older ones follow."""

    items: list[T]
    more: bool


@frozen(kw_only=True)
class Window:
    """Which part of a list is asked for: made at or after `created_after`, before `created_before`, and older than
    the row `before_id`."""

    limit: int = 50
    before_id: str | None = None
    created_after: Instant | None = None
    created_before: Instant | None = None


def page(
    conn: Connection,
    table: Table,
    prefix: str,
    window: Window,
    where: Sequence[ColumnElement[bool]],
    read: Callable[[Row], T],
) -> Page[T]:
    """One keyset page of `table`. One row more than asked for is read: it tells whether another page follows."""
    conditions = [*where, *_bounds(table.c.id, prefix, window)]
    query = select(table).where(and_(true(), *conditions)).order_by(table.c.id.desc()).limit(window.limit + 1)
    rows = conn.execute(query).all()
    return Page([read(row) for row in rows[: window.limit]], len(rows) > window.limit)


def _bounds(column: Column[Any], prefix: str, window: Window) -> list[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    if window.before_id is not None:
        bounds.append(column < window.before_id)
    if window.created_after is not None:
        bounds.append(column >= lowest_id(prefix, window.created_after))
    if window.created_before is not None:
        bounds.append(column < lowest_id(prefix, window.created_before))
    return bounds


def one(conn: Connection, query: Select[Any], read: Callable[[Row], T]) -> T | None:
    """The first row of `query`, or None."""
    row = conn.execute(query).first()
    return None if row is None else read(row)


def has_status(column: Column[str], wanted: Sequence[StrEnum], usual: StrEnum) -> list[ColumnElement[bool]]:
    """`column` is one of `wanted` (any, when empty), with the states in the text of the statement.

    A partial index `WHERE status <> 'usual'` serves only a statement whose text implies that condition: bound
    parameters prove nothing to either planner, and SQLite wants the very condition.
    """
    if not wanted:
        return []
    if len(wanted) == 1:
        conditions: list[ColumnElement[bool]] = [column == literal(wanted[0].value, literal_execute=True)]
    else:
        conditions = [column.in_([literal(status.value, literal_execute=True) for status in wanted])]
    if usual not in wanted:
        conditions.append(column != literal(usual.value, literal_execute=True))
    return conditions


def dump(value: Any) -> str:
    """A JSON column."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer of more than 64 bits, a lone surrogate: what orjson does not know
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def dump_or_null(value: Any) -> str | None:
    """A JSON column where None is NULL."""
    return None if value is None else dump(value)


def load(text: str | None) -> Any:
    """What a JSON column holds; None for NULL."""
    return None if text is None else json.loads(text)


def load_tuple(text: str | None) -> tuple[Any, ...] | None:
    """A JSON column that holds a list or nothing."""
    return None if text is None else tuple(json.loads(text))


def seal_secrets(secrets: Mapping[str, Secret], seal: Seal, table: str, column: str, row_id: str) -> bytes | None:
    """A sealed column of named secrets; NULL when there are none."""
    if not secrets:
        return None
    revealed = {name: secret.reveal() for name, secret in secrets.items()}
    return seal(table, column, row_id, dump(revealed).encode())


def unseal_json(sealed: bytes | None, unseal: Unseal, table: str, column: str, row_id: str) -> Any:
    """What a sealed JSON column holds; None for NULL.

    Raises SignatureError or KeyMissing, from `unseal`, when it cannot be opened.
    """
    return None if sealed is None else json.loads(unseal(table, column, row_id, sealed))


def unseal_secrets(sealed: bytes | None, unseal: Unseal, table: str, column: str, row_id: str) -> dict[str, Secret]:
    """The named secrets of a sealed column. Raises SignatureError or KeyMissing, from `unseal`."""
    opened = unseal_json(sealed, unseal, table, column, row_id) or {}
    return {name: Secret(value) for name, value in opened.items()}
