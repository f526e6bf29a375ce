"""What is new in the tables, in the order of ids, for whoever watches. Bounded reads over indexes, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, select, union_all

from relay.clock import Instant
from relay.frozen import frozen
from relay.ids import lowest_id
from relay.model import DELIVERY, JOB, NOTIFICATION, RESULT, Delivery, DeliveryStatus, Job, JobStatus
from relay.store import deliveries as delivery_rows
from relay.store import jobs as job_rows
from relay.store import notifications as notification_rows
from relay.store import results as result_rows
from relay.store.bulk import chunks
from relay.store.rows import in_state
from relay.store.schema import deliveries, jobs, notifications, results

PAGE: Final = 500
BODIES: Final = ("body", "headers_sealed")  # of notifications: not looked at


@frozen()
class Source:
    """One noun as it is watched. `query` selects its rows, with the webhook that each is about as `of_webhook`."""

    prefix: str
    query: Select[Any]
    id: Any
    of_webhook: Any
    read: Callable[[Row[Any]], Any]


_SHOWN: Final = [column for column in notifications.c if column.name not in BODIES]
NOTIFICATIONS: Final = Source(
    NOTIFICATION, select(*_SHOWN), notifications.c.id, notifications.c.webhook_id, notification_rows.read
)
JOBS: Final = Source(JOB, select(jobs), jobs.c.id, jobs.c.webhook_id, job_rows.read)
RESULTS: Final = Source(RESULT, select(results), results.c.id, results.c.webhook_id, result_rows.read)
DELIVERIES: Final = Source(
    DELIVERY,
    select(deliveries).outerjoin(results, results.c.id == deliveries.c.result_id),
    deliveries.c.id,
    results.c.webhook_id,
    delivery_rows.read,
)


def between(
    connection: Connection, source: Source, after_id: str, up_to_id: str | None = None, webhook_id: str | None = None
) -> list[Any]:
    """A page of rows with ids above `after_id`, up to `up_to_id`, lowest first."""
    query = _of(source, webhook_id).where(source.id > after_id)
    if up_to_id is not None:
        query = query.where(source.id <= up_to_id)
    return [source.read(row) for row in connection.execute(query.order_by(source.id).limit(PAGE))]


def again(connection: Connection, source: Source, ids: Sequence[str]) -> list[Any]:
    """These rows as they are now."""
    found: list[Any] = []
    for part in chunks(ids, 250):
        found += [source.read(row) for row in connection.execute(source.query.where(source.id.in_(part)))]
    return found


def open_jobs(connection: Connection, webhook_id: str | None, limit: int) -> list[Job]:
    """The newest of those that have not ended, among the newest jobs of all."""
    newest = _of(JOBS, webhook_id).order_by(JOBS.id.desc()).limit(limit)
    found: list[Job] = [JOBS.read(row) for row in connection.execute(newest)]
    return [job for job in found if not job.status.is_final]


def open_deliveries(connection: Connection, webhook_id: str | None, limit: int) -> list[Delivery]:
    """The newest ones that are pending."""
    waits = (deliveries.c.due_at, deliveries.c.pull_at)  # each has an index; materialized, or a planner walks all rows
    due = union_all(*(select(deliveries.c.id).where(column.is_not(None)) for column in waits)).cte("few")
    pending = deliveries.c.id.in_(select(due.prefix_with("MATERIALIZED").c.id))
    query = (
        _of(DELIVERIES, webhook_id)
        .where(pending, *in_state(deliveries.c.status, DeliveryStatus.PENDING))
        .order_by(DELIVERIES.id.desc())
        .limit(limit)
    )
    return [DELIVERIES.read(row) for row in connection.execute(query)]


def settled_since(
    connection: Connection, made_after: Instant, settled_after: Instant, webhook_id: str | None
) -> list[Delivery]:
    """Deliveries made after one moment and settled after another. The first bounds the search."""
    made = (
        DELIVERIES.id >= lowest_id(DELIVERY, made_after),
        DELIVERIES.id < lowest_id(DELIVERY, settled_after),
        deliveries.c.settled_at >= settled_after,
    )
    query = _of(DELIVERIES, webhook_id).where(*made).order_by(DELIVERIES.id).limit(PAGE)
    return [DELIVERIES.read(row) for row in connection.execute(query)]


def _of(source: Source, webhook_id: str | None) -> Select[Any]:
    return source.query if webhook_id is None else source.query.where(source.of_webhook == webhook_id)


def is_open(noun: Job | Delivery) -> bool:
    """Whether something can still become of it."""
    if isinstance(noun.status, JobStatus):
        return not noun.status.is_final
    return noun.status is DeliveryStatus.PENDING
