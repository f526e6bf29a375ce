"""Answers that take their time: noticing that nobody waits for them any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request


@asynccontextmanager
async def given_up(request: Request, stopping: asyncio.Event) -> AsyncIterator[asyncio.Event]:
    """An event that is set once the caller has left or the relay stops. Only after the body has been read."""
    event = asyncio.Event()

    async def caller_left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        event.set()

    async def relay_stops() -> None:
        await stopping.wait()
        event.set()

    watching = [asyncio.ensure_future(caller_left()), asyncio.ensure_future(relay_stops())]
    try:
        yield event
    finally:
        for task in watching:
            task.cancel()
