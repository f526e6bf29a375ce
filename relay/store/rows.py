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
from relay.ids import lowest_id
from relay.model import Secret

__all__ = ["ColumnElement", "Connection", "Page", "Row", "Seal", "Unseal"]

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


def page_of_states(
    conn: Connection,
    table: Table,
    prefix: str,
    window: Window,
    where: Sequence[ColumnElement[bool]],
    states: Sequence[Sequence[ColumnElement[bool]]],
    read: Callable[[Row], T],
) -> Page[T]:
    """One keyset page of the rows that are in one of several states, each of which has an index that is in order.

    One statement for all of them would have to sort everything that is in these states.
    """
    if len(states) == 1:
        return page(conn, table, prefix, window, [*where, *states[0]], read)
    rows: list[Row] = []
    for state in states:
        conditions = [*where, *state, *_bounds(table.c.id, prefix, window)]
        query = select(table).where(and_(true(), *conditions)).order_by(table.c.id.desc()).limit(window.limit + 1)
        rows += conn.execute(query)
    rows.sort(key=lambda row: row.id, reverse=True)
    return Page([read(row) for row in rows[: window.limit]], len(rows) > window.limit)


def newest_of(found: Select[Any], prefix: str, window: Window, where: Mapping[str, Any]) -> Select[Any]:
    """The ids of the page's rows among `found`, few rows that an index without order finds; `where` are equalities.

    Materialized: a planner that saw the order and the limit would walk back from the newest row of all, on and on.
    """
    few = found.cte("few").prefix_with("MATERIALIZED")
    equal = [few.c[name] == value for name, value in where.items() if value is not None]
    query = select(few.c.id).where(and_(true(), *equal, *_bounds(few.c.id, prefix, window)))
    return query.order_by(few.c.id.desc()).limit(window.limit + 1)


def _bounds(column: ColumnElement[Any], prefix: str, window: Window) -> list[ColumnElement[bool]]:
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


def in_state(column: Column[str], state: StrEnum, usual: Sequence[StrEnum] = ()) -> list[ColumnElement[bool]]:
    """`column` is `state`, with the states in the text of the statement.

    A partial index `WHERE status <> 'usual'` serves only a statement whose text implies that condition: bound
    parameters prove nothing to either planner, and SQLite wants the very condition.
    """
    conditions: list[ColumnElement[bool]] = [column == literal(state.value, literal_execute=True)]
    if state not in usual:
        conditions += [column != literal(other.value, literal_execute=True) for other in usual]
    return conditions


def in_states(
    column: Column[str], wanted: Sequence[StrEnum], usual: Sequence[StrEnum]
) -> list[list[ColumnElement[bool]]]:
    """`in_state` for each of `wanted`; one condition that always holds when none is."""
    return [in_state(column, state, usual) for state in dict.fromkeys(wanted)] or [[]]


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
