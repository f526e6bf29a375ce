"""What a database is like, for people who set Relay up: its version, and the settings that promises hang on."""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy import Connection, text

from relay.frozen import frozen

SHOWN: Final = ("fsync", "full_page_writes", "synchronous_commit", "max_connections", "superuser_reserved_connections")


@frozen(kw_only=True)
class PostgresState:
    """A PostgreSQL server, as this connection sees it."""

    version: int  # as 170002
    settings: dict[str, str]
    connections: int  # open now, ours among them
    is_standby: bool


def postgres(connection: Connection) -> PostgresState:
    """Look at a server."""
    rows = connection.execute(text("SELECT name, setting FROM pg_settings")).all()
    known: dict[str, str] = {row[0]: row[1] for row in rows}
    count = connection.execute(text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"))
    return PostgresState(
        version=int(known["server_version_num"]),
        settings={name: known[name] for name in SHOWN},
        connections=count.scalar_one(),
        is_standby=bool(connection.execute(text("SELECT pg_is_in_recovery()")).scalar()),
    )


def sqlite_version() -> tuple[int, int, int]:
    """Of the library that this Python uses."""
    major, minor, patch = sqlite3.sqlite_version_info[:3]
    return major, minor, patch


def may_be_checkpointed_by_two(version: tuple[int, int, int]) -> bool:
    """Whether a file survives that a second process checkpoints it: the WAL-reset bug of 3.7.0 to 3.51.2 is mended."""
    return (
        version < (3, 7, 0)
        or version >= (3, 51, 3)
        or (3, 50, 7) <= version < (3, 51, 0)
        or ((3, 44, 6) <= version < (3, 45, 0))
    )
