"""SQLite as the store: one file, one process, one writer.

The statements of a batch run on the event loop's own thread, its COMMIT with the fsync on another. On a thread of their
own each of them would give the interpreter lock away and have to win it back from the busy loop, twenty times a batch.
Only the long inserts of a very large batch are worth that: they go along with its COMMIT.
BEGIN and COMMIT go to the driver. For SQLAlchemy, whose own cost more than all else of a small batch, it is one long
transaction, which ends when it has to be undone.
What may take long (functions of their own, much data, a disk that has just been slow) runs on the writer's thread as a
whole. The writer also checkpoints, no second connection ever does: that closes the WAL-reset hole of SQLite < 3.51.3.
Readers are read-only connections on threads.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool, StaticPool

from relay.clock import SystemClock
from relay.errors import StoreUnavailable
from relay.store.bulk import SQLITE_STATEMENTS, dbapi_errors, forget_what_waits, insert_what_waits, put_off_inserts, raw
from relay.store.failures import is_fatal, is_locked, raise_translated, transaction_stands
from relay.store.lock import FileLock

T = TypeVar("T")

monotonic: Final = SystemClock().monotonic
STRANGERS_MILLISECONDS: Final = 5000
WRITER_PRAGMAS = (
    "PRAGMA journal_mode = WAL",  # kept in the file, but not in a backup that VACUUM INTO made
    "PRAGMA synchronous = FULL",  # an fsync per commit: what a 2xx promises (NORMAL makes none)
    f"PRAGMA busy_timeout = {STRANGERS_MILLISECONDS}",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA cache_size = -16384",
    "PRAGMA temp_store = MEMORY",  # statements that may be undone half-way keep a journal: a file each otherwise
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)
READER_PRAGMAS = ("PRAGMA query_only = ON", "PRAGMA busy_timeout = 5000", "PRAGMA trusted_schema = OFF")
READERS: Final = 3

SLOW_SECONDS: Final = 0.025  # longer than this the event loop must not stand still
SLOW_REST: Final = 64  # transactions that run on the writer's thread after one that was


# The driver looks for an adapter of each value that is no int, str or float, by names that bytes, None and bool do not
# have: half a microsecond each under the interpreter lock, twenty times a notification. With these it need not look.
_NULL: Final[dict[None, str]] = {}  # gives None for None
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), _NULL.get)
sqlite3.register_adapter(bool, int)


class SqliteBackend:
    """See the module."""

    writers = 1

    def __init__(self, path: str, on_fatal: Callable[[], None]) -> None:
        path = os.path.abspath(path)
        self._lock = FileLock.acquire(f"{os.path.realpath(path)}.lock")  # a link to the file is the same file
        self._on_fatal = on_fatal
        self._broken = False
        self._aside = 0  # so many transactions more are kept off the loop's thread
        self._waits = True  # whether BEGIN waits for a stranger who holds the file's write lock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="relay-writer", initializer=_tighten_timers)
        self._engine = _writer(path)
        self._connection = self._engine.connect()
        self._file: sqlite3.Connection = self._connection.connection.dbapi_connection  # type: ignore[assignment] # the driver's own
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="relay-reader", initializer=_tighten_timers)
        self._readers = _readers(path)
        self._reader = threading.local()
        self._reader_connections: list[Connection] = []

    def transact(
        self, fn: Callable[[Connection], T], *, brief: bool = False, inserts_last: bool = False
    ) -> Awaitable[T]:
        if self._broken:
            raise StoreUnavailable("the database file failed to sync; Relay must be restarted")
        loop = asyncio.get_running_loop()
        if not brief or self._aside:
            self._aside = max(0, self._aside - 1)
            return loop.run_in_executor(self._thread, self._run, fn)
        began = monotonic()  # the loop's own clock stands still while it is not the loop's turn
        try:
            self._wait_for_strangers(False)
            outcome = self._execute(fn, inserts_last=inserts_last)
        except _Locked:
            return loop.run_in_executor(self._thread, self._run, fn)
        if monotonic() - began > SLOW_SECONDS:
            self._aside = SLOW_REST
        return self._committed(loop.run_in_executor(self._thread, self._finish), outcome)

    async def _committed(self, finished: Awaitable[None], outcome: T) -> T:
        try:
            await finished
        except Exception as error:
            self._fail(error)
        return outcome

    def _finish(self) -> None:
        """What is left of a transaction, on the writer's thread: inserts that were put off, and the COMMIT."""
        insert_what_waits(self._connection)
        self._commit()

    def _commit(self) -> None:
        if not self._file.in_transaction:
            raise StoreUnavailable("SQLite undid the transaction")
        with dbapi_errors(self._connection, "COMMIT"):
            self._file.commit()

    def _run(self, fn: Callable[[Connection], T]) -> T:
        """A whole transaction, on the writer's thread."""
        self._wait_for_strangers(True)
        outcome = self._execute(fn)
        try:
            self._commit()
        except Exception as error:
            self._fail(error)
        return outcome

    def _execute(self, fn: Callable[[Connection], T], *, inserts_last: bool = False) -> T:
        """Everything but the COMMIT, and the inserts if they come last. What is raised has undone it."""
        if not self._connection.in_transaction():
            self._connection.begin()
        try:
            raw(self._connection, "BEGIN IMMEDIATE")
        except Exception as error:
            if not self._waits and is_locked(error):
                raise _Locked from None
            self._fail(error)
        if inserts_last:
            put_off_inserts(self._connection)
        try:
            outcome = fn(self._connection)
            if not transaction_stands(self._connection):
                raise StoreUnavailable("SQLite undid the transaction")
        except Exception as error:
            self._fail(error)
        return outcome

    def _fail(self, error: Exception) -> NoReturn:
        try:
            self._undo()
        except Exception as again:  # after an I/O error this fails in a way of its own
            again.__cause__, error = error, again
        if is_fatal(error):
            self._broken = True
            self._on_fatal()
        raise_translated(error)

    def _undo(self) -> None:
        forget_what_waits(self._connection)
        if (transaction := self._connection.get_transaction()) is not None:
            transaction.rollback()
        if self._file.in_transaction:
            self._file.rollback()

    def _wait_for_strangers(self, waits: bool) -> None:
        """Somebody else may hold the write lock (a shell, a backup): the event loop does not wait for them."""
        if waits is not self._waits:
            self._file.execute(f"PRAGMA busy_timeout = {STRANGERS_MILLISECONDS if waits else 0}")
            self._waits = waits

    async def read(self, fn: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._read, fn)

    def _read(self, fn: Callable[[Connection], T]) -> T:
        try:
            return self._read_with(getattr(self._reader, "connection", None) or self._begin_reading(), fn)
        except Exception as error:
            raise_translated(error)

    def _read_with(self, connection: Connection, fn: Callable[[Connection], T]) -> T:
        raw(connection, "BEGIN")  # plain: a reader never takes the write lock
        try:
            return fn(connection)
        finally:
            connection.connection.rollback()

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._close_readers)
        await loop.run_in_executor(self._thread, self._close_writer)
        self._thread.shutdown()
        self._lock.release()

    def _begin_reading(self) -> Connection:
        """A connection for this thread; for SQLAlchemy in one long transaction, as the writer's."""
        connection = self._readers.connect()
        connection.begin()
        self._reader.connection = connection
        self._reader_connections.append(connection)
        return connection

    def _close_readers(self) -> None:
        self._reading.shutdown()
        for connection in self._reader_connections:
            connection.close()
        self._readers.dispose()

    def _close_writer(self) -> None:
        self._connection.close()
        self._engine.dispose()


