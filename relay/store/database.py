"""The database: what the rest of Relay reads and writes with, on SQLite (`sqlite.py`) or PostgreSQL (`postgres.py`).

Both run the same query functions, plain functions over a SQLAlchemy `Connection`; what differs is how they get one.
Nothing outside this folder sees SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection, exc

from relay.store.failures import raise_translated
from relay.store.sqlite import SqliteBackend
from relay.store.urls import DatabaseUrl
from relay.store.writer import Operation, Writer

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - In and Out of an operation
O = TypeVar("O")  # noqa: E741


class Backend(Protocol):
    """How one kind of database runs functions. Errors are already translated."""

    writers: int  # how many batches may be written side by side

    def transact(
        self, fn: Callable[[Connection], T], *, brief: bool = False, inserts_last: bool = False
    ) -> Awaitable[T]:
        """Run `fn` in one writing transaction; what it returns is there after COMMIT.
        `brief`: it is a few quick statements; `inserts_last`: what it inserts may be inserted when it has returned."""
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
            raise_translated(error)

    async def submit(self, operation: Operation[I, O], item: I) -> O:
        """Have `item` written together with its equals of the next batch; return its outcome after COMMIT."""
        return await self._writer.submit(operation, item)

    async def submit_patiently(self, operation: Operation[I, O], item: I) -> O:
        """Like `submit`, for what nobody waits for: it goes along with the next batch, within milliseconds."""
        return await self._writer.submit_patiently(operation, item)

    def post(self, operation: Operation[I, O], item: I, then: Callable[[O | None, Exception | None], None]) -> None:
        """Like `submit`, for who has no task to wait in: `then` is called after COMMIT, with the outcome or with None
        and the error. It must raise nothing. Raises StoreUnavailable when nothing is taken any more."""
        self._writer.post(operation, item, then)

    async def close(self) -> None:
        """Write what is queued, then let go of every connection."""
        await self._writer.close()
        await self._backend.close()


async def open_database(url: str, *, on_fatal: Callable[[], None] = lambda: None) -> Database:
    """Open a database whose schema is current.

    `on_fatal` is called (from any thread) when the file could not be synced: stop and start again.
    Raises AlreadyRunning when another process holds the SQLite file, SettingError for a URL that is none.
    """
    parsed = DatabaseUrl.parse(url)
    if not parsed.is_sqlite:
        from relay.store.postgres import PostgresBackend  # it brings the ORM along: 0.1 s that SQLite need not pay

        return Database(PostgresBackend(parsed.address), is_sqlite=False)
    return Database(SqliteBackend(parsed.path, on_fatal), is_sqlite=True)
