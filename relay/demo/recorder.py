"""What came in and what was sent: the record that tests read, and the demo's timeline."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from starlette.requests import Request

from relay.clock import Clock, Instant

REMEMBERED: Final = 10_000
CALLBACK_SECONDS: Final = 10.0
CREDENTIAL_HEADERS: Final = ("authorization", "proxy-authorization", "x-api-key", "cookie")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came in, and how it was answered."""

    at: Instant
    method: str
    path: str
    authorized: bool
    status: int
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)  # names in lower case

    @property
    def credentials(self) -> tuple[str, ...]:
        """The names of the headers that carried any."""
        return tuple(name for name in CREDENTIAL_HEADERS if name in self.headers)


@dataclass(frozen=True, slots=True)
class Called:
    """One notification that was sent, and what came back; status 0 = nothing."""

    status: int
    took_ms: float
    at: Instant
    job_id: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class Recorder:
    """The newest requests and calls, and counts of all of them."""

    def __init__(self, clock: Clock) -> None:
        self.requests: deque[Asked] = deque(maxlen=REMEMBERED)
        self.callbacks: deque[Called] = deque(maxlen=REMEMBERED)
        self.counts: Counter[str] = Counter()
        self.watchers: list[Callable[[Asked], None]] = []  # told of every request, also of those that are forgotten
        self._clock = clock
        self._counted = asyncio.Event()

    def asked(self, request: Request, *, authorized: bool, status: int) -> None:
        """Note a request as it was answered."""
        url, headers = request.url, {name.lower(): value for name, value in request.headers.items()}
        now = self._clock.now()
        noted = Asked(now, request.method, url.path, authorized, status, url.query, headers)
        self.requests.append(noted)
        for watcher in self.watchers:
            watcher(noted)
        if not authorized:
            self.count("unauthorized")
        self.count(str(status))

    def called(self, called: Called) -> None:
        """Note a notification."""
        self.callbacks.append(called)
        self.count("notified" if 200 <= called.status < 300 else "notify_failed")

    def count(self, name: str) -> None:
        """One more of these."""
        self.counts[name] += 1
        self._counted.set()

    async def wait_for(self, name: str, number: int, *, seconds: float = 30.0) -> None:
        """Return once so many are counted, by the machine's own time. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while self.counts[name] < number:
                self._counted.clear()
                await self._counted.wait()


class Caller:
    """Sends notifications."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Needs a running loop."""
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    async def stop(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, job_id: str, body: bytes, headers: Mapping[str, str]) -> Called:
        """Send one; the answer's status is 0 when there is none."""
        assert self._session is not None, "start the stand-in first"
        sent = {"content-type": "application/json", **headers}
        at, started = self._clock.now(), self._clock.monotonic()
        limit = aiohttp.ClientTimeout(total=CALLBACK_SECONDS)
        try:
            async with self._session.post(url, data=body, headers=sent, timeout=limit, allow_redirects=False) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        return Called(status, (self._clock.monotonic() - started) * 1000, at, job_id, body, sent)
