"""A few counts for people. What waits is counted by indexes and to a limit, what happened is read from the rollups."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Table, func, literal, select

from relay.clock import Instant, seconds_between
from relay.frozen import frozen
from relay.model import DeliveryStatus, JobStatus, NotificationStatus
from relay.store import rollups
from relay.store.deliveries import USUAL
from relay.store.rows import Connection, in_state
from relay.store.schema import deliveries, jobs

COUNTED_TO: Final = 10_000
HOURS: Final = 24
FINAL: Final = {f"result.{status}": status.value for status in JobStatus if status.is_final}
TAKEN: Final = {f"notification.{status}": status.value for status in NotificationStatus}


@frozen(kw_only=True)
class Stats:
    """What waits now, each count ending at COUNTED_TO; and what came by status in this hour and the 23 before it."""

    jobs_open: int
    jobs_overdue: int
    oldest_due_job_seconds: float
    deliveries_pending: int
    deliveries_exhausted: int
    oldest_due_delivery_seconds: float
    notifications: dict[str, int]
    results: dict[str, int]


def read(conn: Connection, now: Instant) -> Stats:
    """Count."""
    first = Instant(now - (HOURS - 1) * rollups.HOUR * rollups.MINUTE_MS)
    hours = rollups.over_all(conn, first, rollups.HOUR, [*TAKEN, *FINAL])
    return Stats(
        jobs_open=_count(conn, jobs, [jobs.c.due_at.is_not(None)]),
        jobs_overdue=_count(conn, jobs, [jobs.c.due_at.is_not(None), jobs.c.deadline < now]),
        oldest_due_job_seconds=_waited(conn, jobs.c.due_at, now),
        deliveries_pending=_count(conn, deliveries, in_state(deliveries.c.status, DeliveryStatus.PENDING, USUAL)),
        deliveries_exhausted=_count(conn, deliveries, in_state(deliveries.c.status, DeliveryStatus.EXHAUSTED, USUAL)),
        oldest_due_delivery_seconds=_waited(conn, deliveries.c.due_at, now),
        notifications=_by_status(hours, TAKEN),
        results=_by_status(hours, FINAL),
    )


def _count(conn: Connection, table: Table, where: list[ColumnElement[bool]]) -> int:
    some = select(literal(1)).select_from(table).where(*where).limit(COUNTED_TO).subquery()
    return conn.execute(select(func.count()).select_from(some)).scalar() or 0


def _waited(conn: Connection, due_at: Column[Any], now: Instant) -> float:
    oldest = conn.execute(select(func.min(due_at)).where(due_at.is_not(None))).scalar()
    return 0.0 if oldest is None else max(0.0, seconds_between(Instant(oldest), now))


def _by_status(hours: list[rollups.Sum], names: dict[str, str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for item in hours:
        if (status := names.get(item.counter)) is not None:
            found[status] = found.get(status, 0) + item.amount
    return found
