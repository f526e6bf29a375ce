"""Answers that take their time: noticing that nobody waits for them any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import Request

T = TypeVar("T")


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


async def unless_given_up(request: Request, stopping: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """What the work brings; None when the caller has left or the relay stops before: then it is cancelled."""
    async with given_up(request, stopping) as nobody_waits:
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(nobody_waits.wait())
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            working.cancel()
            leaving.cancel()
