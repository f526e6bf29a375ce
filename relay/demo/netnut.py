"""A stand-in for NetNut's LLM Scraper: `POST /search` in its four modes, `GET /results/{trace_id}`, and the callback.

What NetNut leaves undocumented (the pending answer, the shape of a failure, what comes after two hours) is a knob,
so that every guess is played at least once. The confirmation follows its sister product, with that product's trap:
where nothing can be fetched, `response_url` names the customer's own callback URL.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import aiohttp
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Clock, Instant, SystemClock, after
from relay.demo import answers
from relay.demo.answers import Trace
from relay.demo.local import LocalServer
from relay.model import Secret

REMEMBERED_REQUESTS: Final = 10_000
CALLBACK_SECONDS: Final = 10.0


class Pending(StrEnum):
    """How "not ready yet" looks; NetNut does not say."""

    ACCEPTED = "202"
    OK = "200"
    NOT_FOUND = "404"


@dataclass(slots=True, kw_only=True)
class Knobs:
    """How the stand-in behaves from now on; change them while it runs. Durations are seconds."""

    work_seconds: float = 0.0  # from the request to its completion
    pending_answers: int = 0  # how often a completed result still answers "pending"
    pending_shape: Pending = Pending.ACCEPTED
    calls_back: bool = True
    notifications: int = 1  # 2 = every notification comes twice
    fails: bool = False  # results say that the job failed
    expires_after: float | None = None  # after completion; then 410
    answer_seconds: float | None = 0.0  # how long a result keeps its reader waiting; None = for ever
    status: int | None = None  # answer every request for a result with this one
    headers: Mapping[str, str] = field(default_factory=dict)  # on every answer to a request for a result
    rate_per_second: float | None = None  # above it: 429
    padding: int = 0  # makes the result this many bytes larger


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came in, and how it was answered."""

    at: Instant
    method: str
    path: str
    authorized: bool
    status: int


@dataclass(frozen=True, slots=True)
class Called:
    """One notification that was sent, and what came back; status 0 = nothing."""

    status: int
    took_ms: float


