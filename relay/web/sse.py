"""Server-sent events: an answer that goes on until its caller leaves, the relay stops, or its source ends.

Nothing is buffered here: the next event is made when the last one was taken. A peer that takes nothing for twenty
seconds is dropped by the connection itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relay.web.leaving import given_up

CONTENT_TYPE: Final = "text/event-stream"
HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}  # a proxy must not gather it
HEARTBEAT: Final = b": still here\n\n"


@dataclass(slots=True)
class Streams:
    """How many are open in this process, and how many may be."""

    most: int = 64
    open: int = 0


def event(name: str, data: object, *, id: str | None = None) -> bytes:
    """One event on the wire."""
    head = f"event: {name}\n" if id is None else f"id: {id}\nevent: {name}\n"
    return head.encode() + b"data: " + orjson.dumps(data) + b"\n\n"


class EventStream(Response):
    """What `source` makes until the event that it is given is set, then whatever it says last."""

    def __init__(
        self, request: Request, stopping: asyncio.Event, source: Callable[[asyncio.Event], AsyncIterator[bytes]]
    ) -> None:
        super().__init__(None, 200, HEADERS, CONTENT_TYPE)
        del self.headers["content-length"]
        self._request = request
        self._stopping = stopping
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            async with given_up(self._request, self._stopping) as ended:
                async for part in self._source(ended):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
