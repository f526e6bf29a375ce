"""From the database URL that a person writes to what a driver wants: the driver is ours to choose.

`sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://…` and `postgres://…` are understood. No message here
repeats the URL: it may hold a password.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.pool import NullPool

from relay.errors import SettingError

if TYPE_CHECKING:  # it brings the ORM with it, 0.1 s that a relay on SQLite need not pay
    from sqlalchemy.ext.asyncio import AsyncEngine

SQLITE = "sqlite:///"
POSTGRESQL = ("postgresql://", "postgres://")
CONNECT_SECONDS = 10.0
FORMS = "write sqlite:////var/lib/relay/relay.db or postgresql://user:password@host/database"
NO_DRIVER = "RELAY_DATABASE_URL: PostgreSQL needs one more package: pip install 'relay-webhooks[postgres]'"


def is_sqlite(database_url: str) -> bool:
    """Whether the URL names a SQLite file (else a PostgreSQL database). Raises SettingError for anything else."""
    if database_url.startswith(POSTGRESQL):
        return False
    if database_url.startswith(SQLITE):
        return True
    raise SettingError(f"RELAY_DATABASE_URL is not a database that Relay knows: {FORMS}")


def sqlite_path(database_url: str) -> Path:
    """The file that a `sqlite:///` URL names. Raises SettingError where it names none."""
    name = database_url.removeprefix(SQLITE)
    if not name or name.startswith(":memory:") or "?" in name:
        raise SettingError(f"RELAY_DATABASE_URL must name a SQLite file, without options: {FORMS}")
    return Path(name)


def open_engine(database_url: str, *, read_only: bool = False) -> AsyncEngine:
    """An engine for work that is done once (upgrade, status, check): no pool, and no BEGIN that nobody wrote.

    The caller disposes of it in a `finally`: aiosqlite's thread keeps the process alive until then.
    Raises SettingError when the URL is none of ours or the driver is missing.
    """
    if is_sqlite(database_url):
        return _sqlite_engine(sqlite_path(database_url), read_only)
    return _postgresql_engine(database_url, read_only)


def _sqlite_engine(path: Path, read_only: bool) -> AsyncEngine:
    import aiosqlite
    from sqlalchemy.ext.asyncio import create_async_engine

    uri = path.absolute().as_uri() + ("?mode=ro" if read_only else "?mode=rw")

    async def connect() -> aiosqlite.Connection:
        # isolation_level=None: the driver's own BEGIN would leave DDL outside any transaction
        return await aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=CONNECT_SECONDS)

    return create_async_engine("sqlite+aiosqlite://", async_creator=connect, poolclass=NullPool)


def _postgresql_engine(database_url: str, read_only: bool) -> AsyncEngine:
    try:
        import asyncpg
    except ImportError as error:
        raise SettingError(NO_DRIVER) from error
    from sqlalchemy.ext.asyncio import create_async_engine

    settings = {"application_name": "relay-db", "default_transaction_read_only": "on" if read_only else "off"}

    async def connect() -> Any:
        # asyncpg reads the URL itself, so that libpq's options (sslmode, host=/socket, …) mean what they always mean
        return await asyncpg.connect(database_url, timeout=CONNECT_SECONDS, server_settings=settings)

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
