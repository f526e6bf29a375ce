"""What the dashboard shows at a glance: a few rows each, read along indexes; nothing that grows with the tables.

Counts stop at a limit, groups look at the newest rows only: what is read is bounded, however much is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Select, and_, func, literal, select

from relay.clock import Instant
from relay.frozen import frozen
from relay.model import Delivery, DeliveryStatus, Job, JobStatus
from relay.store import deliveries as delivery_rows
from relay.store import jobs as job_rows
from relay.store.rows import Connection
from relay.store.schema import deliveries, jobs, nodes, notifications, results

MOST_COUNTED: Final = 1000
LATEST: Final = 2000


def running_out(conn: Connection, webhook_ids: Iterable[str], limit: int) -> list[Job]:
    """Open jobs whose deadline is nearest, over all of these webhooks."""
    found: list[Job] = []
    for webhook_id in webhook_ids:
        mine = (jobs.c.webhook_id == webhook_id, jobs.c.due_at.is_not(None))
        query = select(jobs).where(*mine).order_by(jobs.c.deadline, jobs.c.id).limit(limit)
        found += [job_rows.read(row) for row in conn.execute(query)]
    return sorted(found, key=lambda job: (job.deadline, job.id))[:limit]


def oldest_due(conn: Connection) -> tuple[Instant | None, Instant | None]:
    """Since when the most overdue job and the most overdue delivery wait."""
    job = conn.execute(select(func.min(jobs.c.due_at)).where(jobs.c.due_at.is_not(None))).scalar()
    delivery = conn.execute(select(func.min(deliveries.c.due_at)).where(deliveries.c.due_at.is_not(None))).scalar()
    return (None if job is None else Instant(job)), (None if delivery is None else Instant(delivery))


def workers(conn: Connection, since: Instant, role: str) -> int:
    """How many processes work that were seen since then."""
    query = select(func.count()).select_from(nodes).where(nodes.c.role == role, nodes.c.seen_at >= since)
    return conn.execute(query).scalar() or 0


def pending(conn: Connection, subscription_id: str) -> int:
    """How many deliveries of a subscription wait; MOST_COUNTED + 1 means more than MOST_COUNTED."""
    mine = (deliveries.c.subscription_id == subscription_id, deliveries.c.due_at.is_not(None))
    return _capped(conn, select(literal(1)).where(*mine))


def _capped(conn: Connection, query: Select[int]) -> int:
    some = query.limit(MOST_COUNTED + 1).subquery()
    return conn.execute(select(func.count()).select_from(some)).scalar() or 0


def latest_of_subscription(conn: Connection, subscription_id: str, limit: int) -> list[Delivery]:
    """The latest deliveries of a subscription, newest first."""
    mine = deliveries.c.subscription_id == subscription_id
    query = select(deliveries).where(mine).order_by(deliveries.c.id.desc()).limit(limit)
    return [delivery_rows.read(row) for row in conn.execute(query)]


def of_results(conn: Connection, result_ids: Sequence[str]) -> list[Delivery]:
    """The deliveries of these results, oldest first."""
    if not result_ids:
        return []
    query = select(deliveries).where(deliveries.c.result_id.in_(result_ids))
    return sorted((delivery_rows.read(row) for row in conn.execute(query)), key=lambda item: item.id)


@frozen(kw_only=True)
class Trouble:
    """Failures that look alike."""

    kind: str  # delivery | retrying | result | fetch | notification
    target_id: str  # the subscription's or the webhook's
    error: str
    count: int
    first_id: str
    last_id: str
    result_ids: tuple[str, ...] = ()  # of deliveries: what a replay needs; only the first so many


def troubles(conn: Connection) -> tuple[list[Trouble], bool]:
    """The newest failures, grouped; and whether there are more of some kind than were looked at."""
    exhausted, all_exhausted = _deliveries(conn, DeliveryStatus.EXHAUSTED, "delivery")
    retrying, all_retrying = _deliveries(conn, DeliveryStatus.PENDING, "retrying")
    found = [*exhausted, *retrying, *_results(conn), *_fetches(conn), *_notifications(conn)]
    return sorted(found, key=lambda item: item.last_id.partition("_")[2], reverse=True), all_exhausted and all_retrying


def _deliveries(conn: Connection, status: DeliveryStatus, kind: str) -> tuple[list[Trouble], bool]:
    column = deliveries.c
    state = literal(status.value, literal_execute=True)
    usual = literal(DeliveryStatus.DELIVERED.value, literal_execute=True)
    wanted = and_(column.status == state, column.status != usual)
    columns = (column.subscription_id, column.last_error, column.id, column.result_id, column.attempts)
    rows = conn.execute(select(*columns).where(wanted).order_by(column.id.desc()).limit(LATEST)).all()
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in rows:
        if row[4]:
            groups.setdefault((row[0], row[1] or ""), []).append((row[2], row[3]))
    made = [
        Trouble(
            kind=kind,
            target_id=target,
            error=error,
            count=len(items),
            first_id=items[-1][0],
            last_id=items[0][0],
            result_ids=tuple(dict.fromkeys(result for _, result in items))[:1000],
        )
        for (target, error), items in groups.items()
    ]
    return made, len(rows) < LATEST


def _grouped(kind: str, rows: Iterable[tuple[str, str | None, str]]) -> list[Trouble]:
    """Rows of (target, error, id), newest first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for target, error, id in rows:
        groups.setdefault((target, error or ""), []).append(id)
    return [
        Trouble(kind=kind, target_id=target, error=error, count=len(ids), first_id=ids[-1], last_id=ids[0])
        for (target, error), ids in groups.items()
    ]


def _results(conn: Connection) -> list[Trouble]:
    newest = select(results.c.id).order_by(results.c.id.desc()).limit(1).offset(LATEST)
    oldest = conn.execute(newest).scalar() or ""
    bad = [JobStatus.EXPIRED.value, JobStatus.FAILED.value]
    columns = (results.c.webhook_id, results.c.status, results.c.error, results.c.id)
    query = select(*columns).where(results.c.id > oldest, results.c.status.in_(bad)).order_by(results.c.id.desc())
    return _grouped(
        "result", [(row[0], f"{row[1]}: {row[2] or 'no reason given'}", row[3]) for row in conn.execute(query)]
    )


def _fetches(conn: Connection) -> list[Trouble]:
    columns = (jobs.c.webhook_id, jobs.c.last_error, jobs.c.id)
    query = select(*columns).where(jobs.c.due_at.is_not(None)).order_by(jobs.c.due_at).limit(LATEST)
    rows = [(row[0], row[1], row[2]) for row in conn.execute(query) if row[1]]
    return _grouped("fetch", sorted(rows, key=lambda row: row[2], reverse=True))


def _notifications(conn: Connection) -> list[Trouble]:
    column = notifications.c
    usual = literal("accepted", literal_execute=True)
    found: list[Trouble] = []
    for status in ("rejected", "unprocessable"):
        state = literal(status, literal_execute=True)
        query = select(column.webhook_id, column.reason, column.id).where(
            column.status == state, column.status != usual
        )
        rows = conn.execute(query.order_by(column.id.desc()).limit(LATEST))
        found += _grouped("notification", [(row[0], f"{status}: {row[1] or ''}", row[2]) for row in rows])
    return found
