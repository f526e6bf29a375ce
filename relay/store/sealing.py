"""Which encryption keys rows were sealed with, so that a start with one missing is refused, not found out later."""

from __future__ import annotations

from sqlalchemy import Connection, select

from relay.clock import Instant
from relay.store.bulk import insert_ignoring
from relay.store.schema import sealing_keys


def used(connection: Connection) -> list[str]:
    """The ids of the keys that rows may be sealed with."""
    return list(connection.execute(select(sealing_keys.c.key_id)).scalars())


def use(connection: Connection, key_id: str, now: Instant) -> None:
    """Note that rows are sealed with this key from now on."""
    insert = insert_ignoring(connection, sealing_keys)  # other processes may start at this very moment
    connection.execute(insert, {"key_id": key_id, "first_used_at": now})
