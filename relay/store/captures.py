"""Captured messages: the first of each shape that a webhook's provider sent, a few of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import func, select

from relay.clock import Instant
from relay.frozen import frozen
from relay.store.bulk import insert_ignoring
from relay.store.rows import Connection, Row
from relay.store.schema import captures

# Twenty for each webhook; most of what nobody has documented, and little of what differs with its content anyway.
MOST: Final[Mapping[str, int]] = MappingProxyType(
    {"notification": 6, "pending": 6, "completed": 2, "failed": 3, "submit": 2, "cancel": 1}
)


@frozen(kw_only=True)
class Capture:
    """One message, without its secrets."""

    webhook_id: str
    kind: str  # notification | pending | completed | failed | submit | cancel
    shape: str  # SHA-256 of the names and types in it
    http_status: int | None
    content_type: str | None
    excerpt: str
    job_id: str | None
    captured_at: Instant


def keep(conn: Connection, items: Sequence[Capture]) -> int:
    """Store those whose shape is new and whose kind has not been seen in too many; how many."""
    kept = 0
    for item in items:
        same = (captures.c.webhook_id == item.webhook_id, captures.c.kind == item.kind)
        count: int = conn.execute(select(func.count()).select_from(captures).where(*same)).scalar_one()
        if count < MOST[item.kind]:
            kept += conn.execute(insert_ignoring(conn, captures), _values(item)).rowcount
    return kept


def of(conn: Connection, webhook_id: str) -> list[Capture]:
    """A webhook's, by kind and age."""
    query = select(captures).where(captures.c.webhook_id == webhook_id)
    ordered = query.order_by(captures.c.kind, captures.c.captured_at, captures.c.shape)
    return [_read(row) for row in conn.execute(ordered)]


def _values(item: Capture) -> dict[str, Any]:
    return {
        "webhook_id": item.webhook_id,
        "kind": item.kind,
        "shape": item.shape,
        "http_status": item.http_status,
        "content_type": item.content_type,
        "excerpt": item.excerpt,
        "job_id": item.job_id,
        "captured_at": item.captured_at,
    }


def _read(row: Row) -> Capture:
    return Capture(
        webhook_id=row.webhook_id,
        kind=row.kind,
        shape=row.shape,
        http_status=row.http_status,
        content_type=row.content_type,
        excerpt=row.excerpt,
        job_id=row.job_id,
        captured_at=row.captured_at,
    )
