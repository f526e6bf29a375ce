"""Bring a database to the schema that this Relay was written for, and say where it stands.

Steps are numbered and go one way. All steps of one upgrade are one transaction under a lock, so a failing step changes
nothing, and two processes that upgrade at once both succeed: the second finds nothing left to do.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError

from relay.errors import SchemaStale, StoreUnavailable
from relay.frozen import frozen
from relay.store.connect import CONNECT_SECONDS, is_sqlite, open_engine, sqlite_path

if TYPE_CHECKING:  # Alembic takes longer to import than all of the store: only an upgrade needs it
    from alembic.config import Config

T = TypeVar("T")

LOCK_KEY: Final = 0x52656C6179  # "Relay": the advisory lock that whoever upgrades a PostgreSQL database takes
LOCK_WAIT_SECONDS: Final = 60.0
LOCK_NOT_AVAILABLE: Final = "55P03"  # PostgreSQL's SQLSTATE when lock_timeout ends a wait
STEPS: Final = Path(__file__).parent / "migrations" / "versions"
VERSION_TABLE: Final = "alembic_version"
VERSION: Final = f"SELECT version_num FROM {VERSION_TABLE}"


@frozen()
class SchemaStatus:
    """Where a database stands. Revisions are numbered as in `migrations/versions`."""

    current: str | None  # None = nothing there yet
    head: str
    pending: tuple[str, ...]  # the steps still to do, first one first

    @property
    def is_ahead(self) -> bool:
        """A newer Relay has upgraded the database. Old code keeps running on the next schema."""
        return not self.pending and self.current != self.head


async def upgrade(database_url: str, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> list[str]:
    """Do every pending step; the revisions done by this call, oldest first.

    Creates a missing SQLite file, readable by its owner only. Raises SettingError for a wrong URL or a missing driver,
    StoreUnavailable when the database cannot be reached or somebody else holds its lock for `wait_seconds`.
    """
    if not (await status(database_url)).pending:
        return []
    if not is_sqlite(database_url):
        return await _run(database_url, partial(_upgrade_postgresql, wait_seconds=wait_seconds), read_only=False)
    _create_file(sqlite_path(database_url))
    return await _run(database_url, partial(_upgrade_sqlite, wait_seconds=wait_seconds), read_only=False)


async def status(database_url: str) -> SchemaStatus:
    """Where the database stands. Changes nothing and creates no file. Raises as `upgrade` does."""
    if is_sqlite(database_url):
        return _status_of(await asyncio.to_thread(_current_of_file, sqlite_path(database_url)))
    return await _run(database_url, lambda connection: _status_of(_current(connection)))


async def check(database_url: str) -> SchemaStatus:
    """The status of a database that this Relay can run on.

    Raises SchemaStale when steps are pending, and otherwise as `status` does.
    """
    found = await status(database_url)
    if found.pending:
        at = f"is at schema {found.current}" if found.current else "is empty"
        raise SchemaStale(f"the database {at}, this Relay needs schema {found.head}: run `relay db upgrade`")
    return found


async def look(database_url: str, fn: Callable[[Connection], T]) -> T:
    """What `fn` reads over a connection that cannot write. Raises as `status` does."""
    return await _run(database_url, fn)


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file: where the steps are and, for running them, the connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(STEPS.parent).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    return config


async def _run(database_url: str, fn: Callable[[Connection], T], *, read_only: bool = True) -> T:
    """`fn` on a connection of its own; whatever happens, the engine is disposed of and the process can end."""
    engine = open_engine(database_url, read_only=read_only)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(fn)
    except (DBAPIError, OSError, TimeoutError) as error:
        raise _unavailable(error) from error
    except Exception as error:
        if hasattr(error, "sqlstate"):  # asyncpg's own, raised while connecting: no such database, wrong password, …
            raise _unavailable(error) from error
        raise
    finally:
        await engine.dispose()


def _upgrade_sqlite(connection: Connection, wait_seconds: float) -> list[str]:
    connection.exec_driver_sql(f"PRAGMA busy_timeout={round(wait_seconds * 1000)}")
    # These two take effect only before the first page is written, and WAL writes it.
    connection.exec_driver_sql("PRAGMA page_size=4096")
    connection.exec_driver_sql("PRAGMA auto_vacuum=INCREMENTAL")
    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    connection.exec_driver_sql("PRAGMA synchronous=FULL")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    done = _upgrade(connection)
    connection.commit()
    return done


def _upgrade_postgresql(connection: Connection, wait_seconds: float) -> list[str]:
    # Bounds the wait for tables too: DDL that queues behind a long reader stops everybody behind itself.
    connection.exec_driver_sql(f"SET lock_timeout = {round(wait_seconds * 1000)}")
    connection.exec_driver_sql(f"SELECT pg_advisory_lock({LOCK_KEY})")
    connection.commit()  # the lock outlives it; the next transaction sees what the previous holder did
    done = _upgrade(connection)
    connection.commit()  # the lock goes with the connection
    return done


def _upgrade(connection: Connection) -> list[str]:
    """Do the pending steps inside the transaction that is open."""
    from alembic import command

    pending = _status_of(_current(connection)).pending
    if pending:
        command.upgrade(alembic_config(connection), "head")
    return list(pending)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    current: str | None = connection.exec_driver_sql(VERSION).scalar_one_or_none()
    return current


def _current_of_file(path: Path) -> str | None:
    """The same without an engine: every start of a relay asks, and importing an asynchronous engine takes 0.1 s."""
    if _is_missing(path):
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=CONNECT_SECONDS)) as file:
            if file.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (VERSION_TABLE,)).fetchone() is None:
                return None
            found = file.execute(VERSION).fetchone()
    except sqlite3.Error as error:
        raise _unavailable(error) from error
    return None if found is None else str(found[0])


def steps() -> list[str]:
    """The revisions that this Relay knows, oldest first: the numbers that the files of the steps begin with."""
    return sorted(path.name.partition("_")[0] for path in STEPS.glob("[0-9]*.py"))


def _status_of(current: str | None) -> SchemaStatus:
    known = steps()
    if current is None:
        pending = known
    elif current in known:
        pending = known[known.index(current) + 1 :]
    else:
        pending = []
    return SchemaStatus(current, known[-1], tuple(pending))


def _is_missing(path: Path) -> bool:
    return not path.exists()


def _create_file(path: Path) -> None:
    made = [each for each in (path.parent, *path.parent.parents) if not each.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        for directory in made:  # a directory is on stable storage only once the one above it is synced
            _sync(directory.parent)
    except OSError as error:
        raise StoreUnavailable(f"cannot create the database file {path}: {error.strerror}") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unavailable(error: Exception) -> StoreUnavailable:
    """A driver's error in words, without the statement and its values."""
    cause: BaseException = error.orig or error if isinstance(error, DBAPIError) else error
    if getattr(cause, "sqlstate", None) == LOCK_NOT_AVAILABLE or "database is locked" in str(cause):
        return StoreUnavailable("another process is upgrading or using this database: try again when it is done")
    return StoreUnavailable(f"the database cannot be used: {str(cause) or type(cause).__name__}")
