"""Claim, extend, settle: leases over any table that has the queue columns.

A claim is one statement, and every later write is fenced: it is done only for rows whose `claims` is still what the
claim made it. A worker that lost its lease can change nothing.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection, Row, Table, and_, or_, select, update

from relay.clock import Instant
from relay.frozen import frozen
from relay.store.bulk import chunks, lookup
from relay.store.writer import Operation

Held = tuple[str, int]  # a row's id and the `claims` that our claim gave it


@frozen()
class Due:
    """A row that needs a worker: which lane it waits in, and its place there (lowest first)."""

    id: str
    lane: str
    order: int


@frozen()
class QueueTable:
    """How a table waits: `lane` is the column that shares capacity, `order` the one that says who goes first; rows
    whose ids are `late` stand behind all others of their lane."""

    table: Table
    lane: str
    order: str
    late: Callable[[str], bool] | None = None


LATE: Final = 1 << 53  # added to the order of what stands behind: no instant is so large


def due(connection: Connection, queue: QueueTable, now: Instant, limit: int) -> list[Due]:
    """The rows that have been due longest, whatever their lane; leased ones among them. An index alone answers."""
    columns = queue.table.c
    wanted = dict.fromkeys((columns.id, columns[queue.lane], columns[queue.order], columns.due_at))
    query = select(*wanted).where(columns.due_at <= now).order_by(columns.due_at).limit(limit)
    return [_due(row, queue) for row in connection.execute(query)]


def due_in_lane(
    connection: Connection, queue: QueueTable, lane: str, now: Instant, limit: int, *, later_than: Instant | None = None
) -> list[Due]:
    """The first rows of one lane in its own order (after `later_than`). For backlogs that `due` cannot hold."""
    query = _lane_query(connection.dialect.name, queue, later_than is not None)
    given = (lane, now, limit) if later_than is None else (lane, now, limit, later_than)
    return [Due(row[0], row[1], _order(queue, row[0], row[2])) for row in connection.exec_driver_sql(query, given)]


@lru_cache
def _lane_query(dialect: str, queue: QueueTable, later: bool) -> str:
    """As text: with a hundred lanes it is run a hundred times, and spelling it out anew is most of what that costs."""
    mark = "?{}" if dialect == "sqlite" else "${}"
    more = f'AND "{queue.order}" > {mark.format(4)} ' if later else ""
    return (
        f'SELECT id, "{queue.lane}", "{queue.order}" FROM "{queue.table.name}" '
        f'WHERE "{queue.lane}" = {mark.format(1)} AND due_at <= {mark.format(2)} {more}'
        f'ORDER BY "{queue.order}", id LIMIT {mark.format(3)}'
    )


def _due(row: Row[Any], queue: QueueTable) -> Due:
    return Due(row.id, getattr(row, queue.lane), _order(queue, row.id, getattr(row, queue.order)))


def _order(queue: QueueTable, row_id: str, order: int) -> int:
    return order + LATE if queue.late is not None and queue.late(row_id) else order


def next_due_at(connection: Connection, queue: QueueTable, now: Instant) -> Instant | None:
    """When the next row becomes due after `now`."""
    column = queue.table.c.due_at
    query = select(column).where(column > now).order_by(column).limit(1)
    found = connection.execute(query).scalar()
    return None if found is None else Instant(found)


def claim(
    connection: Connection, table: Table, ids: Sequence[str], now: Instant, lease_until: Instant
) -> list[Row[Any]]:
    """Take those of `ids` that are due and free; their rows as they are now. What others hold is not waited for."""
    columns = table.c
    free = (
        select(columns.id)
        .where(
            columns.id.in_(ids), columns.due_at <= now, or_(columns.lease_until.is_(None), columns.lease_until <= now)
        )
        .order_by(columns.id)
        .with_for_update(skip_locked=True)
        .cte("free")
    )
    statement = (
        update(table)
        .where(columns.id.in_(select(free.c.id)))
        .values(lease_until=lease_until, claims=columns.claims + 1)
        .returning(*columns)
    )
    return list(connection.execute(statement).all())


@frozen()
class Claim:
    """What one scheduler wants to work on."""

    table: Table
    ids: Sequence[str]
    now: Instant
    lease_until: Instant


def _claim_each(connection: Connection, items: list[Claim]) -> list[list[Row[Any]]]:
    return [claim(connection, item.table, item.ids, item.now, item.lease_until) for item in items]


CLAIM: Final[Operation[Claim, list[Row[Any]]]] = Operation("claim", _claim_each)


def held(connection: Connection, table: Table, claims: Iterable[Held]) -> dict[str, Any]:
    """The fence: those of our claims that still stand, locked until the transaction ends, with their rows.

    Of several claims to one row at most one stands: compare `claims` of the row where there may be several.
    """
    wanted = set(claims)
    columns, shape = _held_columns(table)
    ids = sorted({row_id for row_id, _ in wanted})
    rows = (shape(*row) for row in lookup(connection, table, columns, "id", ids, lock=True))
    return {row.id: row for row in rows if (row.id, row.claims) in wanted}


@lru_cache
def _held_columns(table: Table) -> tuple[tuple[str, ...], Callable[..., Any]]:
    """What a settlement needs to know of a row that is still ours."""
    names = ("id", "claims", "status", "attempts", "due_at", "notified_at", "budget_from", "replay_id", "http_status")
    columns = tuple(name for name in names if name in table.c)
    return columns, namedtuple("HeldRow", columns)


def extend(connection: Connection, table: Table, claims: Collection[Held], lease_until: Instant) -> set[str]:
    """Keep what is still ours a while longer; the ids that are."""
    mine = held(connection, table, claims)
    for part in chunks(sorted(mine), 500):
        connection.execute(update(table).where(table.c.id.in_(part)).values(lease_until=lease_until))
    return set(mine)


def give_back(connection: Connection, table: Table, claims: Collection[Held]) -> int:
    """Let go of claims whose work was not done, so that somebody else need not wait for the lease to end."""
    mine = held(connection, table, claims)
    for part in chunks(sorted(mine), 500):
        free = {"lease_until": None, "claims": table.c.claims + 1}
        connection.execute(update(table).where(table.c.id.in_(part)).values(free))
    return len(mine)


def void_leases(connection: Connection, table: Table) -> int:
    """End every lease: on SQLite nobody else can hold one when this process starts."""
    stale = and_(table.c.due_at.is_not(None), table.c.lease_until.is_not(None))
    return connection.execute(update(table).where(stale).values(lease_until=None, claims=table.c.claims + 1)).rowcount
