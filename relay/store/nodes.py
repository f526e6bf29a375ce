"""Who is alive: each process beats now and then; caps and rates are divided over the living workers."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy import insert as insert_into

from relay.clock import Instant, after
from relay.frozen import frozen
from relay.store.schema import nodes

WORKER: Final = "worker"
IDLE: Final = "idle"  # its clock is wrong: it takes nothing, and who seems long gone by it may be alive
ALIVE_SECONDS: Final = 30.0
FORGOTTEN_SECONDS: Final = 3600.0
NOTICED_SECONDS: Final = 2.0  # a beat of another node this long after we came has counted us, whatever the clocks say


@frozen()
class Beat:
    """What a node learns by beating."""

    workers: int  # alive, this one included
    place: int  # among them, in the order of their ids
    is_known: bool  # all other workers have beaten since this one came, so they count it


def beat(connection: Connection, node_id: str, role: str, now: Instant) -> Beat:
    """Say that this node is alive; who else is. In another role than before it has only just come."""
    seen = update(nodes).where(nodes.c.id == node_id, nodes.c.role == role).values(seen_at=now)
    if not connection.execute(seen).rowcount:
        leave(connection, node_id)
        connection.execute(insert_into(nodes).values(id=node_id, role=role, started_at=now, seen_at=now))
        if role != IDLE:
            connection.execute(delete(nodes).where(nodes.c.seen_at < after(now, -FORGOTTEN_SECONDS)))
    living = select(nodes.c.id, nodes.c.started_at, nodes.c.seen_at).where(
        nodes.c.role == WORKER, nodes.c.seen_at >= after(now, -ALIVE_SECONDS)
    )
    alive = {row.id: row for row in connection.execute(living.order_by(nodes.c.id))}
    if node_id not in alive:
        return Beat(max(1, len(alive)), 0, True)
    came_at = after(alive[node_id].started_at, NOTICED_SECONDS)
    others = [row for row in alive.values() if row.id != node_id]
    return Beat(len(alive), list(alive).index(node_id), all(row.seen_at >= came_at for row in others))


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
