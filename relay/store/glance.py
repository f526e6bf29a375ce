"""What the dashboard shows at a glance: a few rows each, read along indexes; nothing that grows with the tables.

Counts stop at a limit, groups look at the newest rows only: what is read is bounded, however much is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Select, func, literal, select

from relay.clock import Instant
from relay.frozen import frozen
from relay.model import Delivery, DeliveryStatus, Job, JobStatus, NotificationStatus
from relay.store import deliveries as delivery_rows
from relay.store import jobs as job_rows
from relay.store.rows import Connection, Row, in_state
from relay.store.schema import deliveries, jobs, nodes, notifications, results

MOST_COUNTED: Final = 1000
LATEST: Final = 2000
MOST_NAMED: Final = 1000  # results that one replay can name


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
    """How many deliveries of a subscription wait; more than MOST_COUNTED means that nobody counted on."""
    mine = deliveries.c.subscription_id == subscription_id
    waiting = (deliveries.c.due_at.is_not(None), deliveries.c.pull_at.is_not(None))  # to be sent, or to be taken
    return sum(_capped(conn, select(literal(1)).where(mine, each)) for each in waiting)


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
    """The newest failures, grouped; and whether that is all of them."""
    read = (_exhausted(conn), _retrying(conn), _results(conn), _fetches(conn), _notifications(conn))
    found = [trouble for group, _ in read for trouble in group]
    complete = all(whole for _, whole in read)
    return sorted(found, key=lambda item: item.last_id.partition("_")[2], reverse=True), complete


Found = tuple[list[Trouble], bool]
"""Some troubles, and whether there are no more than were looked at."""


def _exhausted(conn: Connection) -> Found:
    wanted = in_state(deliveries.c.status, DeliveryStatus.EXHAUSTED, delivery_rows.USUAL)
    query = select(*_SENT).where(*wanted).order_by(deliveries.c.id.desc()).limit(LATEST)
    return _sent("delivery", list(conn.execute(query)))


def _retrying(conn: Connection) -> Found:
    query = select(*_SENT).where(deliveries.c.due_at.is_not(None)).order_by(deliveries.c.due_at).limit(LATEST)
    return _sent("retrying", list(conn.execute(query)))


_SENT: Final = (
    deliveries.c.subscription_id, deliveries.c.last_error, deliveries.c.id, deliveries.c.result_id,
    deliveries.c.attempts,
)  # fmt: skip


def _sent(kind: str, rows: list[Row]) -> Found:
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in sorted(rows, key=lambda row: row.id, reverse=True):
        if row.attempts and row.last_error is not None:
            groups.setdefault((row.subscription_id, row.last_error), []).append((row.id, row.result_id))
    made = [
        Trouble(
            kind=kind,
            target_id=target,
            error=error,
            count=len(items),
            first_id=items[-1][0],
            last_id=items[0][0],
            result_ids=tuple(dict.fromkeys(result for _, result in items))[:MOST_NAMED],
        )
        for (target, error), items in groups.items()
    ]
    return made, len(rows) < LATEST


def _grouped(kind: str, rows: list[tuple[str, str, str]], read: int) -> Found:
    """Rows of (target, error, id), of which `read` rows were read."""
    groups: dict[tuple[str, str], list[str]] = {}
    for target, error, id in sorted(rows, key=lambda row: row[2], reverse=True):
        groups.setdefault((target, error), []).append(id)
    made = [
        Trouble(kind=kind, target_id=target, error=error, count=len(ids), first_id=ids[-1], last_id=ids[0])
        for (target, error), ids in groups.items()
    ]
    return made, read < LATEST


def _results(conn: Connection) -> Found:
    column, rows, most = results.c, list[tuple[str, str, str]](), 0
    for status in (JobStatus.EXPIRED, JobStatus.FAILED):
        wanted = in_state(column.status, status, (JobStatus.COMPLETED,))
        query = select(column.webhook_id, column.error, column.id).where(*wanted).order_by(column.id.desc())
        found = [
            (row[0], f"{status}: {row[1] or 'no reason given'}", row[2]) for row in conn.execute(query.limit(LATEST))
        ]
        rows, most = rows + found, max(most, len(found))
    return _grouped("result", rows, most)


def _fetches(conn: Connection) -> Found:
    columns = (jobs.c.webhook_id, jobs.c.last_error, jobs.c.id)
    rows = conn.execute(select(*columns).where(jobs.c.due_at.is_not(None)).order_by(jobs.c.due_at).limit(LATEST)).all()
    return _grouped("fetch", [(row[0], row[1], row[2]) for row in rows if row[1]], len(rows))


def _notifications(conn: Connection) -> Found:
    column, rows, most = notifications.c, list[tuple[str, str, str]](), 0
    for status in (NotificationStatus.REJECTED, NotificationStatus.UNPROCESSABLE):
        wanted = in_state(column.status, status, (NotificationStatus.ACCEPTED,))
        query = select(column.webhook_id, column.reason, column.id).where(*wanted).order_by(column.id.desc())
        found = [(row[0], f"{status}: {row[1] or ''}", row[2]) for row in conn.execute(query.limit(LATEST))]
        rows, most = rows + found, max(most, len(found))
    return _grouped("notification", rows, most)
