"""Deleting what is old, a little at a time, so that nobody waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, delete, exists, select

from relay.clock import Instant
from relay.model import EVENT, JOB, NOTIFICATION, RESULT, DeliveryStatus, lowest_id
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


def drop_results(connection: Connection, before: Instant) -> int:
    """Delete results that are older, with payloads, deliveries and attempts. One with a pending delivery is kept."""
    waits = exists().where(deliveries.c.result_id == results.c.id, deliveries.c.status == DeliveryStatus.PENDING.value)
    query = select(results.c.id, results.c.payload_id).where(results.c.id < lowest_id(RESULT, before), ~waits)
    rows = list(connection.execute(query.order_by(results.c.id).limit(BATCH)))
    ids = [row.id for row in rows]
    sent = select(deliveries.c.id).where(deliveries.c.result_id.in_(ids))
    connection.execute(delete(attempts).where(attempts.c.owner_id.in_(sent)))
    connection.execute(delete(deliveries).where(deliveries.c.result_id.in_(ids)))
    _drop_payloads(connection, [row.payload_id for row in rows if row.payload_id is not None])
    connection.execute(delete(results).where(results.c.id.in_(ids)))
    return len(ids)


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


def drop_jobs(connection: Connection, before: Instant) -> int:
    """Delete settled jobs that are older and have no result left."""
    has = exists().where(results.c.job_id == jobs.c.id)
    query = select(jobs.c.id).where(jobs.c.id < lowest_id(JOB, before), jobs.c.due_at.is_(None), ~has)
    unclaimed = query.order_by(jobs.c.id).limit(BATCH).with_for_update(skip_locked=True)  # none is woken meanwhile
    ids = list(connection.execute(unclaimed).scalars())
    connection.execute(delete(attempts).where(attempts.c.owner_id.in_(ids)))
    connection.execute(delete(job_keys).where(job_keys.c.job_id.in_(ids)))
    connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))
    return len(ids)


def drop_notifications(connection: Connection, before: Instant) -> int:
    """Delete notifications that are older and whose job is gone (or never was)."""
    has = exists().where(jobs.c.id == notifications.c.job_id)
    query = select(notifications.c.id, notifications.c.payload_id).where(
        notifications.c.id < lowest_id(NOTIFICATION, before), ~has
    )
    rows = list(connection.execute(query.order_by(notifications.c.id).limit(BATCH)))
    _drop_payloads(connection, [row.payload_id for row in rows if row.payload_id is not None])
    connection.execute(delete(notifications).where(notifications.c.id.in_([row.id for row in rows])))
    return len(rows)


def drop_replays(connection: Connection, before: Instant) -> int:
    """Delete replays that are older and have no delivery left."""
    has = exists().where(deliveries.c.replay_id == replays.c.id, deliveries.c.replay_id != "")
    old = select(replays.c.id).where(replays.c.created_at < before, ~has).limit(BATCH)
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