class NetNut:
    """The stand-in; an asynchronous context manager that listens on 127.0.0.1."""

    def __init__(
        self,
        *,
        username: str = "customer",
        password: Secret,
        knobs: Knobs | None = None,
        clock: Clock | None = None,
        port: int = 0,
    ) -> None:
        self.knobs = knobs or Knobs()
        self.username = username
        self.password = password
        self.traces: dict[str, Trace] = {}
        self.requests: deque[Asked] = deque(maxlen=REMEMBERED_REQUESTS)
        self.counts: Counter[str] = Counter()  # requests by status, `unauthorized`, `notified`, `notify_failed`
        self.callbacks: deque[Called] = deque(maxlen=REMEMBERED_REQUESTS)
        self._expected = b"Basic " + base64.b64encode(f"{username}:{password.reveal()}".encode())
        self._clock = clock or SystemClock()
        self._server = LocalServer(self._app(), port=port)
        self._session: aiohttp.ClientSession | None = None
        self._work: set[asyncio.Task[None]] = set()
        self._bucket = _Bucket(self._clock)

    @property
    def url(self) -> str:
        """The origin that results are fetched from."""
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def held(self) -> asyncio.Event:
        """Set once an answer has been held back by `answer_seconds`."""
        return self._server.held

    async def __aenter__(self) -> NetNut:
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        await self._server.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await self._server.stop()
        if self._session is not None:
            await self._session.close()

    def response_url(self, trace_id: str) -> str:
        """Where the result of this trace is."""
        return f"{self.url}/results/{trace_id}"

    def open(self, prompt: str = "coffee", engine: str = "perplexity", *, completed: bool = True) -> Trace:
        """A trace without a request: what a test starts from when the request is not its subject."""
        now = self._clock.now()
        trace = Trace(id=str(uuid.uuid4()), prompt=prompt, engine=engine, created_at=now)
        self.traces[trace.id] = trace
        if completed:
            trace.completed_at = now
        return trace

    def complete(self, trace_id: str) -> None:
        """The work is done; results can be had from now on."""
        self.traces[trace_id].completed_at = self._clock.now()

    async def notify(self, callback_url: str, trace_id: str, *, thick: bool = False) -> int:
        """Send one notification and return the HTTP status of the answer; 0 when there was none."""
        trace = self.traces[trace_id]
        body = self.result_bytes(trace) if thick else answers.notification(trace, self.response_url(trace.id))
        assert self._session is not None, "start the stand-in first"
        started = self._clock.monotonic()
        try:
            status = await self._post(self._session, callback_url, body)
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        self.counts["notified" if 200 <= status < 300 else "notify_failed"] += 1
        self.callbacks.append(Called(status, (self._clock.monotonic() - started) * 1000))
        return status

    def result_bytes(self, trace: Trace) -> bytes:
        """The final answer, byte for byte as it is served."""
        return answers.final(trace, fails=self.knobs.fails, padding=self.knobs.padding)

    @staticmethod
    async def _post(session: aiohttp.ClientSession, url: str, body: bytes) -> int:
        limit = aiohttp.ClientTimeout(total=CALLBACK_SECONDS)
        headers = {"content-type": "application/json"}
        async with session.post(url, data=body, headers=headers, timeout=limit, allow_redirects=False) as answer:
            await answer.read()
            return answer.status

    # The HTTP side.

    def _app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/search", self._search, methods=["POST"]),
                Route("/results/{trace_id}", self._result, methods=["GET"]),
            ]
        )

    def _answered(self, request: Request, status: int, body: bytes, **headers: str) -> Response:
        authorized = self._authorized(request)
        self.requests.append(Asked(self._clock.now(), request.method, request.url.path, authorized, status))
        self.counts[str(status)] += 1
        if not authorized:
            self.counts["unauthorized"] += 1
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Response(body, status, named, media_type="application/json")

    def _authorized(self, request: Request) -> bool:
        return hmac.compare_digest(request.headers.get("authorization", "").encode(), self._expected)

    def _refused(self, request: Request) -> Response:
        return self._answered(request, 401, answers.message("Unauthorized"), www_authenticate="Basic")

    async def _search(self, request: Request) -> Response:
        if not self._authorized(request):
            return self._refused(request)
        try:
            asked = orjson.loads(await request.body())
            prompt, engine = str(asked["prompt"]), str(asked.get("engine", "perplexity"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return self._answered(request, 400, answers.message("A JSON object with a prompt is needed"))
        later, callback_url = asked.get("async") is True, asked.get("callback_url")
        trace = self.open(prompt, engine, completed=False)
        if not later and not callback_url:
            await self._server.pause(self.knobs.work_seconds)
            self.complete(trace.id)
            return self._answered(request, 200, self.result_bytes(trace))
        self._start(self._run(trace, callback_url, thick=not later))
        where = self.response_url(trace.id) if later else callback_url
        return self._answered(request, 202, answers.confirmation(trace, where))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _run(self, trace: Trace, callback_url: str | None, *, thick: bool) -> None:
        await self._clock.sleep(self.knobs.work_seconds)
        self.complete(trace.id)
        if callback_url and self.knobs.calls_back:
            for _ in range(self.knobs.notifications):
                await self.notify(callback_url, trace.id, thick=thick)

    async def _result(self, request: Request) -> Response:
        knobs = self.knobs
        if knobs.answer_seconds != 0:
            await self._server.pause(knobs.answer_seconds)
        if not self._authorized(request):
            return self._refused(request)
        response = self._result_now(request, knobs)
        response.headers.update(dict(knobs.headers))
        return response

    def _result_now(self, request: Request, knobs: Knobs) -> Response:
        trace = self.traces.get(request.path_params["trace_id"])
        if knobs.rate_per_second is not None and not self._bucket.take(knobs.rate_per_second):
            return self._answered(request, 429, answers.message("Too many requests"), retry_after="1")
        if knobs.status is not None:
            return self._answered(request, knobs.status, answers.message("As you wished"))
        if trace is None:
            return self._answered(request, 404, answers.message("Not found"))
        if trace.completed_at is None or trace.asked < knobs.pending_answers:
            trace.asked += trace.completed_at is not None
            return self._pending(request, trace, knobs.pending_shape)
        trace.asked += 1
        if knobs.expires_after is not None and self._clock.now() >= after(trace.completed_at, knobs.expires_after):
            return self._answered(request, 410, answers.message("The result is no longer stored"))
        return self._answered(request, 200, self.result_bytes(trace))

    def _pending(self, request: Request, trace: Trace, shape: Pending) -> Response:
        if shape is Pending.NOT_FOUND:
            return self._answered(request, 404, answers.message("Not found"))
        return self._answered(request, int(shape), answers.processing(trace))


class _Bucket:
    """So many a second, with a burst of one second's worth."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._level: float | None = None
        self._at = 0.0

    def take(self, rate: float) -> bool:
        now = self._clock.monotonic()
        level = rate if self._level is None else min(rate, self._level + (now - self._at) * rate)
        self._at = now
        self._level = level - 1 if level >= 1 else level
        return level >= 1
