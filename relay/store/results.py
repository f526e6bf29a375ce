"""Results and their payloads: reading them, in pieces if wanted, and erasing them everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, delete, func, literal_column, select, update

from relay.clock import Instant
from relay.model import RESULT, DeliveryStatus, JobStatus, Result
from relay.store import configuration, idempotency, usage
from relay.store import deliveries as delivery_rows
from relay.store.bulk import lookup
from relay.store.rows import Connection, Page, Row, Window, dump, in_states, load, one, page_of_states
from relay.store.schema import attempts, captures, deliveries, jobs, notifications, payload_chunks, results, spills


def get(conn: Connection, id: str) -> Result | None:
    """One result."""
    # each delivery of a replay asks, and SQLAlchemy's way costs twice this
    found = lookup(conn, results, COLUMNS, "id", [id])
    return read(cast(Row, SimpleNamespace(**dict(zip(COLUMNS, found[0], strict=True))))) if found else None


def get_with_payload(conn: Connection, id: str, wants: Callable[[Result], bool]) -> tuple[Result, bytes | None] | None:
    """One result and its payload, if there is one and it is wanted. None when it is gone, or goes this moment."""
    result = get(conn, id)
    if result is None:
        return None
    if result.payload_id is None or not wants(result):
        return result, None
    body = payload(conn, result.payload_id)
    return None if result.size_bytes and not body else (result, body)  # erased between the two looks


def latest_of_job(conn: Connection, job_id: str) -> Result | None:
    """The newest result of a job: a later `completed` supersedes `failed`, `cancelled` and `expired`."""
    return one(conn, select(results).where(results.c.job_id == job_id).order_by(results.c.id.desc()).limit(1), read)


def page(
    conn: Connection,
    *,
    webhook_id: str | None = None,
    status: Sequence[JobStatus] = (),
    job_id: str | None = None,
    unrouted: bool = False,
    window: Window | None = None,
) -> Page[Result]:
    """Newest first; `status` names the states that are wanted, none meaning all; `unrouted`: that nobody wanted."""
    where: list[ColumnElement[bool]] = []
    if webhook_id is not None:
        where.append(results.c.webhook_id == webhook_id)
    if job_id is not None:
        where.append(results.c.job_id == job_id)
    if unrouted:
        where.append(results.c.matched == literal_column("0"))  # spelt out, for the partial index
    states = in_states(results.c.status, status, [JobStatus.COMPLETED])
    return page_of_states(conn, results, RESULT, window or Window(), where, states, read)


def payload(conn: Connection, payload_id: str) -> bytes:
    """All bytes of a payload, empty when there is none (any more)."""
    pieces = lookup(conn, payload_chunks, ("seq", "data"), "payload_id", [payload_id])
    return b"".join(data for _, data in sorted(pieces))


def payload_chunk(conn: Connection, payload_id: str, seq: int) -> bytes | None:
    """One piece of a payload, counted from 0; None after the last."""
    key = (payload_chunks.c.payload_id == payload_id, payload_chunks.c.seq == seq)
    return conn.execute(select(payload_chunks.c.data).where(*key)).scalar()


def chunk_sizes(conn: Connection, payload_id: str) -> list[int]:
    """The length of every piece in order, so that a reader can begin in the middle."""
    query = select(func.length(payload_chunks.c.data)).where(payload_chunks.c.payload_id == payload_id)
    return list(conn.execute(query.order_by(payload_chunks.c.seq)).scalars())


def erase(conn: Connection, id: str, now: Instant) -> bool:
    """Erase the payload everywhere: its bytes, the bodies of the job's notifications (one of them may carry it; one
    that has come since and is still to be read carries another), what is quoted of the provider's and the subscribers'
    messages, kept answers to a submit, and the deliveries still to be made. The row stays, without a payload. False
    when there is no such result.
    """
    found = get(conn, id)
    if found is None:
        return False
    usage.held(conn, found.webhook_id)
    found = get(conn, id)  # another process may have erased or deleted it meanwhile
    if found is None:
        return False
    # Deliveries, the configuration, jobs and replays: who settles locks them in this order, too.
    conn.execute(select(deliveries.c.id).where(*_pending(id)).order_by(deliveries.c.id).with_for_update())
    configuration.bump(conn)  # every process then drops the envelopes that it has in memory
    _erase_notifications(conn, found)
    idempotency.erase(conn, found.job_id)
    usage.subtract(conn, found.webhook_id, [(found.id, found.size_bytes or 0)])
    if found.payload_id is not None:
        drop_payloads(conn, [found.payload_id])
    _erase_quotations(conn, found)
    emptied = {"payload_id": None, "size_bytes": None, "sha256": None, "error": None}
    conn.execute(update(results).where(results.c.id == id).values(emptied))
    _cancel_deliveries(conn, id, now)
    return True


def _erase_notifications(conn: Connection, result: Result) -> None:
    mine = notifications.c.job_id == result.job_id
    if (unread := _unread(conn, result)) is not None:
        mine &= notifications.c.id != unread
    else:  # its body is no payload any more, not even an empty one
        conn.execute(update(jobs).where(jobs.c.id == result.job_id).values(inline_notification_id=None))
    query = select(notifications.c.payload_id).where(mine, notifications.c.payload_id.is_not(None))
    drop_payloads(conn, list(conn.execute(query).scalars()))
    emptied = {"body": None, "payload_id": None, "headers_sealed": None}
    conn.execute(update(notifications).where(mine).values(emptied))


def _unread(conn: Connection, result: Result) -> str | None:
    """The notification since this result whose body the job is to take as its next payload."""
    job = select(jobs.c.inline_notification_id).where(jobs.c.id == result.job_id, jobs.c.due_at.is_not(None))
    notification_id = conn.execute(job.with_for_update()).scalar()
    since = (notifications.c.id == notification_id, notifications.c.received_at > result.fetched_at)
    return conn.execute(select(notifications.c.id).where(*since)).scalar()


def _erase_quotations(conn: Connection, result: Result) -> None:
    conn.execute(update(jobs).where(jobs.c.id == result.job_id).values(last_error=None))
    sent = select(deliveries.c.id).where(deliveries.c.result_id == result.id)
    for owner in (attempts.c.owner_id == result.job_id, attempts.c.owner_id.in_(sent)):
        conn.execute(update(attempts).where(owner).values(response_excerpt=None))
    conn.execute(delete(captures).where(captures.c.job_id == result.job_id))


def _cancel_deliveries(conn: Connection, result_id: str, now: Instant) -> None:
    ended = {
        "status": DeliveryStatus.CANCELLED.value,
        "settled_at": now,
        "due_at": None,
        "pull_at": None,
        "lease_until": None,
        "claims": deliveries.c.claims + 1,  # whoever is sending it now can no longer settle it
        "last_error": "payload_erased",
    }
    delivery_rows.end(conn, select(deliveries.c.id, deliveries.c.replay_id).where(*_pending(result_id)), ended)


def _pending(result_id: str) -> tuple[ColumnElement[bool], ...]:
    return deliveries.c.result_id == result_id, deliveries.c.status == DeliveryStatus.PENDING.value


def drop_payloads(conn: Connection, payload_ids: Sequence[str]) -> None:
    """Delete the bytes of these payloads."""
    if payload_ids:
        conn.execute(delete(payload_chunks).where(payload_chunks.c.payload_id.in_(payload_ids)))
        conn.execute(delete(spills).where(spills.c.payload_id.in_(payload_ids)))


def read(row: Row) -> Result:
    """A row of `results` as a Result."""
    return Result(
        id=row.id,
        job_id=row.job_id,
        webhook_id=row.webhook_id,
        provider_job_id=row.provider_job_id,
        status=JobStatus(row.status),
        error=row.error,
        partial=bool(row.partial),
        metadata=load(row.metadata),
        content_type=row.content_type,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        payload_id=row.payload_id,
        fetched_at=row.fetched_at,
        matched=row.matched,
    )


COLUMNS: Final = (
    "id", "job_id", "webhook_id", "provider_job_id", "status", "error", "partial", "metadata", "content_type",
    "size_bytes", "sha256", "payload_id", "fetched_at", "matched",
)  # fmt: skip


def to_row(result: Result, matched: int | None = None) -> tuple[Any, ...]:
    """A Result as a row of `results`, in the order of COLUMNS, for as many subscriptions as `matched`."""
    return (
        result.id, result.job_id, result.webhook_id, result.provider_job_id, result.status.value, result.error,
        result.partial, dump(result.metadata), result.content_type, result.size_bytes, result.sha256,
        result.payload_id, result.fetched_at, result.matched if matched is None else matched,
    )  # fmt: skip
