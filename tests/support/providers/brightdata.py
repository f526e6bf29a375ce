"""A stand-in for Bright Data's scrapers: `/datasets/v3/trigger`, `progress`, `snapshot`, and its two notifications.

`notify` gets a light ping, `endpoint` the data itself, compressed unless `uncompressed_webhook` is set; both carry the
`auth_header` of the request. A snapshot may answer 202 although the progress is `ready` (`unready_answers`). How long
a snapshot is kept is not documented (here: for ever, then 404).
"""

from __future__ import annotations

import gzip
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from relay.clock import Instant
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Cancel, Job, State
from relay.demo.stand_in import StandIn
from relay.model import Secret

ROWS = 3
GZIP = b"\x1f\x8b"


class BrightData(StandIn):
    """Bright Data on 127.0.0.1."""

    NAME = "brightdata"
    WORDS = {
        State.QUEUED: "starting",
        State.RUNNING: "running",
        State.COMPLETED: "ready",
        State.FAILED: "failed",
        State.CANCELLED: "canceled",
    }

    def routes(self, doors: Doors) -> list[Route]:
        return [
            doors.submit("/datasets/v3/trigger", self._triggered, parse=_rows),
            doors.read("/datasets/v3/progress/{job_id}", self._progress),
            doors.read("/datasets/v3/snapshot/{job_id}", self._snapshot),
            doors.cancel("/datasets/v3/snapshot/{job_id}/cancel", self._cancelled),
        ]

    def example(self) -> Any:
        return [{"url": "https://example.com"}]

    def job_id(self) -> str:
        return f"s_{self.new_id()[:17]}"

    def gone(self, job: Job) -> Response:
        return self.error(404, "Snapshot not found")

    def notification(self, job: Job) -> Any:
        named = {"snapshot_id": job.id} if job.knobs.sends_id else {}
        return {**named, "status": self.word(job, job.told)}

    def headers(self, job: Job, body: bytes) -> dict[str, str]:
        return {"content-encoding": "gzip"} if body.startswith(GZIP) else {}

    def secret_of(self, job: Job) -> Secret:
        return Secret(job.extra.get("auth_header", ""))

    def proof(self, job: Job, body: bytes, now: Instant, secret: Secret) -> dict[str, str]:
        return {"authorization": secret.reveal()} if "auth_header" in job.extra else {}

    async def tell(self, job: Job) -> list[int]:
        statuses = await super().tell(job)
        endpoint = job.extra.get("endpoint")
        if endpoint is None or not job.knobs.calls_back or job.told not in (State.COMPLETED, State.PARTIAL):
            return statuses
        data = orjson.dumps(self._data(job))
        body = data if "uncompressed" in job.extra else gzip.compress(data, mtime=0)
        return statuses + [await self.send(job, endpoint, body) for _ in range(job.knobs.notifications)]

    async def _triggered(self, request: Request, wanted: Any) -> Taken | Response:
        query = request.query_params
        if "dataset_id" not in query:
            return self.error(400, "dataset missing")
        extra = {name: query[name] for name in ("dataset_id", "endpoint", "auth_header") if name in query}
        if query.get("uncompressed_webhook") == "true":
            extra["uncompressed"] = "yes"
        job = self.take(wanted, query.get("notify"), extra=extra)
        return Taken(job, self.json({"snapshot_id": job.id}))

    def _progress(self, request: Request, job: Job, state: State) -> Response:
        failed = {"error_message": "The site could not be reached"} if state is State.FAILED else {}
        named = {"snapshot_id": job.id, "dataset_id": job.extra.get("dataset_id", "gd_stand_in")}
        return self.json({**named, "status": self.word(job, state), **failed})

    def _snapshot(self, request: Request, job: Job, state: State) -> Response:
        if state in UNFINISHED or job.unready():
            word = self.word(job, State.RUNNING)
            return self.json({"status": word, "message": "Snapshot is not ready yet, try again in 10s"}, 202)
        if state not in (State.COMPLETED, State.PARTIAL):
            return self.error(400, f"Snapshot {self.word(job, state)}")
        return self.json(self._data(job))

    def _data(self, job: Job) -> list[dict[str, Any]]:
        return [{"n": n, "text": self.text(job)} for n in range(ROWS)]

    def _cancelled(self, job: Job, took: Cancel) -> Response:
        return self.error(400, "Snapshot is ready") if took is Cancel.TOO_LATE else PlainTextResponse("OK")


def _rows(body: bytes, content_type: str) -> Any:
    """A JSON list of inputs, or an object that holds one. Raises ValueError."""
    return orjson.loads(body)
