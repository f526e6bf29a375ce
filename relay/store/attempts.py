"""HTTP tries, of a job's fetches or of a delivery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import structlog
from sqlalchemy import select

from relay.errors import StoreError
from relay.model import Attempt, Trigger
from relay.store.bulk import insert_many
from relay.store.failures import transaction_stands, translate
from relay.store.rows import Connection, Row
from relay.store.schema import attempts

log = structlog.get_logger(__name__)

MOST = 500  # nobody reads more, and a job may be polled for three days


def of(conn: Connection, owner_id: str, limit: int = MOST) -> list[Attempt]:
    """The attempts of a job or delivery, the newest `limit` of them, oldest first."""
    query = select(attempts).where(attempts.c.owner_id == owner_id).order_by(attempts.c.number.desc()).limit(limit)
    return [read(row) for row in reversed(conn.execute(query).all())]


def insert(conn: Connection, made: Sequence[Attempt]) -> None:
    """Log attempts, in the transaction that settles what they were about. It is a log: what was done is not done again
    because a line of it could not be written.

    A number that is taken is left out; whatever else goes wrong sinks a batch, whose items are then tried alone.
    """
    rows = [to_row(attempt) for attempt in made]
    if len(rows) != 1:
        insert_many(conn, attempts, COLUMNS, rows, ignore_conflicts=True)
        return
    try:
        with conn.begin_nested():
            insert_many(conn, attempts, COLUMNS, rows, ignore_conflicts=True)
    except Exception as error:
        if not transaction_stands(conn) or isinstance(translate(error), StoreError):
            raise  # the database is away or full: that is everybody's trouble
        log.warning("attempt.not_logged", owner_id=made[0].owner_id, reason=type(error).__name__)


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
        dns_ms=row.dns_ms,
        connect_ms=row.connect_ms,
        first_byte_ms=row.first_byte_ms,
    )


COLUMNS: Final = (
    "owner_id", "number", "id", "trigger", "started_at", "duration_ms", "http_status", "error_code", "response_excerpt",
    "dns_ms", "connect_ms", "first_byte_ms",
)  # fmt: skip


def to_row(attempt: Attempt) -> tuple[Any, ...]:
    """An Attempt as a row of `attempts`, in the order of COLUMNS."""
    return (
        attempt.owner_id, attempt.number, attempt.id, attempt.trigger.value, attempt.started_at, attempt.duration_ms,
        attempt.http_status, attempt.error_code, attempt.response_excerpt, attempt.dns_ms, attempt.connect_ms,
        attempt.first_byte_ms,
    )  # fmt: skip
