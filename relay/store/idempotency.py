"""Records of requests that must take effect once, however often they are sent.

`begin` is a transaction of its own and marks the request as running; `finish` belongs into the transaction of the
effect, so that effect and answer are there together or not at all.
Follows draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from relay.clock import Instant, after
from relay.errors import Conflict
from relay.frozen import frozen
from relay.store.rows import Connection, Row
from relay.store.schema import idempotency_keys

KEPT_SECONDS = 24 * 3600.0
ABANDONED_SECONDS = 120.0  # a request still running after this lost its process: no request takes so long


@frozen()
class Begun:
    """The request is ours to carry out."""


@frozen()
class Running:
    """The same request is being carried out, since `begun_at`; `note` is what was kept when it began."""

    begun_at: Instant = Instant(0)
    note: bytes | None = None


@frozen()
class Differs:
    """The key was used for another request."""


@frozen()
class Finished:
    """The request was carried out; this was the answer."""

    status: int
    response_sealed: bytes


def begin(
    conn: Connection,
    key: str,
    fingerprint: str,
    now: Instant,
    *,
    note: bytes | None = None,
    abandoned_seconds: float = ABANDONED_SECONDS,
) -> Begun | Running | Differs | Finished:
    """Take the key for a request, or say what is known of it.

    `note` is kept for whoever asks meanwhile. A request that still runs after `abandoned_seconds` may be made anew.
    """
    table = idempotency_keys
    row = conn.execute(select(table).where(table.c.key == key)).first()
    if row is not None:
        lives = KEPT_SECONDS if row.status is not None else abandoned_seconds
        if after(row.created_at, lives) > now:
            return _known(row, fingerprint)
        conn.execute(delete(table).where(table.c.key == key, table.c.created_at == row.created_at))
    try:
        conn.execute(insert(table).values(key=key, fingerprint=fingerprint, created_at=now, response_sealed=note))
    except IntegrityError as error:  # another process took it between our look and our insert
        raise Conflict("idempotency_key") from error
    return Begun()


def _known(row: Row, fingerprint: str) -> Running | Differs | Finished:
    if row.fingerprint != fingerprint:
        return Differs()
    kept = None if row.response_sealed is None else bytes(row.response_sealed)
    return Running(row.created_at, kept) if row.status is None or kept is None else Finished(row.status, kept)


def begin_again(conn: Connection, key: str, status: int, now: Instant) -> bool:
    """Mark a request that ended with `status` as running once more; False if somebody else has done so."""
    known = (idempotency_keys.c.key == key, idempotency_keys.c.status == status)
    return conn.execute(update(idempotency_keys).where(*known).values(status=None, created_at=now)).rowcount == 1


def finish(conn: Connection, key: str, status: int, response_sealed: bytes, job_id: str | None = None) -> None:
    """Keep the answer, and which job it is about. Belongs into the transaction of the effect."""
    change = update(idempotency_keys).where(idempotency_keys.c.key == key)
    conn.execute(change.values(status=status, response_sealed=response_sealed, job_id=job_id))


def erase(conn: Connection, job_id: str) -> None:
    """Erase the answers that are kept about a job. Their keys stay taken: a repetition would make the job again."""
    conn.execute(update(idempotency_keys).where(idempotency_keys.c.job_id == job_id).values(response_sealed=None))


def forget(conn: Connection, key: str) -> None:
    """Give the key back: the request had no effect."""
    conn.execute(delete(idempotency_keys).where(idempotency_keys.c.key == key, idempotency_keys.c.status.is_(None)))
