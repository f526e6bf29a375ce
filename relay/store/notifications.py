"""Inbound calls as they were received: reading them back. Intake writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from relay.errors import NotFound
from relay.frozen import frozen
from relay.model import NOTIFICATION, Notification, NotificationStatus
from relay.store import results
from relay.store.rows import ColumnElement, Connection, Page, Row, Window, in_states, load, one, page_of_states
from relay.store.schema import notifications


@frozen()
class StoredRequest:
    """A notification with all that is needed to process it again."""

    notification: Notification
    body: bytes
    body_sealed: bool
    headers_sealed: bytes | None  # all headers of a rejected one, as JSON


def get(conn: Connection, id: str) -> Notification | None:
    """One notification."""
    return one(conn, select(notifications).where(notifications.c.id == id), read)


def page(
    conn: Connection,
    *,
    webhook_id: str | None = None,
    status: Sequence[NotificationStatus] = (),
    job_id: str | None = None,
    window: Window | None = None,
) -> Page[Notification]:
    """Newest first; `status` names the states that are wanted, none meaning all."""
    where: list[ColumnElement[bool]] = []
    states = in_states(notifications.c.status, status, [NotificationStatus.ACCEPTED])
    if webhook_id is not None:
        where.append(notifications.c.webhook_id == webhook_id)
    if job_id is not None:
        where.append(notifications.c.job_id == job_id)
    return page_of_states(conn, notifications, NOTIFICATION, window or Window(), where, states, read)


def body(conn: Connection, id: str) -> bytes:
    """The body as it is kept (sealed, for a rejected one). Raises NotFound."""
    query = select(notifications.c.body, notifications.c.payload_id).where(notifications.c.id == id)
    row = conn.execute(query).first()
    if row is None:
        raise NotFound(id)
    return _body(conn, row)


def request(conn: Connection, id: str) -> StoredRequest | None:
    """A notification with its body and, for a rejected one, all its headers."""
    row = conn.execute(select(notifications).where(notifications.c.id == id)).first()
    if row is None:
        return None
    return StoredRequest(read(row), _body(conn, row), bool(row.body_sealed), row.headers_sealed)


def _body(conn: Connection, row: Any) -> bytes:
    if row.payload_id is not None:
        return results.payload(conn, row.payload_id)
    return bytes(row.body or b"")


def read(row: Row) -> Notification:
    """A row of `notifications` as a Notification."""
    return Notification(
        id=row.id,
        webhook_id=row.webhook_id,
        job_id=row.job_id,
        status=NotificationStatus(row.status),
        reason=row.reason,
        method=row.method,
        suffix=row.suffix,
        query=row.query,
        content_type=row.content_type,
        headers=load(row.headers),
        body_size=row.body_size,
        received_at=row.received_at,
    )
