"""Payload bytes: pieces of at most 256 KiB, written ahead of the row that will own them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, insert, select

from relay.clock import Instant
from relay.store.bulk import chunks
from relay.store.schema import payload_chunks, spills

CHUNK_BYTES: Final = 256 * 1024


def spill(connection: Connection, payload_id: str, seq: int, data: bytes, now: Instant) -> None:
    """Write one piece of a payload that nobody owns yet. Its first piece says so, and when it began."""
    if seq == 0:
        connection.execute(insert(spills).values(payload_id=payload_id, created_at=now))
    connection.execute(insert(payload_chunks).values(payload_id=payload_id, seq=seq, data=data))


def drop(connection: Connection, payload_id: str) -> None:
    """Forget a payload that will not be owned; one that has an owner already stays."""
    if connection.execute(delete(spills).where(spills.c.payload_id == payload_id)).rowcount:
        connection.execute(delete(payload_chunks).where(payload_chunks.c.payload_id == payload_id))


def drop_orphans(connection: Connection, before: Instant, limit: int = 20) -> int:
    """Collect payloads that were begun before `before` and never got an owner; how many."""
    old = select(spills.c.payload_id).where(spills.c.created_at < before).limit(limit)
    # locked, and those that are being linked this moment skipped: else their owner would come to nothing
    query = old.with_for_update(skip_locked=True)
    orphans = list(connection.execute(query).scalars())
    for part in chunks(orphans, 500):
        connection.execute(delete(payload_chunks).where(payload_chunks.c.payload_id.in_(part)))
        connection.execute(delete(spills).where(spills.c.payload_id.in_(part)))
    return len(orphans)
