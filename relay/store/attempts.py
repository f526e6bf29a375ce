"""HTTP tries, of a job's fetches or of a delivery."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select

from relay.model import Attempt, Trigger
from relay.store.rows import Connection, Row
from relay.store.schema import attempts

MOST = 500  # nobody reads more, and a job may be polled for three days


def of(conn: Connection, owner_id: str, limit: int = MOST) -> list[Attempt]:
    """The attempts of a job or delivery, the newest `limit` of them, oldest first."""
    query = select(attempts).where(attempts.c.owner_id == owner_id).order_by(attempts.c.number.desc()).limit(limit)
    return [read(row) for row in reversed(conn.execute(query).all())]


def read(row: Row) -> Attempt:
    """A row of `attempts` as an Attempt."""
    return Attempt(
        id=row.id,
        owner_id=row.owner_id,
        number=row.number,
        trigger=Trigger(row.trigger),
        started_at=row.started_at,
        duration_ms=row.duration_ms,
        http_status=row.http_status,
        error_code=row.error_code,
        response_excerpt=row.response_excerpt,
    )


COLUMNS: Final = (
    "owner_id", "number", "id", "trigger", "started_at", "duration_ms", "http_status", "error_code", "response_excerpt",
)  # fmt: skip


def to_row(attempt: Attempt) -> tuple[Any, ...]:
    """An Attempt as a row of `attempts`, in the order of COLUMNS."""
    return (
        attempt.owner_id, attempt.number, attempt.id, attempt.trigger.value, attempt.started_at, attempt.duration_ms,
        attempt.http_status, attempt.error_code, attempt.response_excerpt,
    )  # fmt: skip