class _Locked(Exception):
    """A stranger holds the file's write lock: nothing was done."""


def _tighten_timers() -> None:
    """Let this thread's timed waits end on time: Linux may add 50 µs. The wait for the interpreter lock is one, and
    shorter than that (`SWITCH_SECONDS` of `relay.app.run`)."""
    with suppress(OSError):  # another system, or a container without the file: it waits a little longer
        Path(f"/proc/{threading.get_native_id()}/timerslack_ns").write_text("1000")


def _writer(path: str) -> Engine:
    def dial() -> sqlite3.Connection:
        # isolation_level=None: or the driver starts (and forgets to start) transactions by itself
        return sqlite3.connect(
            f"{uri}?mode=rw",
            uri=True,
            check_same_thread=False,
            timeout=5,
            isolation_level=None,
            cached_statements=SQLITE_STATEMENTS,
        )

    uri = Path(path).as_uri()
    engine = create_engine("sqlite+pysqlite://", creator=dial, poolclass=StaticPool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in WRITER_PRAGMAS:
            connection.execute(pragma)

    return engine


def _readers(path: str) -> Engine:
    def dial() -> sqlite3.Connection:
        return sqlite3.connect(f"{uri}?mode=ro", uri=True, check_same_thread=False, timeout=5, isolation_level=None)

    uri = Path(path).as_uri()
    engine = create_engine(
        "sqlite+pysqlite://", creator=dial, poolclass=QueuePool, pool_size=READERS, max_overflow=0, hide_parameters=True
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in READER_PRAGMAS:
            connection.execute(pragma)

    return engine
