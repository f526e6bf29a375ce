"""The HTTP side of a stand-in: every request passes its credentials, its limits and its record here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Clock
from relay.demo.jobs import Cancel, Job, State

if TYPE_CHECKING:
    from relay.demo.stand_in import StandIn

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Taken:
    """Work was taken on: what is remembered of it, and the answer."""

    job: Job
    answer: Response


class _Kind(Enum):
    SUBMIT = auto()
    READ = auto()
    OTHER = auto()
    PUBLIC = auto()


Parse = Callable[[bytes, str], Any]
Submit = Callable[[Request, Any], Awaitable[Taken | Response]]
Read = Callable[[Request, Job, State], Response]
Cancelled = Callable[[Job, Cancel], Response]
Answer = Callable[[Request], Awaitable[Response]]


def json_object(body: bytes, content_type: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError when it is none."""
    found = orjson.loads(body)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


class Doors:
    """Makes the routes of one stand-in."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._bucket = _Bucket(stand_in.clock)

    def submit(self, path: str, handler: Submit, *, parse: Parse = json_object) -> Route:
        """Where work is asked for; the handler gets the parsed body."""

        async def answer(request: Request) -> Response:
            try:
                wanted = parse(await request.body(), request.headers.get("content-type", ""))
            except ValueError:
                return self._stand_in.error(400, "The body could not be understood")
            taken = await handler(request, wanted)
            return taken if isinstance(taken, Response) else await self._stand_in.begin(taken.job, taken.answer)

        return self._route(path, ["POST"], _Kind.SUBMIT, answer)

    def read(self, path: str, handler: Read, *, lasts: bool = False) -> Route:
        """Where the status or the result of `{job_id}` is read; what `lasts` outlives the retention."""

        async def answer(request: Request) -> Response:
            job = self._stand_in.jobs.get(request.path_params["job_id"])
            if job is None:
                return self._stand_in.error(404, "Not found")
            state = job.look(self._stand_in.clock.now())
            if state is State.EXPIRED and not lasts:
                return self._stand_in.gone(job)
            return handler(request, job, job.told if state is State.EXPIRED else state)

        return self._route(path, ["GET"], _Kind.READ, answer)

    def cancel(self, path: str, handler: Cancelled, *, method: str = "POST") -> Route:
        """Where `{job_id}` is cancelled."""

        async def answer(request: Request) -> Response:
            job = self._stand_in.jobs.get(request.path_params["job_id"])
            if job is None:
                return self._stand_in.error(404, "Not found")
            took = self._stand_in.cancel(job)
            if took is Cancel.TOOK:
                self._stand_in.start(self._stand_in.tell(job))
            return handler(job, took)

        return self._route(path, [method], _Kind.OTHER, answer)

    def other(self, path: str, handler: Answer, *, method: str = "GET") -> Route:
        """Anything else that wants credentials."""
        return self._route(path, [method], _Kind.OTHER, handler)

    def public(self, path: str, handler: Answer) -> Route:
        """What anybody may read."""
        return self._route(path, ["GET"], _Kind.PUBLIC, handler)

    def nowhere(self) -> Route:
        """Every other path: who comes there is noted too."""

        async def answer(request: Request) -> Response:
            return self._stand_in.error(404, "Not found")

        return self._route("/{path:path}", METHODS, _Kind.OTHER, answer)

    def _route(self, path: str, methods: Iterable[str], kind: _Kind, answer: Answer) -> Route:
        async def through(request: Request) -> Response:
            if kind is _Kind.READ and self._stand_in.knobs.answer_seconds != 0:
                await self._stand_in.server.pause(self._stand_in.knobs.answer_seconds)
            authorized = kind is _Kind.PUBLIC or self._stand_in.accepts(request)
            response = await self._answered(request, kind, answer) if authorized else self._stand_in.refused()
            if kind is _Kind.READ:
                response.headers.update(self._stand_in.knobs.headers)
            self._stand_in.recorder.asked(request, authorized=authorized, status=response.status_code)
            return response

        return Route(path, through, methods=list(methods))

    async def _answered(self, request: Request, kind: _Kind, answer: Answer) -> Response:
        return self._limited(request, kind) or self._stand_in.refuses(request) or await answer(request)

    def _limited(self, request: Request, kind: _Kind) -> Response | None:
        knobs = self._stand_in.knobs
        if kind is _Kind.SUBMIT and knobs.submit_statuses:
            return self._wished(knobs.submit_statuses.pop(0))
        if kind is not _Kind.READ:
            return None
        job = self._stand_in.jobs.get(request.path_params["job_id"])
        if job is not None and job.knobs.statuses:
            return self._wished(job.knobs.statuses.pop(0))
        if knobs.rate_per_second is not None and not self._bucket.take(knobs.rate_per_second):
            return self._wished(429)
        if knobs.statuses:
            return self._wished(knobs.statuses.pop(0))
        return None if knobs.status is None else self._wished(knobs.status)

    def _wished(self, status: int) -> Response:
        if status == 429:
            later = str(self._stand_in.knobs.retry_after_seconds)
            return self._stand_in.error(429, "Too many requests", retry_after=later)
        return self._stand_in.error(status, "As you wished")


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
