"""The few calls of the public API that the demo makes, each with how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from relay.clock import Clock
from relay.model import Secret


class DemoFailed(Exception):
    """The demo could not go on; the message is for the person in front of it."""


@dataclass(frozen=True)
class Answer:
    """What the relay said."""

    status: int
    took_ms: float
    body: dict[str, Any]


class Api:
    """The management API of one relay."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: Secret, clock: Clock) -> None:
        self._session = session
        self._url = url
        self._key = key
        self._clock = clock

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        """The body of an answer to GET. Raises DemoFailed."""
        return (await self._call("GET", path, params=query)).body

    async def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Create something. Raises DemoFailed."""
        return await self._call("POST", path, data=orjson.dumps(body))

    async def _call(self, method: str, path: str, **more: Any) -> Answer:
        headers = {"authorization": f"Bearer {self._key.reveal()}", "content-type": "application/json"}
        started = self._clock.monotonic()
        try:
            async with self._session.request(method, self._url + path, headers=headers, **more) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DemoFailed(f"{method} {path} brought no answer: {type(error).__name__}") from None
        if answer.status >= 400:
            raise DemoFailed(f"{method} {path} answered {answer.status}: {body[:300].decode(errors='replace')}")
        return Answer(answer.status, (self._clock.monotonic() - started) * 1000, orjson.loads(body or b"{}"))
