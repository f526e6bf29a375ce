from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from relay.clock import Instant
from relay.store import payloads, results
from relay.store.database import Database, open_database
from relay.store.schema import payload_chunks, spills
from tests.support.store import HOUR, NOW, count, hold_until


async def _spill(database: Database, payload_id: str, seq: int, data: bytes, now: Instant = NOW) -> None:
    await database.write(partial(payloads.spill, payload_id=payload_id, seq=seq, data=data, now=now))


async def test_pieces_come_back_as_one_payload_in_their_order(database: Database) -> None:
    pieces = [bytes([number]) * payloads.CHUNK_BYTES for number in range(12)]
    for number, piece in enumerate(pieces):
        await _spill(database, "pay_1", number, piece)
    assert await database.read(partial(results.payload, payload_id="pay_1")) == b"".join(pieces)
    assert await database.read(partial(results.chunk_sizes, payload_id="pay_1")) == [payloads.CHUNK_BYTES] * 12
    assert await database.read(partial(results.payload_chunk, payload_id="pay_1", seq=11)) == pieces[11]
    assert await database.read(partial(results.payload_chunk, payload_id="pay_1", seq=12)) is None


async def test_a_piece_is_written_once(database: Database) -> None:
    await _spill(database, "pay_1", 0, b"a")
    with pytest.raises(IntegrityError):
        await _spill(database, "pay_1", 0, b"b")
    assert await database.read(partial(results.payload, payload_id="pay_1")) == b"a"


async def test_what_nobody_owns_is_collected_when_it_is_old(database: Database) -> None:
    await _spill(database, "pay_old", 0, b"a")
    await _spill(database, "pay_old", 1, b"b", Instant(NOW + HOUR))  # the first piece says when it began
    await _spill(database, "pay_new", 0, b"c", Instant(NOW + HOUR))
    assert await database.write(partial(payloads.drop_orphans, before=NOW)) == 0
    assert await database.write(partial(payloads.drop_orphans, before=Instant(NOW + 1))) == 1
    assert await database.read(partial(results.payload, payload_id="pay_old")) == b""
    assert await database.read(partial(results.payload, payload_id="pay_new")) == b"c"


async def test_orphans_are_collected_a_few_at_a_time(database: Database) -> None:
    for number in range(5):
        await _spill(database, f"pay_{number}", 0, b"a")
    collect = partial(payloads.drop_orphans, before=Instant(NOW + 1), limit=2)
    assert [await database.write(collect) for _ in range(4)] == [2, 2, 1, 0]
    assert await count(database, payload_chunks) == 0


async def test_what_is_dropped_is_gone(database: Database) -> None:
    await _spill(database, "pay_1", 0, b"a")
    await database.write(partial(payloads.drop, payload_id="pay_1"))
    assert await count(database, payload_chunks) == await count(database, spills) == 0


async def test_what_has_an_owner_is_not_dropped(database: Database) -> None:
    """A worker that cannot know whether its settlement was committed may drop what it wrote."""
    await _spill(database, "pay_1", 0, b"a")
    await database.write(lambda c: c.execute(spills.delete()))
    await database.write(partial(payloads.drop, payload_id="pay_1"))
    assert await database.read(partial(results.payload, payload_id="pay_1")) == b"a"


async def test_a_payload_that_is_being_linked_this_moment_is_not_collected(migrated_postgres_url: str) -> None:
    one, two = await open_database(migrated_postgres_url), await open_database(migrated_postgres_url)
    await _spill(one, "pay_1", 0, b"a")
    linked, released, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def link_and_wait(connection: Connection) -> None:
        connection.execute(spills.delete().where(spills.c.payload_id == "pay_1"))
        loop.call_soon(linked.set)
        hold_until(connection, released)

    linking = asyncio.ensure_future(one.write(link_and_wait))
    await linked.wait()
    assert await two.write(partial(payloads.drop_orphans, before=Instant(NOW + HOUR))) == 0
    released.set()
    await linking
    assert await two.read(partial(results.payload, payload_id="pay_1")) == b"a"
    await one.close()
    await two.close()
