"""How much waits, for people who watch: read by indexes alone, and counted to a limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Column, func, select

from relay.clock import Instant, after, seconds_between
from relay.frozen import frozen
from relay.store.rows import Connection
from relay.store.schema import deliveries, jobs

COUNTED_TO: Final = 10_000
AT_RISK_SECONDS: Final = 300.0


@frozen()
class Waiting:
    """One queue. `due` ends at `COUNTED_TO`."""

    due: int
    oldest_seconds: float


@frozen()
class Backlog:
    """Both queues, and for each webhook its open jobs whose deadline is near."""

    jobs: Waiting
    deliveries: Waiting
    at_risk: dict[str, int]


def read(conn: Connection, now: Instant, webhook_ids: Sequence[str]) -> Backlog:
    """Look at the queues, and at the deadlines of these webhooks."""
    return Backlog(
        waiting(conn, jobs.c.due_at, now), waiting(conn, deliveries.c.due_at, now), at_risk(conn, now, webhook_ids)
    )


def waiting(conn: Connection, due_at: Column[Any], now: Instant) -> Waiting:
    """What of a queue is due, by its `due_at` column."""
    due = select(due_at).where(due_at <= now).order_by(due_at).limit(COUNTED_TO).subquery()
    count, oldest = conn.execute(select(func.count(), func.min(due.c.due_at))).one()
    return Waiting(count, 0.0 if oldest is None else seconds_between(Instant(oldest), now))


def at_risk(conn: Connection, now: Instant, webhook_ids: Sequence[str]) -> dict[str, int]:
    """Open jobs by webhook that may be dropped by their providers in less than `AT_RISK_SECONDS`."""
    near = (
        select(jobs.c.webhook_id)
        .where(
            jobs.c.webhook_id.in_(webhook_ids),
            jobs.c.due_at.is_not(None),
            jobs.c.deadline > now,
            jobs.c.deadline <= after(now, AT_RISK_SECONDS),
        )
        .limit(COUNTED_TO)
        .subquery()
    )
    query = select(near.c.webhook_id, func.count()).group_by(near.c.webhook_id)
    return {row[0]: row[1] for row in conn.execute(query)}
