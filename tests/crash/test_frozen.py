from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import Connection, text

from relay.clock import Instant
from relay.errors import StoreUnavailable
from relay.store import postgres
from relay.store.database import Database, open_database
from relay.store.queue import claim, held
from relay.store.schema import jobs
from tests.support.postgres import ExistingPostgres
from tests.support.store import a_job, postgres_copy, put_jobs

LARGE = 64 * 1024


class Freezer:
    """A way to a server on which a client can be frozen in the middle of its next large message."""

    def __init__(self, port: int) -> None:
        self.frozen = asyncio.Event()
        self._port = port
        self._ways: set[asyncio.Task[None]] = set()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._ways.add(asyncio.create_task(self._carry(reader, there_writer, may_freeze=True)))
        self._ways.add(asyncio.create_task(self._carry(there_reader, writer, may_freeze=False)))

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, may_freeze: bool) -> None:
        try:
            while data := await source.read(LARGE):
                if may_freeze and len(data) == LARGE:
                    target.write(data[: LARGE // 2])
                    self.frozen.set()
                    await asyncio.Event().wait()
                target.write(data)
                await target.drain()
        except OSError:
            return
        finally:
            target.close()

    @asynccontextmanager
    async def listen(self, url: str) -> AsyncIterator[str]:
        """The same database by way of us."""
        server = await asyncio.start_server(self.join, "127.0.0.1", 0, limit=LARGE)
        port = server.sockets[0].getsockname()[1]
        parts = urlsplit(url)
        try:
            yield urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}"))
        finally:
            server.close()
            for way in self._ways:
                way.cancel()
            await asyncio.gather(*self._ways, return_exceptions=True)


def _lock_and_send_much(connection: Connection, job_id: str) -> None:
    assert set(held(connection, jobs, [(job_id, 1)])) == {job_id}
    connection.execute(text("SELECT length(CAST(:data AS text))"), {"data": "x" * (4 * 1024 * 1024)})


async def test_a_process_that_is_frozen_in_the_middle_of_a_message_does_not_keep_its_rows(
    postgres_server: ExistingPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "TRANSACTION_MILLISECONDS", 1_000)
    url = postgres_copy(postgres_server)
    port = urlsplit(url).port
    assert port is not None
    freezer = Freezer(port)
    job = a_job(due_at=Instant(0), lease_until=Instant(1), claims=1)
    other = await open_database(url)
    await put_jobs(other, job)
    async with freezer.listen(url) as slow_url:
        stopped = await open_database(slow_url)
        writing = asyncio.create_task(stopped.write(partial(_lock_and_send_much, job_id=job.id)))
        await freezer.frozen.wait()

        take = partial(claim, table=jobs, ids=[job.id], now=Instant(1_000), lease_until=Instant(2_000))
        assert await other.write(take) == []  # it is locked
        async with asyncio.timeout(10):
            await _until_claimed(other, take)
    assert isinstance((await asyncio.gather(writing, return_exceptions=True))[0], StoreUnavailable)
    await stopped.close()
    await other.close()


async def _until_claimed(other: Database, take: Callable[[Connection], list[Any]]) -> None:
    while not await other.write(take):  # noqa: ASYNC110 - it is the server that lets go, and it tells nobody
        await asyncio.sleep(0.05)
