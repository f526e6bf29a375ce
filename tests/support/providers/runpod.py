"""A stand-in for RunPod's serverless endpoints: `/v2/{endpoint}/run`, `/status/{id}`, `/cancel/{id}`.

Nothing is signed; the notification is the status object (the documents do not show it). The key comes bare, as the
documents write it, or in Bearer form. A result is kept for half an hour and is 404 afterwards. The second dialect of
a failure is a job that took too long.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Cancel, Job, State
from relay.demo.stand_in import StandIn


class RunPod(StandIn):
    """RunPod on 127.0.0.1."""

    NAME = "runpod"
    RETENTION_SECONDS = 1800.0
    WORDS = {
        State.QUEUED: "IN_QUEUE",
        State.RUNNING: "IN_PROGRESS",
        State.COMPLETED: "COMPLETED",
        State.FAILED: "FAILED",
        State.CANCELLED: "CANCELLED",
    }

    def routes(self, doors: Doors) -> list[Route]:
        return [
            doors.submit("/v2/{endpoint}/run", self._submitted),
            doors.read("/v2/{endpoint}/status/{job_id}", self._status),
            doors.cancel("/v2/{endpoint}/cancel/{job_id}", self._cancelled),
        ]

    def credentials(self) -> tuple[str, tuple[str, ...]]:
        key = self.api_key.reveal()
        return "authorization", (key, f"Bearer {key}")

    def example(self) -> Any:
        return {"input": {"prompt": "coffee"}}

    def job_id(self) -> str:
        return f"{self.new_uuid()}-u1"

    def word(self, job: Job, state: State) -> str:
        timed_out = job.knobs.second_dialect and state is State.FAILED and job.knobs.status_word is None
        return "TIMED_OUT" if timed_out else super().word(job, state)

    def notification(self, job: Job) -> Any:
        body = self._body(job, job.told)
        if not job.knobs.sends_id:
            del body["id"]
        return body

    async def _submitted(self, request: Request, wanted: Any) -> Taken | Response:
        if not isinstance(wanted.get("input"), dict):
            return self.error(400, "input is required")
        job = self.take(wanted, wanted.get("webhook"), extra={"endpoint": request.path_params["endpoint"]})
        return Taken(job, self.json({"id": job.id, "status": self.word(job, State.QUEUED)}))

    def _status(self, request: Request, job: Job, state: State) -> Response:
        if request.path_params["endpoint"] != job.extra.get("endpoint", request.path_params["endpoint"]):
            return self.error(404, "job not found")
        return self.json(self._body(job, state))

    def _cancelled(self, job: Job, took: Cancel) -> Response:
        state = State.RUNNING if took is Cancel.ASKED else job.told
        return self.json({"id": job.id, "status": self.word(job, state)})

    def _body(self, job: Job, state: State) -> dict[str, Any]:
        found: dict[str, Any] = {"id": job.id, "status": self.word(job, state), "delayTime": 31}
        if state in UNFINISHED:
            return found
        found["executionTime"] = job.ended_at - job.created_at
        if state is State.FAILED:
            found["error"] = "The handler raised an exception"
        elif state is not State.CANCELLED:
            found["output"] = {"text": self.text(job)}
        return found
