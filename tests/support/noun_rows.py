"""One of each noun with plain values, and how it gets into the database."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert

from relay.clock import Instant
from relay.ids import new_id
from relay.model import (
    ATTEMPT,
    DELIVERY,
    JOB,
    NOTIFICATION,
    RESULT,
    Attempt,
    Delivery,
    DeliveryStatus,
    Job,
    JobStatus,
    Notification,
    NotificationStatus,
    Result,
    Trigger,
)
from relay.store import attempts, deliveries, jobs, results, schema
from relay.store.rows import Connection, dump


def job(webhook_id: str, now: Instant, **more: Any) -> Job:
    """A job that waits."""
    values: dict[str, Any] = {
        "id": new_id(JOB, now),
        "webhook_id": webhook_id,
        "provider_job_id": None,
        "response_url": None,
        "status": JobStatus.WAITING,
        "provider_status": None,
        "metadata": {},
        "deadline": Instant(now + 7_200_000),
        "give_up_at": Instant(now + 72 * 3_600_000),
        "created_at": now,
        "notified_at": None,
        "completed_at": None,
        "result_id": None,
        "inline_notification_id": None,
        "tracked": False,
        "attempts": 0,
        "step": 0,
        "due_at": now,
        "lease_until": None,
        "claims": 0,
        "last_error": None,
    }
    return Job(**(values | more))


def result(job_id: str, webhook_id: str, now: Instant, payload: bytes | None = None, **more: Any) -> Result:
    """A completed result."""
    id = new_id(RESULT, now)
    values: dict[str, Any] = {
        "id": id,
        "job_id": job_id,
        "webhook_id": webhook_id,
        "provider_job_id": None,
        "status": JobStatus.COMPLETED,
        "error": None,
        "partial": False,
        "metadata": {},
        "content_type": "application/json" if payload is not None else None,
        "size_bytes": None if payload is None else len(payload),
        "sha256": None if payload is None else hashlib.sha256(payload).hexdigest(),
        "payload_id": None if payload is None else id,
        "fetched_at": now,
    }
    return Result(**(values | more))


def delivery(result_id: str, subscription_id: str, now: Instant, **more: Any) -> Delivery:
    """A pending delivery."""
    values: dict[str, Any] = {
        "id": new_id(DELIVERY, now),
        "result_id": result_id,
        "subscription_id": subscription_id,
        "replay_id": None,
        "message_id": result_id,
        "status": DeliveryStatus.PENDING,
        "attempts": 0,
        "budget_from": 0,
        "created_at": now,
        "settled_at": None,
        "http_status": None,
        "due_at": now,
        "lease_until": None,
        "claims": 0,
        "last_error": None,
    }
    return Delivery(**(values | more))


def attempt(owner_id: str, number: int, now: Instant, **more: Any) -> Attempt:
    """An attempt that got 503."""
    values: dict[str, Any] = {
        "id": new_id(ATTEMPT, now),
        "owner_id": owner_id,
        "number": number,
        "trigger": Trigger.NEW if number == 1 else Trigger.RETRY,
        "started_at": now,
        "duration_ms": 5,
        "http_status": 503,
        "error_code": "http_status",
        "response_excerpt": "busy",
    }
    return Attempt(**(values | more))


def notification(webhook_id: str, now: Instant, **more: Any) -> Notification:
    """An accepted notification."""
    values: dict[str, Any] = {
        "id": new_id(NOTIFICATION, now),
        "webhook_id": webhook_id,
        "job_id": None,
        "status": NotificationStatus.ACCEPTED,
        "reason": None,
        "method": "POST",
        "suffix": "",
        "query": "",
        "content_type": "application/json",
        "headers": {},
        "body_size": 2,
        "received_at": now,
    }
    return Notification(**(values | more))


def put(conn: Connection, *items: Job | Delivery | Attempt) -> None:
    """Store what needs nothing besides itself."""
    for item in items:
        if isinstance(item, Job):
            put_job(conn, item)
        elif isinstance(item, Delivery):
            put_delivery(conn, item)
        else:
            put_attempt(conn, item)


def put_job(conn: Connection, item: Job, keys: Mapping[str, str] | None = None) -> None:
    """Store a job and what it is known by."""
    conn.execute(insert(schema.jobs).values(dict(zip(jobs.COLUMNS, jobs.to_row(item), strict=True))))
    for kind, value in (keys or {}).items():
        row = {"webhook_id": item.webhook_id, "kind": kind, "value": value, "job_id": item.id}
        conn.execute(insert(schema.job_keys).values(row))


def put_result(conn: Connection, item: Result, payload: bytes | None = None, chunk: int = 262_144) -> None:
    """Store a result with its payload in pieces."""
    conn.execute(insert(schema.results).values(dict(zip(results.COLUMNS, results.to_row(item), strict=True))))
    for seq, start in enumerate(range(0, len(payload or b""), chunk)):
        piece = {"payload_id": item.payload_id, "seq": seq, "data": (payload or b"")[start : start + chunk]}
        conn.execute(insert(schema.payload_chunks).values(piece))


def put_delivery(conn: Connection, item: Delivery) -> None:
    """Store a delivery."""
    row = dict(zip(deliveries.COLUMNS, deliveries.to_row(item), strict=True))
    conn.execute(insert(schema.deliveries).values(row))


def put_attempt(conn: Connection, item: Attempt) -> None:
    """Store an attempt."""
    conn.execute(insert(schema.attempts).values(dict(zip(attempts.COLUMNS, attempts.to_row(item), strict=True))))


def put_notification(conn: Connection, item: Notification, body: bytes | None = b"{}", **more: Any) -> None:
    """Store a notification."""
    row = {
        "id": item.id,
        "webhook_id": item.webhook_id,
        "job_id": item.job_id,
        "status": item.status.value,
        "reason": item.reason,
        "method": item.method,
        "suffix": item.suffix,
        "query": item.query,
        "content_type": item.content_type,
        "headers": dump(dict(item.headers)),
        "body": body,
        "body_sealed": False,
        "body_size": item.body_size,
        "received_at": item.received_at,
    }
    conn.execute(insert(schema.notifications).values(row | more))
