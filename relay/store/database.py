"""The database: engines, connections, and every difference between SQLite and PostgreSQL.

Both run the same query functions, plain functions over a SQLAlchemy `Connection`. What differs is how they get one:

    SQLite      one writer connection on a thread of its own, which also checkpoints (no second connection ever does:
                that closes the WAL-reset hole of SQLite < 3.51.3); readers are read-only connections on threads
    PostgreSQL  asyncpg; a batch takes a connection from the pool

Nothing outside this folder sees SQLAlchemy.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool, StaticPool

from relay.errors import SettingError, StoreUnavailable
from relay.store.bulk import raw
from relay.store.failures import LostRace, is_fatal, transaction_stands, translate
from relay.store.lock import FileLock
from relay.store.urls import DatabaseUrl
from relay.store.writer import Operation, Writer

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - In and Out of an operation
O = TypeVar("O")  # noqa: E741

WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # kept in the file, but not in a backup that VACUUM INTO made
    "PRAGMA synchronous = FULL",  # an fsync per commit: what a 2xx promises (NORMAL makes none)
    "PRAGMA busy_timeout = 5000",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -32768",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)
READER_PRAGMAS = ("PRAGMA query_only = ON", "PRAGMA busy_timeout = 5000", "PRAGMA trusted_schema = OFF")
SQLITE_READERS = 3
RACES = 3  # how often a transaction is tried that PostgreSQL rolls back in favour of another one

POSTGRES_SETTINGS = {
    "application_name": "relay",
    "statement_timeout": "30000",
    "idle_in_transaction_session_timeout": "10000",  # a held snapshot bloats everything
    "tcp_user_timeout": "10000",
    "tcp_keepalives_idle": "10",  # a client that vanished in the middle of a message holds its row locks until noticed
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "jit": "off",
}
# A process that was stopped in the middle of a message is neither idle nor ended by statement_timeout, and keeps its
# row locks: only this ends its transaction, so that others can take its work over. PostgreSQL has it since 17.
TRANSACTION_MILLISECONDS = 15_000


class Backend(Protocol):
    """How one kind of database runs functions. Errors are already translated."""

    writers: int  # how many batches may be written side by side

    async def transact(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in one writing transaction; return after COMMIT."""
        ...

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in one read-only transaction."""
        ...

    async def close(self) -> None: ...


class Database:
    """What the rest of Relay knows of the store: read, write, submit."""

    def __init__(self, backend: Backend, *, is_sqlite: bool) -> None:
        self.is_sqlite = is_sqlite  # one process owns the file: it alone claims, and nobody else's hints are needed
        self._backend = backend
        self._writer = Writer(backend.transact, lanes=backend.writers)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` in a read-only transaction. Raises StoreUnavailable."""
        return await self._backend.read(fn)

    async def write(self, fn: Callable[[Connection], T]) -> T:
        """Run `fn` under a savepoint of the next batch; return what it returned, after COMMIT.

        Raises what `fn` raised (the batch goes on without it), or StoreUnavailable: nothing is known to be durable.
        `fn` may be run again, in another transaction, when the first one was undone.
        """
        try:
            return await self._writer.write(fn)
        except exc.DBAPIError as error:  # of `fn` alone, under its savepoint
            _raise_translated(error)

    async def submit(self, operation: Operation[I, O], item: I) -> O:
        """Have `item` written together with its equals of the next batch; return its outcome after COMMIT."""
        return await self._writer.submit(operation, item)

    async def submit_patiently(self, operation: Operation[I, O], item: I) -> O:
        """Like `submit`, for what nobody waits for: it goes along with the next batch, within milliseconds."""
        return await self._writer.submit_patiently(operation, item)

    async def close(self) -> None:
        """Write what is queued, then let go of every connection."""
        await self._writer.close()
        await self._backend.close()


# --- SQLite ----------------------------------------------------------------------------------------------------------


