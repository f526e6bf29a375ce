"""A few counts for people, each served by an index or bounded by a day of ids."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Table, func, select

from relay.clock import Instant, after, seconds_between
from relay.frozen import frozen
from relay.ids import lowest_id
from relay.model import NOTIFICATION, RESULT, DeliveryStatus, JobStatus, NotificationStatus
from relay.store.deliveries import USUAL
from relay.store.rows import Connection, in_state
from relay.store.schema import deliveries, jobs, notifications, results

FINAL: Final = [status for status in JobStatus if status.is_final]
TAKEN: Final = [status for status in NotificationStatus if status is not NotificationStatus.DUPLICATE]


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
    exhausted = in_state(deliveries.c.status, DeliveryStatus.EXHAUSTED, USUAL)
    return Stats(
        jobs_open=_count(conn, jobs, [jobs.c.due_at.is_not(None)]),
        jobs_overdue=_count(conn, jobs, [jobs.c.due_at.is_not(None), jobs.c.deadline < now]),
        oldest_due_job_seconds=_waited(conn, jobs.c.due_at, now),
        deliveries_pending=_count(conn, deliveries, [deliveries.c.due_at.is_not(None)])
        + _count(conn, deliveries, [deliveries.c.pull_at.is_not(None)]),
        deliveries_exhausted=_count(conn, deliveries, exhausted),
        oldest_due_delivery_seconds=_waited(conn, deliveries.c.due_at, now),
        notifications=_by_status(
            conn, notifications, TAKEN, NotificationStatus.ACCEPTED, lowest_id(NOTIFICATION, since)
        ),
        results=_by_status(conn, results, FINAL, JobStatus.COMPLETED, lowest_id(RESULT, since)),
    )


def _count(conn: Connection, table: Table, where: list[ColumnElement[bool]]) -> int:
    return conn.execute(select(func.count()).select_from(table).where(*where)).scalar() or 0


def _waited(conn: Connection, due_at: Column[Any], now: Instant) -> float:
    oldest = conn.execute(select(func.min(due_at)).where(due_at.is_not(None))).scalar()
    return 0.0 if oldest is None else max(0.0, seconds_between(Instant(oldest), now))


def _by_status(conn: Connection, table: Table, states: Sequence[StrEnum], usual: StrEnum, since: str) -> dict[str, int]:
    """The rare states are counted by their index; what is left of all is the usual one, whose rows nobody visits."""
    column = table.c
    found = {
        state.value: _count(conn, table, [*in_state(column.status, state, [usual]), column.id >= since])
        for state in states
        if state is not usual
    }
    found[usual.value] = _count(conn, table, [column.id >= since]) - sum(found.values())
    return {state: count for state, count in found.items() if count}
