"""Management keys, of which only the hash is kept."""

from __future__ import annotations

from sqlalchemy import insert as insert_into
from sqlalchemy import select
from sqlalchemy import update as update_of
from sqlalchemy.exc import IntegrityError

from relay.clock import Instant
from relay.errors import Conflict
from relay.model import KEY, ApiKey, Scope
from relay.store import configuration
from relay.store.rows import Connection, Page, Row, Window, one
from relay.store.rows import page as page_of
from relay.store.schema import api_keys


def load_all(conn: Connection) -> list[ApiKey]:
    """Every key, revoked and expired ones included."""
    return [read(row) for row in conn.execute(select(api_keys).order_by(api_keys.c.id))]


def get(conn: Connection, id: str) -> ApiKey | None:
    """One key."""
    return one(conn, select(api_keys).where(api_keys.c.id == id), read)


def page(conn: Connection, *, window: Window | None = None) -> Page[ApiKey]:
    """Newest first."""
    return page_of(conn, api_keys, KEY, window or Window(), [], read)


def insert(conn: Connection, key: ApiKey) -> None:
    """Store a new one. Raises Conflict("sha256") when the same key is there."""
    values = {
        "id": key.id,
        "name": key.name,
        "scope": key.scope.value,
        "sha256": key.sha256,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
    try:
        conn.execute(insert_into(api_keys).values(**values))
    except IntegrityError as error:
        raise Conflict("sha256") from error
    configuration.bump(conn)


def revoke(conn: Connection, id: str, now: Instant) -> ApiKey | None:
    """End a key for good; ending it again changes nothing. None when there is no such key."""
    change = update_of(api_keys).where(api_keys.c.id == id, api_keys.c.revoked_at.is_(None))
    if conn.execute(change.values(revoked_at=now)).rowcount:
        configuration.bump(conn)
    return get(conn, id)


def read(row: Row) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        scope=Scope(row.scope),
        sha256=row.sha256,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