class SqliteBackend:
    """One file, one process, one writer."""

    writers = 1

    def __init__(self, path: str, on_fatal: Callable[[], None]) -> None:
        path = os.path.abspath(path)
        self._lock = FileLock.acquire(f"{os.path.realpath(path)}.lock")  # a link to the file is the same file
        self._on_fatal = on_fatal
        self._broken = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="relay-writer")
        self._writer = _sqlite_writer(path)
        self._reading = ThreadPoolExecutor(max_workers=SQLITE_READERS, thread_name_prefix="relay-reader")
        self._readers = _sqlite_readers(path)

    async def transact(self, fn: Callable[[Connection], T]) -> T:
        if self._broken:
            raise StoreUnavailable("the database file failed to sync; Relay must be restarted")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, fn)

    def _run(self, fn: Callable[[Connection], T]) -> T:
        try:
            with self._writer.begin() as connection:
                outcome = fn(connection)
                if not transaction_stands(connection):
                    raise StoreUnavailable("SQLite undid the transaction")
                return outcome
        except Exception as error:
            if is_fatal(error):
                self._broken = True
                self._on_fatal()
            _raise_translated(error)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._read, fn)

    def _read(self, fn: Callable[[Connection], T]) -> T:
        try:
            with self._readers.begin() as connection:
                return fn(connection)
        except Exception as error:
            _raise_translated(error)

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reading, self._readers.dispose)
        await loop.run_in_executor(self._thread, self._writer.dispose)
        self._reading.shutdown()
        self._thread.shutdown()
        self._lock.release()


def _sqlite_writer(path: str) -> Engine:
    def dial() -> sqlite3.Connection:
        # isolation_level=None: or the driver starts (and forgets to start) transactions by itself
        return sqlite3.connect(f"{uri}?mode=rw", uri=True, check_same_thread=False, timeout=5, isolation_level=None)

    uri = Path(path).as_uri()
    engine = create_engine("sqlite+pysqlite://", creator=dial, poolclass=StaticPool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in WRITER_PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        raw(connection, "BEGIN IMMEDIATE")

    return engine


def _sqlite_readers(path: str) -> Engine:
    def dial() -> sqlite3.Connection:
        return sqlite3.connect(f"{uri}?mode=ro", uri=True, check_same_thread=False, timeout=5, isolation_level=None)

    uri = Path(path).as_uri()
    engine = create_engine(
        "sqlite+pysqlite://",
        creator=dial,
        poolclass=QueuePool,
        pool_size=SQLITE_READERS,
        max_overflow=0,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in READER_PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        raw(connection, "BEGIN")  # plain: a reader never takes the write lock

    return engine


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


class PostgresBackend:
    """Any number of processes on one server."""

    writers = 2

    def __init__(self, address: str) -> None:
        try:
            import asyncpg
        except ImportError:
            raise SettingError(
                "RELAY_DATABASE_URL: PostgreSQL needs one more package: pip install 'relay-webhooks[postgres]'"
            ) from None

        async def dial() -> Any:
            # asyncpg reads the address itself, so that libpq's options (sslmode, host=/socket, …) mean what they do
            settings = dict(POSTGRES_SETTINGS)
            connection = await asyncpg.connect(address, timeout=5, command_timeout=30, server_settings=settings)
            if connection.get_server_version().major >= 17:
                await connection.execute(f"SET transaction_timeout = {TRANSACTION_MILLISECONDS}")
            return connection

        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=dial,
            pool_size=8,
            max_overflow=4,
            pool_timeout=5,
            pool_recycle=1800,
            hide_parameters=True,
        )
        self._readers = self._engine.execution_options(postgresql_readonly=True)

    async def transact(self, fn: Callable[[Connection], T]) -> T:
        for _ in range(RACES - 1):
            try:
                return await _run_async(self._engine, fn)
            except LostRace:
                continue
        return await _run_async(self._engine, fn)

    async def read(self, fn: Callable[[Connection], T]) -> T:
        try:
            return await _run_async(self._readers, fn)
        except StoreUnavailable:  # after a restart of the server the pool's connections are gone: a new one may be had
            return await _run_async(self._readers, fn)

    async def close(self) -> None:
        await self._engine.dispose()


async def _run_async(engine: AsyncEngine, fn: Callable[[Connection], T]) -> T:
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(fn)
    except Exception as error:
        _raise_translated(error)


def _raise_translated(error: Exception) -> NoReturn:
    ours = translate(error)
    if ours is error:
        raise error  # not `from` itself: whoever follows the causes would never arrive
    raise ours from error


async def open_database(url: str, *, on_fatal: Callable[[], None] = lambda: None) -> Database:
    """Open a database whose schema is current.

    `on_fatal` is called (from any thread) when the file could not be synced: stop and start again.
    Raises AlreadyRunning when another process holds the SQLite file, SettingError for a URL that is none.
    """
    parsed = DatabaseUrl.parse(url)
    if not parsed.is_sqlite:
        return Database(PostgresBackend(parsed.address), is_sqlite=False)
    return Database(SqliteBackend(parsed.path, on_fatal), is_sqlite=True)
