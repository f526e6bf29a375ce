"""The world outside as plain functions, in place of the two doors: what a provider answers, what subscribers say."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from relay.clock import Clock, Instant
from relay.errors import OutboundError
from relay.outbound.deliveries import DeliveryDoor, Reply
from relay.outbound.provider_door import ProviderAnswer, ProviderDoor, ProviderRequest

DONE = b'{"traceID": "t-1", "response": {"text": "hello"}}'


@dataclass(frozen=True)
class Page:
    """What a provider answers."""

    status: int = 200
    body: bytes = DONE
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    broken: OutboundError | None = None  # raised after the body


Answering = Callable[[ProviderRequest], Awaitable[Page]]


class PlainProvider(ProviderDoor):
    """A provider that is a function. Raises what that raises, as the door would."""

    def __init__(self, answering: Answering | None = None) -> None:
        self.answering = answering or answer_with(Page())
        self.requests: list[ProviderRequest] = []

    @asynccontextmanager
    async def stream(self, request: ProviderRequest) -> AsyncIterator[ProviderAnswer]:
        self.requests.append(request)
        page = await self.answering(request)
        headers = {name.lower(): value for name, value in page.headers.items()}
        yield ProviderAnswer(page.status, headers, _pieces(page), request.max_decoded_bytes)


async def _pieces(page: Page) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(page.body), 65_536):
        yield page.body[start : start + 65_536]
    if page.broken is not None:
        raise page.broken


def answer_with(*pages: Page | OutboundError) -> Answering:
    """One after the other, the last for ever."""
    left = list(pages)

    async def answering(request: ProviderRequest) -> Page:
        page = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(page, OutboundError):
            raise page
        return page

    return answering


@dataclass(frozen=True)
class Sent:
    """One POST to a subscriber."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    at: Instant
    timeout_seconds: float = 30.0

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found


def reply(status: int | None = 200, *, retry_after: str | None = None, error: str | None = None) -> Reply:
    """What the door makes of a subscriber's answer."""
    return Reply(status, retry_after, None, error, 5)


Subscribing = Callable[[Sent], Awaitable[Reply]]


class PlainSubscribers(DeliveryDoor):
    """All subscribers as one function; remembers what was sent."""

    def __init__(self, clock: Clock) -> None:
        self._own_clock = clock
        self.sent: list[Sent] = []
        self.answering: Subscribing | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float = 30.0) -> Reply:
        sent = Sent(url, body, headers, self._own_clock.now(), timeout_seconds)
        self.sent.append(sent)
        return reply() if self.answering is None else await self.answering(sent)

    def answer(self, *replies: Reply) -> None:
        """One after the other, the last for ever."""
        left = list(replies)

        async def answering(sent: Sent) -> Reply:
            return left.pop(0) if len(left) > 1 else left[0]

        self.answering = answering
