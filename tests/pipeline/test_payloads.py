"""Bodies on their way into the store."""

from __future__ import annotations

import hashlib
import os

import pytest

from relay.store import schema
from relay.store.payloads import CHUNK_BYTES
from tests.support.stage import Stage
from tests.support.store import count, rows_of


async def _spooled(stage: Stage, body: bytes, piece: int) -> tuple[str | None, bytes | None, str, int]:
    spool = stage.floor.payloads.spool()
    for start in range(0, len(body), piece):
        await spool.add(body[start : start + piece])
    await spool.finish()
    return spool.payload_id, spool.in_memory, spool.sha256, spool.size


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES])
async def test_a_small_body_stays_in_memory(sqlite_stage: Stage, size: int) -> None:
    body = os.urandom(size)
    payload_id, in_memory, sha256, length = await _spooled(sqlite_stage, body, 10_000)
    assert (payload_id, in_memory, length) == (None, body, size)
    assert sha256 == hashlib.sha256(body).hexdigest()
    assert await count(sqlite_stage.database, schema.spills) == 0


@pytest.mark.parametrize("size", [CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 17])
@pytest.mark.parametrize("piece", [1000, 65_536, 4 * CHUNK_BYTES])
async def test_a_large_body_is_written_in_pieces_and_read_back_whole(stage: Stage, size: int, piece: int) -> None:
    body = os.urandom(size)
    payload_id, in_memory, sha256, length = await _spooled(stage, body, piece)
    assert payload_id is not None and in_memory is None and length == size
    assert sha256 == hashlib.sha256(body).hexdigest()
    assert await stage.floor.payloads.read(payload_id) == body
    rows = await rows_of(stage.database, schema.payload_chunks)
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    assert max(len(row["data"]) for row in rows) <= 256 * 1024


async def test_what_is_not_wanted_leaves_nothing(stage: Stage) -> None:
    spool = stage.floor.payloads.spool()
    await spool.add(b"x" * 3 * CHUNK_BYTES)
    assert await count(stage.database, schema.payload_chunks) == 2
    await spool.discard()
    assert await count(stage.database, schema.payload_chunks) == 0
    assert await count(stage.database, schema.spills) == 0


async def test_a_whole_body_is_stored_at_once(stage: Stage) -> None:
    body = os.urandom(CHUNK_BYTES + 5)
    assert await stage.floor.payloads.read(await stage.floor.payloads.store(body)) == body
