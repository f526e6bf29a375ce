"""A stand-in for Oxylabs' Push-Pull: jobs with `_links`, callbacks that are the job, results at an address of theirs.

Nothing is signed. The notification is the job object; the place of the result is the `href` of the link whose `rel`
is `results`, which is what a foreign `response_url` replaces. A result that is not ready is 204, as the table of
response codes says; what comes after the 24 hours is not documented (here 404). No cancel is known.
"""

from __future__ import annotations

import base64
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import rfc3339
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Job, State
from relay.demo.knobs import Pending
from relay.demo.stand_in import StandIn


class Oxylabs(StandIn):
    """Oxylabs on 127.0.0.1; `api_key` is the password of `username`."""

    NAME = "oxylabs"
    RETENTION_SECONDS = 86_400.0
    WORDS = {
        State.QUEUED: "pending",
        State.RUNNING: "pending",
        State.COMPLETED: "done",
        State.FAILED: "faulted",
        State.CANCELLED: "faulted",
    }
    username = "customer"

    def routes(self, doors: Doors) -> list[Route]:
        return [
            doors.submit("/v1/queries", self._submitted),
            doors.read("/v1/queries/{job_id}", self._job),
            doors.read("/v1/queries/{job_id}/results", self._results),
            doors.other("/v1/info/callbacker_ips", self._addresses),
        ]

    def credentials(self) -> tuple[str, tuple[str, ...]]:
        pair = f"{self.username}:{self.api_key.reveal()}".encode()
        return "authorization", (f"Basic {base64.b64encode(pair).decode()}",)

    def problem(self, status: int, text: str) -> Any:
        return {"message": text}

    def example(self) -> Any:
        return {"source": "universal", "url": "https://example.com"}

    def job_id(self) -> str:
        return str(int(self.new_id(), 16) % 10**19)

    def notification(self, job: Job) -> Any:
        body = self._body(job, job.told)
        if job.knobs.response_url is not None:
            body["_links"][1]["href"] = job.knobs.response_url
        if not job.knobs.sends_id:
            del body["id"]
        return body

    async def _submitted(self, request: Request, wanted: Any) -> Taken | Response:
        if "source" not in wanted:
            return self.error(400, "Source is required")
        job = self.take(wanted, wanted.get("callback_url"))
        return Taken(job, self.json(self._body(job, State.QUEUED), 202))

    def _job(self, request: Request, job: Job, state: State) -> Response:
        return self.json(self._body(job, state))

    def _results(self, request: Request, job: Job, state: State) -> Response:
        if state in UNFINISHED or job.unready():
            return Response(status_code=int(job.knobs.pending_shape or Pending.NO_CONTENT))
        if state not in (State.COMPLETED, State.PARTIAL):
            return self.error(404, "The job has no results")
        found = {
            "content": self.text(job),
            "status_code": 200,
            "page": 1,
            "job_id": job.id,
            "url": job.wanted.get("url"),
        }
        return self.json({"results": [found]})

    async def _addresses(self, request: Request) -> Response:
        return self.json({"callbacker_ips": ["127.0.0.1"]})

    def _body(self, job: Job, state: State) -> dict[str, Any]:
        at = f"{self.url}/v1/queries/{job.id}"
        updated = job.created_at if state in UNFINISHED else job.ended_at
        return {
            **job.wanted,
            "id": job.id,
            "client_id": 1,
            "callback_url": job.callback_url,
            "status": self.word(job, state),
            "statuses": [],
            "created_at": rfc3339(job.created_at),
            "updated_at": rfc3339(updated),
            "_links": [
                {"rel": "self", "href": at, "method": "GET"},
                {"rel": "results", "href": f"{at}/results", "method": "GET"},
            ],
        }
