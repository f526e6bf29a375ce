"""A stand-in for NetNut's LLM Scraper: `POST /search` in its four modes, `GET /results/{trace_id}`, and the callback.

What NetNut leaves undocumented (the pending answer, the shape of a failure, what comes after two hours) is a knob,
so that every guess is played at least once. The confirmation follows its sister product, with that product's trap:
where nothing can be fetched, `response_url` names the customer's own callback URL.
"""

from __future__ import annotations

import base64
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Clock
from relay.demo import answers
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Job, State
from relay.demo.knobs import Knobs, Pending
from relay.demo.stand_in import StandIn
from relay.model import Secret

__all__ = ["Knobs", "NetNut", "Pending"]


class NetNut(StandIn):
    """The stand-in; an asynchronous context manager that listens on 127.0.0.1."""

    NAME = "netnut"
    RETENTION_SECONDS = 7200.0

    def __init__(
        self,
        *,
        username: str = "customer",
        password: Secret,
        knobs: Knobs | None = None,
        clock: Clock | None = None,
        port: int = 0,
        seed: str | None = None,
        controls: bool = True,
    ) -> None:
        super().__init__(api_key=password, knobs=knobs, clock=clock, port=port, seed=seed, controls=controls)
        self.username = username
        self.password = password

    @property
    def traces(self) -> dict[str, Job]:
        """The jobs, as NetNut calls them."""
        return self.jobs

    def response_url(self, trace_id: str) -> str:
        """Where the result of this trace is."""
        return f"{self.url}/results/{trace_id}"

    def open(self, prompt: str = "coffee", engine: str = "perplexity", *, completed: bool = True) -> Job:
        """A trace without a request: what a test starts from when the request is not its subject."""
        trace = self.take({"prompt": prompt, "engine": engine})
        if completed:
            self.complete(trace.id)
        return trace

    async def notify(self, callback_url: str, job_id: str, *, thick: bool = False) -> int:
        """Send one notification and return the HTTP status of the answer; 0 when there was none."""
        trace = self.traces[job_id]
        thin = orjson.dumps(answers.notification(trace, self.response_url(job_id)))
        return await self.send(trace, callback_url, self.result_bytes(trace) if thick else thin)

    def result_bytes(self, trace: Job) -> bytes:
        """The final answer, byte for byte as it is served."""
        return answers.final(trace)

    def routes(self, doors: Doors) -> list[Route]:
        return [doors.submit("/search", self._search), doors.read("/results/{job_id}", self._result)]

    def credentials(self) -> tuple[str, tuple[str, ...]]:
        pair = f"{self.username}:{self.password.reveal()}".encode()
        return "authorization", (f"Basic {base64.b64encode(pair).decode()}",)

    def refused(self) -> Response:
        return self.error(401, "Unauthorized", www_authenticate="Basic")

    def problem(self, status: int, text: str) -> Any:
        return {"message": text}

    def gone(self, job: Job) -> Response:
        return self.error(410, "The result is no longer stored")

    def job_id(self) -> str:
        return self.new_uuid()

    def notification(self, job: Job) -> Any:
        if "thick" in job.extra:
            return orjson.Fragment(self.result_bytes(job))
        return answers.notification(job, self.response_url(job.id))

    async def _search(self, request: Request, wanted: Any) -> Taken | Response:
        if not isinstance(wanted.get("prompt"), str):
            return self.error(400, "A JSON object with a prompt is needed")
        later, callback_url = wanted.get("async") is True, wanted.get("callback_url")
        if not later and not callback_url:
            trace = self.take(wanted)
            await self.server.pause(self.knobs.work_seconds)
            self.complete(trace.id)
            return self._final(trace)
        trace = self.take(wanted, callback_url, extra={} if later else {"thick": "yes"})
        where = self.response_url(trace.id) if later else callback_url
        return Taken(trace, self.json(answers.confirmation(trace, where), 202))

    def _result(self, request: Request, trace: Job, state: State) -> Response:
        shape = trace.knobs.pending_shape or Pending.ACCEPTED
        if state not in UNFINISHED:
            return self._final(trace)
        if shape is Pending.NOT_FOUND:
            return self.error(404, "Not found")
        return Response(answers.processing(trace), int(shape), media_type="application/json")

    def _final(self, trace: Job) -> Response:
        return Response(self.result_bytes(trace), media_type="application/json")
