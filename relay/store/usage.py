"""Payload bytes of the webhooks that have a limit: counted now and then, so that storing a result need not count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select, update

from relay.clock import Instant
from relay.ids import lowest_id
from relay.model import RESULT
from relay.store.bulk import insert_ignoring
from relay.store.rows import Connection
from relay.store.schema import results, usage

COUNT_AT_ONCE: Final = 2000
SETTLED_MILLISECONDS: Final = 60_000  # after that no transaction may still bring a result with an earlier id


def count_some(conn: Connection, webhook_id: str, now: Instant) -> int:
    """Add the sizes of the next results that have come since the last time; how many."""
    upper = lowest_id(RESULT, Instant(now - SETTLED_MILLISECONDS))
    known = conn.execute(select(usage).where(usage.c.webhook_id == webhook_id).with_for_update()).first()
    if known is None:
        conn.execute(insert_ignoring(conn, usage), {"webhook_id": webhook_id, "bytes": 0, "counted_to": ""})
    since = "" if known is None else known.counted_to
    fresh = select(results.c.id, results.c.size_bytes).where(
        results.c.webhook_id == webhook_id, results.c.id > since, results.c.id < upper
    )
    rows = conn.execute(fresh.order_by(results.c.id).limit(COUNT_AT_ONCE)).all()
    if rows:
        size = sum(row.size_bytes or 0 for row in rows)
        counted = {"bytes": usage.c.bytes + size, "counted_to": rows[-1].id}
        conn.execute(update(usage).where(usage.c.webhook_id == webhook_id, usage.c.counted_to == since).values(counted))
    return len(rows)


def stored(conn: Connection, webhook_id: str) -> int:
    """Bytes of all results that have been counted."""
    return conn.execute(select(usage.c.bytes).where(usage.c.webhook_id == webhook_id)).scalar() or 0


def held(conn: Connection, webhook_id: str) -> None:
    """Whoever is about to delete results of a webhook calls this before looking at them: until the transaction ends
    nobody else counts or deletes any of its, so nothing is subtracted twice."""
    conn.execute(select(usage.c.bytes).where(usage.c.webhook_id == webhook_id).with_for_update())


def subtract(conn: Connection, webhook_id: str, gone: Sequence[tuple[str, int]]) -> None:
    """Results, each with its size, whose payloads are deleted in this transaction."""
    known = conn.execute(select(usage.c.counted_to).where(usage.c.webhook_id == webhook_id)).scalar()
    size = 0 if known is None else sum(size for id, size in gone if id <= known)
    if size:
        conn.execute(update(usage).where(usage.c.webhook_id == webhook_id).values(bytes=usage.c.bytes - size))
