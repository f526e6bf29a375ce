"""PostgreSQL as the store: any number of processes on one server, through asyncpg."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from relay.errors import SettingError, StoreUnavailable
from relay.store.failures import LostRace, raise_translated

T = TypeVar("T")

READERS, MORE_READERS = 6, 4  # with the writers', twelve connections at most
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


class PostgresBackend:
    """See the module."""

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

        # Connections of its own for each writer: what comes in is not refused because people look at much.
        self._engine = _pool(dial, self.writers, 0)
        self._reading = _pool(dial, READERS, MORE_READERS)
        self._readers = self._reading.execution_options(postgresql_readonly=True)

    async def transact(self, fn: Callable[[Connection], T], *, brief: bool = False, inserts_last: bool = False) -> T:
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
        await self._reading.dispose()


def _pool(dial: Callable[[], Awaitable[Any]], size: int, more: int) -> AsyncEngine:
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=dial,
        pool_size=size,
        max_overflow=more,
        pool_timeout=5,
        pool_recycle=1800,
        hide_parameters=True,
    )


async def _run_async(engine: AsyncEngine, fn: Callable[[Connection], T]) -> T:
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(fn)
    except Exception as error:
        raise_translated(error)
