"""A subscriber that records what it is sent, checks every signature, and misbehaves on request."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from relay.clock import Clock, Instant, SystemClock
from relay.demo.local import LocalServer
from relay.errors import SignatureError
from relay.model import Secret
from relay.signing import standard_webhooks

REMEMBERED_MESSAGES: Final = 10_000
CHUNK: Final = b"x" * 65_536


@dataclass(slots=True, kw_only=True)
class Knobs:
    """How the subscriber answers from now on; change them while it runs."""

    status: int = 200
    statuses: list[int] = field(default_factory=list)  # answered first, one each, in this order
    answer_seconds: float | None = 0.0  # how long it keeps the caller waiting; None = for ever
    headers: Mapping[str, str] = field(default_factory=dict)  # for `location`, `retry-after`
    body_bytes: int = 2  # of the answer


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery as it arrived."""

    at: Instant
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    verified: bool | None  # None = no secret is known for this path
    answered: int

    @property
    def message_id(self) -> str:
        return self.headers.get("webhook-id", "")


class Sink:
    """The subscriber; an asynchronous context manager that listens on 127.0.0.1."""

    def __init__(
        self,
        *,
        knobs: Knobs | None = None,
        clock: Clock | None = None,
        port: int = 0,
        path: str = "/{path:path}",
        remembers: int = REMEMBERED_MESSAGES,
    ) -> None:
        self.knobs = knobs or Knobs()
        self.messages: deque[Message] = deque(maxlen=remembers)
        self.received = 0  # all messages, also those that are forgotten
        self.counts: Counter[str] = Counter()  # messages by answered status, `verified`, `forged`
        self._keys: dict[str, tuple[bytes, ...]] = {}
        self._clock = clock or SystemClock()
        self._arrived = asyncio.Condition()
        self._server = LocalServer(Starlette(routes=[Route(path, self._receive, methods=["POST"])]), port=port)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def held(self) -> asyncio.Event:
        """Set once an answer has been held back by `answer_seconds`."""
        return self._server.held

    async def __aenter__(self) -> Sink:
        await self._server.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._server.stop()

    def trust(self, path: str, *secrets: Secret) -> None:
        """Check what comes to `path` (with its leading slash) by any of these signing secrets. Raises ValueError."""
        self._keys[path] = tuple(standard_webhooks.decode_secret(secret) for secret in secrets)

    async def wait_for(self, count: int, *, seconds: float = 30.0) -> list[Message]:
        """The messages so far, once there are `count` of them. Raises TimeoutError."""
        async with asyncio.timeout(seconds), self._arrived:
            await self._arrived.wait_for(lambda: self.received >= count)
        return list(self.messages)

    async def after(self, seen: int) -> list[Message]:
        """The messages after the first `seen`, as soon as there is one, however long that takes."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: self.received > seen)
        return list(self.messages)[seen - self.received :]

    async def _receive(self, request: Request) -> Response:
        body = await request.body()
        at = self._clock.now()
        headers = {name.lower(): value for name, value in request.headers.items()}
        status = self.status_for(headers, body)
        path = request.url.path
        message = Message(at, path, headers, body, self._verified(path, headers, body, at), status)
        async with self._arrived:
            self.messages.append(message)
            self.received += 1
            self.counts[str(status)] += 1
            if message.verified is not None:
                self.counts["verified" if message.verified else "forged"] += 1
            self._arrived.notify_all()
        if self.knobs.answer_seconds != 0:
            await self._server.pause(self.knobs.answer_seconds)
        return self._answer(status)

    def status_for(self, headers: Mapping[str, str], body: bytes) -> int:
        """How a message that has come is answered."""
        return self.knobs.statuses.pop(0) if self.knobs.statuses else self.knobs.status

    def _answer(self, status: int) -> Response:
        headers = dict(self.knobs.headers)
        if self.knobs.body_bytes <= len(CHUNK):
            return Response(CHUNK[: self.knobs.body_bytes], status, headers, media_type="text/plain")
        return StreamingResponse(_many_bytes(self.knobs.body_bytes), status, headers, media_type="text/plain")

    def _verified(self, path: str, headers: Mapping[str, str], body: bytes, now: Instant) -> bool | None:
        keys = self._keys.get(path)
        if keys is None:
            return None
        try:
            standard_webhooks.verify(headers, body, keys, now)
        except SignatureError:
            return False
        return True


async def _many_bytes(count: int) -> AsyncIterator[bytes]:
    for start in range(0, count, len(CHUNK)):
        yield CHUNK[: count - start]
