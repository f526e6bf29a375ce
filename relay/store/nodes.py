"""Who is alive: each process beats now and then; caps and rates are divided over the living workers."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, func, select, text, update
from sqlalchemy import insert as insert_into

from relay.clock import Instant, after
from relay.store.schema import nodes

WORKER: Final = "worker"
ALIVE_SECONDS: Final = 30.0
FORGOTTEN_SECONDS: Final = 3600.0


def beat(connection: Connection, node_id: str, role: str, now: Instant) -> int:
    """Say that this node is alive; how many workers are, this one included."""
    seen = update(nodes).where(nodes.c.id == node_id).values(seen_at=now)
    if not connection.execute(seen).rowcount:
        connection.execute(insert_into(nodes).values(id=node_id, role=role, started_at=now, seen_at=now))
        connection.execute(delete(nodes).where(nodes.c.seen_at < after(now, -FORGOTTEN_SECONDS)))
    alive = select(func.count()).where(nodes.c.role == WORKER, nodes.c.seen_at >= after(now, -ALIVE_SECONDS))
    return connection.execute(alive).scalar_one()


def leave(connection: Connection, node_id: str) -> None:
    """Say that this node is gone."""
    connection.execute(delete(nodes).where(nodes.c.id == node_id))


def database_now(connection: Connection) -> Instant | None:
    """The database server's own clock; None on SQLite, which has none but ours."""
    if connection.dialect.name == "sqlite":
        return None
    milliseconds = connection.execute(
        text("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    ).scalar_one()
    return Instant(milliseconds)
