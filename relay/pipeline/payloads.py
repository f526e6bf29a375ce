"""Bodies on their way into the store: kept in memory while small, written in pieces as they come when not."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from relay.clock import Clock, Instant
from relay.ids import new_id
from relay.store import payloads, results
from relay.store.database import Database
from relay.store.payloads import CHUNK_BYTES

IN_ROW_BYTES: Final = 128 * 1024
PAYLOAD: Final = "pay"
WRITES_AT_ONCE: Final = 2  # pieces in one batch: more would hold the writer for everybody else
READ_BACK_AT_ONCE: Final = 1  # large bodies in memory for judging


class Payloads:
    """Where bodies of any size go."""

    in_row_bytes = IN_ROW_BYTES

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._writes = asyncio.Semaphore(WRITES_AT_ONCE)
        self.reading = asyncio.Semaphore(READ_BACK_AT_ONCE)

    def now(self) -> Instant:
        """When it is: a payload's id begins with it."""
        return self._clock.now()

    async def store(self, body: bytes) -> str:
        """Write a whole body in pieces; its id. It is collected unless a row comes to own it."""
        payload_id = new_id(PAYLOAD, self._clock.now())
        for seq, start in enumerate(range(0, len(body), CHUNK_BYTES)):
            await self.write_piece(payload_id, seq, body[start : start + CHUNK_BYTES])
        return payload_id

    async def write_piece(self, payload_id: str, seq: int, data: bytes) -> None:
        """Write one piece, in a transaction that holds no more than another one of these."""
        async with self._writes:
            now = self._clock.now()
            await self._database.write(partial(payloads.spill, payload_id=payload_id, seq=seq, data=data, now=now))

    async def read(self, payload_id: str) -> bytes:
        """A payload as a whole."""
        return await self._database.read(partial(results.payload, payload_id=payload_id))

    async def pieces(self, spool: Spool) -> AsyncIterator[bytes]:
        """A body that has come in whole, piece by piece."""
        if spool.payload_id is None:
            yield spool.in_memory or b""
            return
        read = partial(results.payload_chunk, payload_id=spool.payload_id)
        seq = 0
        while (piece := await self._database.read(partial(read, seq=seq))) is not None:
            yield piece
            seq += 1

    async def beginning(self, payload_id: str) -> bytes:
        """Its first piece."""
        return await self._database.read(partial(results.payload_chunk, payload_id=payload_id, seq=0)) or b""

    async def drop(self, payload_id: str) -> None:
        """Forget a payload that will not be owned."""
        await self._database.write(partial(payloads.drop, payload_id=payload_id))

    def spool(self) -> Spool:
        """Somewhere to put a body that is coming in."""
        return Spool(self)


class Spool:
    """One body that is coming in: size and digest as it grows, memory for one piece."""

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads
        self._pending = bytearray()
        self._written = 0
        self._digest = hashlib.sha256()
        self.payload_id: str | None = None  # set once it is too large for memory
        self.size = 0

    async def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self._digest.update(data)
        self.size += len(data)
        self._pending += data
        while len(self._pending) > CHUNK_BYTES:
            await self._spill(CHUNK_BYTES)

    async def finish(self) -> None:
        """Write what is left of a body that did not stay in memory."""
        if self.payload_id is not None and self._pending:
            await self._spill(len(self._pending))

    async def _spill(self, size: int) -> None:
        if self.payload_id is None:
            self.payload_id = new_id(PAYLOAD, self._payloads.now())
        piece = bytes(self._pending[:size])
        del self._pending[:size]
        await self._payloads.write_piece(self.payload_id, self._written, piece)
        self._written += 1

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def in_memory(self) -> bytes | None:
        """The body, if all of it is here."""
        return bytes(self._pending) if self.payload_id is None else None

    async def discard(self) -> None:
        """The body is not wanted."""
        self._pending.clear()
        if self.payload_id is not None:
            await self._payloads.drop(self.payload_id)
            self.payload_id = None
