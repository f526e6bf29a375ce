"""A stand-in for Pulse: `/extract`, `/split`, `/schema` and `/tables` with `async`, `GET` and `DELETE /job/{id}`.

Notifications follow its Svix page: one dashboard URL for all jobs, thin, signed by Standard Webhooks. Their second
dialect has the id at the top instead of under `data`; Pulse's cookbook reads both. Large results lie at a presigned
address that is new with every answer. How long jobs are kept is not documented (here a day), nor is the shape of an
error; that an expired job answers with the status `expired` and a stub is.
"""

from __future__ import annotations

from collections.abc import Iterable
from email import message_from_bytes
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Instant, rfc3339
from relay.demo import proofs
from relay.demo.doors import Doors, Taken, json_object
from relay.demo.jobs import UNFINISHED, Cancel, Job, State
from relay.demo.stand_in import StandIn
from relay.model import Secret

ENDPOINTS: Final = ("/extract", "/split", "/schema", "/tables")
PRESIGNED_SECONDS: Final = 3600.0  # the shorter of the two lives that are told
EVENTS: Final = {State.CANCELLED: "job.cancelled", State.FAILED: "job.failed"}  # with two l; the status has one


class Pulse(StandIn):
    """Pulse on 127.0.0.1."""

    NAME = "pulse"
    RETENTION_SECONDS = 86_400.0
    WORDS = {
        State.QUEUED: "pending",
        State.RUNNING: "processing",
        State.COMPLETED: "completed",
        State.FAILED: "failed",
        State.CANCELLED: "canceled",
        State.EXPIRED: "expired",
    }

    def routes(self, doors: Doors) -> list[Route]:
        submits = [doors.submit(path, self._submitted, parse=_fields) for path in ENDPOINTS]
        portal = doors.other("/webhook", self._portal, method="POST")
        cancel = doors.cancel("/job/{job_id}", self._cancelled, method="DELETE")
        return [*submits, doors.read("/job/{job_id}", self._job), cancel, portal]

    def credentials(self) -> tuple[str, tuple[str, ...]]:
        return "x-api-key", (self.api_key.reveal(),)

    def example(self) -> Any:
        return {"file_url": "https://example.com/report.pdf", "async": True}

    def gone(self, job: Job) -> Response:
        return self.json({**self._head(job, State.EXPIRED), "result": {"expired": True}})

    def notification(self, job: Job) -> Any:
        return self._event(job, EVENTS.get(job.told, "job.completed"), self.word(job, job.told), job.ended_at)

    def chatter(self, job: Job) -> Iterable[Any]:
        yield self._event(job, "job.created", "pending", job.created_at)
        yield self._event(job, "job.processing", "processing", job.created_at)

    def proof(self, job: Job, body: bytes, now: Instant, secret: Secret) -> dict[str, str]:
        kind = orjson.loads(body)["type"]
        return proofs.standard_webhooks(secret, f"msg_{job.id}_{kind.partition('.')[2]}", now, body)

    def _event(self, job: Job, kind: str, status: str, at: Instant) -> dict[str, Any]:
        about = {"job_id": job.id, "status": status} if job.knobs.sends_id else {"status": status}
        head = {"type": kind, "timestamp": rfc3339(at)}
        return {**head, **about} if job.knobs.second_dialect else {**head, "data": about}

    async def _submitted(self, request: Request, wanted: Any) -> Taken | Response:
        if wanted.get("async") not in (True, "true"):
            job = self.take(wanted)
            self.complete(job.id)
            return self.json(self._result(job))
        job = self.take(wanted, self.callback_url)
        return Taken(job, self.json({"job_id": job.id, "status": "pending", "message": "Job was queued"}, 202))

    def _job(self, request: Request, job: Job, state: State) -> Response:
        answer = self._head(job, state)
        if state is State.FAILED:
            answer["error"] = "The document could not be read"
        elif state not in UNFINISHED and state is not State.CANCELLED:
            answer["result"] = self._where(job) if job.knobs.large else self._result(job)
        return self.json(answer)

    def _head(self, job: Job, state: State) -> dict[str, Any]:
        times = {"created_at": rfc3339(job.created_at), "updated_at": rfc3339(job.ended_at)}
        return {"job_id": job.id, "status": self.word(job, state), **times}

    def _result(self, job: Job) -> dict[str, Any]:
        return {"markdown": self.text(job), "plan-info": {"pages_used": 3, "tier": "stand-in"}}

    def _where(self, job: Job) -> dict[str, Any]:
        url = self.storage.put(orjson.dumps(self._result(job)), seconds=PRESIGNED_SECONDS)
        return {"is_url": True, "url": url, "plan-info": {"pages_used": 300, "tier": "stand-in"}}

    def _cancelled(self, job: Job, took: Cancel) -> Response:
        said = {Cancel.TOOK: "Job was canceled", Cancel.ASKED: "Cancellation requested"}
        return self.json({"job_id": job.id, "message": said.get(took, "Job has already ended")})

    async def _portal(self, request: Request) -> Response:
        return self.json({"link": f"{self.url}/app-portal/stand-in"})


def _fields(body: bytes, content_type: str) -> dict[str, Any]:
    """A JSON object, or the short fields of a form with a file. Raises ValueError."""
    if not content_type.startswith("multipart/form-data"):
        return json_object(body, content_type)
    form = message_from_bytes(b"content-type: %b\r\n\r\n%b" % (content_type.encode(), body))
    found: dict[str, Any] = {}
    for part in form.walk():
        name, payload = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes) and part.get_filename() is None:
            found[name] = payload.decode(errors="replace").strip()
    return found
