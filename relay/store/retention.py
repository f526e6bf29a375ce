"""Deleting what is old, a little at a time, so that nobody waits for it.

What may go is looked for by readers (`old_results` and the like), for what has to be kept may be much, and is walked
past each time; who deletes looks at those few again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, delete, exists, select

from relay.clock import Instant
from relay.ids import lowest_id
from relay.model import EVENT, JOB, NOTIFICATION, RESULT, DeliveryStatus
from relay.store import usage
from relay.store.replays import LIVING
from relay.store.schema import (
    attempts,
    captures,
    deliveries,
    events,
    idempotency_keys,
    job_keys,
    jobs,
    notifications,
    payload_chunks,
    replays,
    results,
)

BATCH: Final = 100
KEPT_FREE_PAGES: Final = 2048  # 8 MiB that the next results will want


def has_older(connection: Connection, limits: Mapping[str, Instant]) -> list[tuple[str, str]]:
    """Which of results, jobs and notifications of which webhook are older than its limit: a look at an index each."""
    found = []
    for webhook_id, before in limits.items():
        for table, prefix in ((results, RESULT), (jobs, JOB), (notifications, NOTIFICATION)):
            column = table.c
            query = select(column.id).where(column.webhook_id == webhook_id, column.id < lowest_id(prefix, before))
            if connection.execute(query.limit(1)).first() is not None:
                found.append((table.name, webhook_id))
    return found


def old_results(connection: Connection, webhook_id: str, before: Instant) -> list[str]:
    """Some results that are older. One with a pending delivery is kept."""
    return _ids(connection, _droppable(webhook_id).where(results.c.id < lowest_id(RESULT, before)))


def drop_results(connection: Connection, webhook_id: str, ids: Sequence[str]) -> int:
    """Delete those of these results that may go, with payloads, deliveries and attempts; how many."""
    usage.held(connection, webhook_id)
    _hold_deliveries(connection, ids)
    rows = list(connection.execute(_droppable(webhook_id).where(results.c.id.in_(ids))))
    _drop_results(connection, webhook_id, rows)
    return len(rows)


def excess_results(connection: Connection, webhook_id: str, most_bytes: int) -> list[str]:
    """Some of the oldest results of a webhook that has more payload bytes than it may."""
    return _ids(connection, _droppable(webhook_id)) if usage.stored(connection, webhook_id) > most_bytes else []


def drop_excess(connection: Connection, webhook_id: str, ids: Sequence[str], most_bytes: int) -> int:
    """Delete as many of these results, oldest first, as there are too many, with their jobs and notifications; how
    many."""
    usage.held(connection, webhook_id)
    _hold_deliveries(connection, ids)
    excess = usage.stored(connection, webhook_id) - most_bytes
    rows = []
    for row in connection.execute(_droppable(webhook_id).where(results.c.id.in_(ids)).order_by(results.c.id)):
        if excess <= 0:
            break
        rows.append(row)
        excess -= row.size_bytes or 0
    _drop_results(connection, webhook_id, rows)
    # of a job that stays, for it is to be fetched once more, a notification may be the payload
    gone = _drop_jobs(connection, webhook_id, [row.job_id for row in rows])
    mine = notifications.c.job_id.in_(gone)
    large = select(notifications.c.payload_id).where(mine, notifications.c.payload_id.is_not(None))
    _drop_payloads(connection, list(connection.execute(large).scalars()))
    connection.execute(delete(notifications).where(mine))
    return len(rows)


def _ids(connection: Connection, found: Select[Any]) -> list[str]:
    return list(connection.execute(found.order_by(found.selected_columns.id).limit(BATCH)).scalars())


def _droppable(webhook_id: str) -> Select[Any]:
    waits = exists().where(deliveries.c.result_id == results.c.id, deliveries.c.status == DeliveryStatus.PENDING.value)
    columns = (results.c.id, results.c.job_id, results.c.payload_id, results.c.size_bytes)
    return select(*columns).where(results.c.webhook_id == webhook_id, ~waits)


def _hold_deliveries(connection: Connection, result_ids: Sequence[str]) -> None:
    """Whoever is about to delete calls this before looking: what somebody has retried is seen, and what somebody wants
    to retry from now on is gone by then."""
    mine = select(deliveries.c.id).where(deliveries.c.result_id.in_(result_ids))
    connection.execute(mine.order_by(deliveries.c.id).with_for_update())


def _drop_results(connection: Connection, webhook_id: str, rows: Sequence[Any]) -> None:
    ids = [row.id for row in rows]
    sent = select(deliveries.c.id).where(deliveries.c.result_id.in_(ids))
    connection.execute(delete(attempts).where(attempts.c.owner_id.in_(sent)))
    connection.execute(delete(deliveries).where(deliveries.c.result_id.in_(ids)))
    _drop_payloads(connection, [row.payload_id for row in rows if row.payload_id is not None])
    usage.subtract(connection, webhook_id, [(row.id, row.size_bytes or 0) for row in rows])
    connection.execute(delete(results).where(results.c.id.in_(ids)))


def drop_events(connection: Connection, before: Instant) -> int:
    """Delete operational events that are older, with deliveries and attempts. One with a pending delivery is kept."""
    waits = exists().where(deliveries.c.result_id == events.c.id, deliveries.c.status == DeliveryStatus.PENDING.value)
    query = select(events.c.id).where(events.c.id < lowest_id(EVENT, before), ~waits)
    ids = list(connection.execute(query.order_by(events.c.id).limit(BATCH)).scalars())
    sent = select(deliveries.c.id).where(deliveries.c.result_id.in_(ids))
    connection.execute(delete(attempts).where(attempts.c.owner_id.in_(sent)))
    connection.execute(delete(deliveries).where(deliveries.c.result_id.in_(ids)))
    connection.execute(delete(events).where(events.c.id.in_(ids)))
    return len(ids)


def old_jobs(connection: Connection, webhook_id: str, before: Instant) -> list[str]:
    """Some settled jobs that are older and have no result left."""
    mine = (jobs.c.webhook_id == webhook_id, jobs.c.id < lowest_id(JOB, before))
    return _ids(connection, select(jobs.c.id).where(*mine, *_over()))


def drop_jobs(connection: Connection, webhook_id: str, ids: Sequence[str]) -> int:
    """Delete those of these jobs that may go; how many."""
    return len(_drop_jobs(connection, webhook_id, ids))


def _drop_jobs(connection: Connection, webhook_id: str, ids: Sequence[str]) -> list[str]:
    query = select(jobs.c.id).where(jobs.c.webhook_id == webhook_id, jobs.c.id.in_(ids), *_over())
    unclaimed = query.order_by(jobs.c.id).with_for_update(skip_locked=True)  # none is woken meanwhile
    gone = list(connection.execute(unclaimed).scalars())
    connection.execute(delete(attempts).where(attempts.c.owner_id.in_(gone)))
    connection.execute(delete(job_keys).where(job_keys.c.job_id.in_(gone)))
    connection.execute(delete(jobs).where(jobs.c.id.in_(gone)))
    return gone


def _over() -> tuple[ColumnElement[bool], ...]:
    return jobs.c.due_at.is_(None), ~exists().where(results.c.job_id == jobs.c.id)


def old_notifications(connection: Connection, webhook_id: str, before: Instant) -> list[str]:
    """Some notifications that are older and whose job is gone (or never was)."""
    mine = (notifications.c.webhook_id == webhook_id, notifications.c.id < lowest_id(NOTIFICATION, before))
    return _ids(connection, select(notifications.c.id).where(*mine, _jobless()))


def drop_notifications(connection: Connection, webhook_id: str, ids: Sequence[str]) -> int:
    """Delete those of these notifications that may go; how many."""
    mine = (notifications.c.webhook_id == webhook_id, notifications.c.id.in_(ids))
    held = select(notifications.c.id).where(*mine).order_by(notifications.c.id)
    connection.execute(held.with_for_update())  # and then look: one that was read anew meanwhile has a job
    query = select(notifications.c.id, notifications.c.payload_id).where(*mine, _jobless())
    rows = list(connection.execute(query))
    _drop_payloads(connection, [row.payload_id for row in rows if row.payload_id is not None])
    connection.execute(delete(notifications).where(notifications.c.id.in_([row.id for row in rows])))
    return len(rows)


def _jobless() -> ColumnElement[bool]:
    return ~exists().where(jobs.c.id == notifications.c.job_id)


Find = Callable[[Connection, str, Instant], list[str]]
Drop = Callable[[Connection, str, Sequence[str]], int]
KINDS: Final[Mapping[str, tuple[Find, Drop]]] = {
    results.name: (old_results, drop_results),
    jobs.name: (old_jobs, drop_jobs),
    notifications.name: (old_notifications, drop_notifications),
}


def drop_replays(connection: Connection, before: Instant) -> int:
    """Delete replays that are older, over, and have no delivery left."""
    has = exists().where(deliveries.c.replay_id == replays.c.id, deliveries.c.replay_id != "")
    over = replays.c.status.not_in(LIVING)
    old = select(replays.c.id).where(replays.c.created_at < before, over, ~has).limit(BATCH)
    return connection.execute(delete(replays).where(replays.c.id.in_(old))).rowcount


def drop_captures(connection: Connection, before: Instant) -> int:
    """Delete captured messages that are older. There are few: a handful for each webhook."""
    return connection.execute(delete(captures).where(captures.c.captured_at < before)).rowcount


def drop_idempotency_keys(connection: Connection, before: Instant) -> int:
    """Delete remembered answers that are older."""
    old = select(idempotency_keys.c.key).where(idempotency_keys.c.created_at < before).limit(BATCH)
    return connection.execute(delete(idempotency_keys).where(idempotency_keys.c.key.in_(old))).rowcount


def _drop_payloads(connection: Connection, payload_ids: Sequence[str]) -> None:
    if payload_ids:
        connection.execute(delete(payload_chunks).where(payload_chunks.c.payload_id.in_(payload_ids)))


def give_back_pages(connection: Connection, most: int = 256) -> int:
    """Give free pages of the SQLite file back to the disk, a few at a time; 1 while there are many more."""
    if connection.dialect.name != "sqlite":
        return 0  # autovacuum makes room for new rows there
    free = _free_pages(connection)
    if free <= KEPT_FREE_PAGES:
        return 0
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"PRAGMA incremental_vacuum({most})")
        cursor.fetchall()  # a step for each page, though none gives a row
    finally:
        cursor.close()
    return int(KEPT_FREE_PAGES < _free_pages(connection) < free)


def _free_pages(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0)
