from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial

import asyncpg
import pytest
from sqlalchemy import Connection, text

from relay.errors import StoreUnavailable
from relay.store.database import Database, open_database
from relay.store.postgres import MORE_READERS, READERS
from tests.support.numbers import make_numbers, numbers, put_number
from tests.support.postgres import ExistingPostgres, PostgresServer, find_binaries

HELD = 4711  # a lock of this test alone
WAITING = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {HELD} AND NOT granted"


async def test_a_transaction_that_lost_a_deadlock_is_tried_again(migrated_postgres_url: str) -> None:
    one, two = await open_database(migrated_postgres_url), await open_database(migrated_postgres_url)
    await one.write(make_numbers)
    await one.write(partial(put_number, number=1))
    await one.write(partial(put_number, number=2))

    def lock(connection: Connection, first: int, second: int) -> int:
        query = text("SELECT n FROM numbers WHERE n = :n FOR UPDATE")
        connection.execute(query, {"n": first})
        connection.exec_driver_sql("SELECT pg_sleep(0.3)")
        return int(connection.execute(query, {"n": second}).scalar_one())

    calls = one.write(partial(lock, first=1, second=2)), two.write(partial(lock, first=2, second=1))
    assert list(await asyncio.gather(*calls)) == [2, 1]
    await one.close()
    await two.close()


async def test_who_reads_takes_no_connection_from_who_writes(migrated_postgres_url: str) -> None:
    """A dozen slow looks, and what came in was answered with 503."""
    database = await open_database(migrated_postgres_url)
    await database.write(make_numbers)
    holder = await asyncpg.connect(migrated_postgres_url.replace("+asyncpg", ""))
    await holder.execute(f"SELECT pg_advisory_lock({HELD})")
    reads = [asyncio.ensure_future(database.read(_look_that_waits)) for _ in range(24)]
    while await holder.fetchval(WAITING) < READERS + MORE_READERS:  # noqa: ASYNC110  # only the server knows
        await asyncio.sleep(0)
    await database.write(partial(put_number, number=1))
    assert not any(read.done() for read in reads)
    await holder.execute(f"SELECT pg_advisory_unlock({HELD})")
    await asyncio.gather(*reads)
    await holder.close()
    await database.close()


def _look_that_waits(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock_shared({HELD})")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that may be killed."""
    if not find_binaries():
        pytest.skip("no PostgreSQL binaries")
    with PostgresServer() as own:
        yield own


async def _until_written(database: Database, number: int) -> int:
    """Write `number`, however often it takes; how often it was refused."""
    refusals = 0
    while True:
        try:
            await asyncio.wait_for(database.write(partial(put_number, number=number)), 8)
            return refusals
        except StoreUnavailable:
            refusals += 1


async def test_postgresql_goes_away_and_comes_back(server: PostgresServer) -> None:
    database = await open_database(server.create_database())
    await database.write(make_numbers)
    await asyncio.gather(*(database.write(partial(put_number, number=number)) for number in range(20)))
    server.kill()
    for number in range(3):
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(database.write(partial(put_number, number=1000 + number)), 8)
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(database.read(numbers), 8)
    server.start()
    assert await _until_written(database, 20) <= 2
    server.restart_immediately()  # the pool is full of connections that are gone
    assert await _until_written(database, 21) <= 2
    assert await asyncio.wait_for(database.read(numbers), 8) == list(range(22))
    server.stop()
    await asyncio.wait_for(database.close(), 10)
    server.start()


async def test_what_postgresql_acknowledged_survives_its_death(server: PostgresServer) -> None:
    database = await open_database(server.create_database())
    await database.write(make_numbers)
    acknowledged: set[int] = set()
    busy = asyncio.Event()

    async def keep_writing(first: int) -> None:
        for number in range(first, first + 1000):
            try:
                await asyncio.wait_for(database.write(partial(put_number, number=number)), 8)
            except StoreUnavailable:
                return
            acknowledged.add(number)
            if len(acknowledged) == 500:
                busy.set()

    writers = [asyncio.ensure_future(keep_writing(first * 1000)) for first in range(16)]
    await asyncio.wait_for(busy.wait(), 20)
    server.kill()
    await asyncio.wait_for(asyncio.gather(*writers), 20)
    server.start()
    assert await _until_written(database, 1_000_000) <= 2
    assert acknowledged <= set(await database.read(numbers))
    await database.close()


async def test_a_database_that_is_not_there_is_unavailable(postgres_server: ExistingPostgres) -> None:
    database = await open_database(postgres_server.url("no_database_of_this_name"))
    with pytest.raises(StoreUnavailable):
        await database.read(numbers)
    with pytest.raises(StoreUnavailable):
        await database.write(make_numbers)
    await database.close()
