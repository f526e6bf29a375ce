"""A stand-in for Aitronos Freddy's background mode: submitted, polled, cancelled; it calls nobody back.

The guide and the API reference speak two dialects; the second one is the reference's: camel case, `processing`, a
progress. With an `organization_id` it is demanded, in the body of a request and as `organizationId` in every query,
as the reference says; the guide shows none. What comes after the 24 hours is not documented (here 404), nor how a
cancel that comes too late is answered (here 409).
"""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import rfc3339
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Cancel, Job, State
from relay.demo.stand_in import StandIn

RESPONSES: Final = "/v1/model/response"
PERCENT: Final = {State.QUEUED: 0, State.RUNNING: 50}


class Freddy(StandIn):
    """Freddy on 127.0.0.1; set `organization_id` to have it demanded."""

    NAME = "freddy"
    RETENTION_SECONDS = 86_400.0
    NOTIFIES = frozenset()
    WORDS = {
        State.QUEUED: "queued",
        State.RUNNING: "in_progress",
        State.COMPLETED: "completed",
        State.FAILED: "failed",
        State.CANCELLED: "cancelled",
    }
    organization_id: str | None = None

    def routes(self, doors: Doors) -> list[Route]:
        return [
            doors.submit(RESPONSES, self._submitted),
            doors.read(f"{RESPONSES}/{{job_id}}", self._response),
            doors.cancel(f"{RESPONSES}/{{job_id}}", self._cancelled, method="DELETE"),
        ]

    def refuses(self, request: Request) -> Response | None:
        named = request.method == "POST" or request.query_params.get("organizationId") == self.organization_id
        return None if self.organization_id is None or named else self.error(422, "organizationId is required")

    def problem(self, status: int, text: str) -> Any:
        return {"error": {"message": text, "type": "invalid_request_error", "code": str(status)}}

    def example(self) -> Any:
        return {
            "model": "gpt-4.1",
            "background": True,
            "inputs": [{"role": "user", "texts": [{"text": "Write about coffee"}]}],
        }

    def job_id(self) -> str:
        return f"resp_{self.new_id()[:16]}"

    def word(self, job: Job, state: State) -> str:
        second = job.knobs.second_dialect and state is State.RUNNING and job.knobs.status_word is None
        return "processing" if second else super().word(job, state)

    async def _submitted(self, request: Request, wanted: Any) -> Taken | Response:
        if self.organization_id is not None and wanted.get("organization_id") != self.organization_id:
            return self.error(422, "organization_id is required")
        if "model" not in wanted or not isinstance(wanted.get("inputs"), list):
            return self.error(400, "model and inputs are required")
        job = self.take(wanted)
        if wanted.get("background") is not True:
            self.complete(job.id)
            return self.json(self._body(job, State.COMPLETED))
        return Taken(job, self.json(self._body(job, State.QUEUED)))

    def _response(self, request: Request, job: Job, state: State) -> Response:
        return self.json(self._body(job, state))

    def _body(self, job: Job, state: State) -> dict[str, Any]:
        found: dict[str, Any] = {"id": job.id, "status": self.word(job, state), **self._times(job, state)}
        if job.knobs.second_dialect and state in UNFINISHED:
            found["progress"] = {"percentage": PERCENT[state], "stage": state.value}
        if state is State.FAILED:
            error = {"message": "The model did not answer", "code": "model_error", "type": "server_error"}
            found["error"] = error
        if state in (State.COMPLETED, State.PARTIAL):
            content = [{"type": "output_text", "text": self.text(job)}]
            found["output"] = [{"type": "message", "role": "assistant", "content": content}]
            found["usage"] = {"input_tokens": 12, "output_tokens": 450, "total_tokens": 462}
        return found

    def _times(self, job: Job, state: State) -> dict[str, Any]:
        ended = state not in UNFINISHED and state is not State.CANCELLED
        if not job.knobs.second_dialect:
            seconds = {"completed_at": job.ended_at // 1000} if ended else {}
            return {"created_at": job.created_at // 1000, **seconds}
        completed = {"completedAt": rfc3339(job.ended_at)} if ended else {}
        started = {} if state is State.QUEUED else {"startedAt": rfc3339(job.created_at)}
        return {"createdAt": rfc3339(job.created_at), **started, **completed}

    def _cancelled(self, job: Job, took: Cancel) -> Response:
        if took is Cancel.TOO_LATE:
            return self.error(409, "Only a response that is being processed can be cancelled")
        word = self.word(job, State.CANCELLED if took is Cancel.TOOK else State.RUNNING)
        at = {"cancelledAt": rfc3339(self.clock.now())}
        return self.json({"id": job.id, "status": word, **at, "message": "Cancellation was requested"})
