"""A few counts for people, each served by an index or bounded by a day of ids."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Table, func, literal, select

from relay.clock import Instant, after, seconds_between
from relay.frozen import frozen
from relay.model import NOTIFICATION, RESULT, DeliveryStatus, lowest_id
from relay.store.rows import Connection
from relay.store.schema import deliveries, jobs, notifications, results


@frozen(kw_only=True)
class Stats:
    """What waits now, and what came in the last day by status."""

    jobs_open: int
    jobs_overdue: int
    oldest_due_job_seconds: float
    deliveries_pending: int
    deliveries_exhausted: int
    oldest_due_delivery_seconds: float
    notifications: dict[str, int]
    results: dict[str, int]


def read(conn: Connection, now: Instant, day_seconds: float) -> Stats:
    """Count. `day_seconds` is how far back the counts by status go."""
    since = after(now, -day_seconds)
    exhausted = [deliveries.c.status == literal(DeliveryStatus.EXHAUSTED.value, literal_execute=True)]
    usual = literal(DeliveryStatus.DELIVERED.value, literal_execute=True)
    return Stats(
        jobs_open=_count(conn, jobs, [jobs.c.due_at.is_not(None)]),
        jobs_overdue=_count(conn, jobs, [jobs.c.due_at.is_not(None), jobs.c.deadline < now]),
        oldest_due_job_seconds=_waited(conn, jobs.c.due_at, now),
        deliveries_pending=_count(conn, deliveries, [deliveries.c.due_at.is_not(None)])
        + _count(conn, deliveries, [deliveries.c.pull_at.is_not(None)]),
        deliveries_exhausted=_count(conn, deliveries, [*exhausted, deliveries.c.status != usual]),
        oldest_due_delivery_seconds=_waited(conn, deliveries.c.due_at, now),
        notifications=_by_status(conn, notifications, lowest_id(NOTIFICATION, since)),
        results=_by_status(conn, results, lowest_id(RESULT, since)),
    )


def _count(conn: Connection, table: Table, where: list[ColumnElement[bool]]) -> int:
    return conn.execute(select(func.count()).select_from(table).where(*where)).scalar() or 0


def _waited(conn: Connection, due_at: Column[Any], now: Instant) -> float:
    oldest = conn.execute(select(func.min(due_at)).where(due_at.is_not(None))).scalar()
    return 0.0 if oldest is None else max(0.0, seconds_between(Instant(oldest), now))


def _by_status(conn: Connection, table: Table, since_id: str) -> dict[str, int]:
    query = select(table.c.status, func.count()).where(table.c.id >= since_id).group_by(table.c.status)
    return {row[0]: row[1] for row in conn.execute(query)}
