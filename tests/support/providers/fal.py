"""A stand-in for fal's queue: three addresses in the answer to a request, webhooks signed with Ed25519, keys as JWKS.

`COMPLETED` is also what a failed request becomes: the status then has an `error`, and the result is an HTTP error.
The keys are at `jwks_url` (the real ones are at another host). The second dialect of a notification is the one whose
result could not be put into it (`payload_error`). Not documented: what a result that is not ready answers (here 400,
as fal's API was seen to do; 202 by the knob) and how a cancelled request ends (here as an error).
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Instant
from relay.demo import proofs
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Cancel, Job, State
from relay.demo.knobs import Pending
from relay.demo.stand_in import StandIn
from relay.model import Secret

USER_ID: Final = "usr_stand_in"
MEDIA_SECONDS: Final = 86_400.0  # as long as the customer wishes; here a day
JWKS_PATH: Final = "/.well-known/jwks.json"
GOOD: Final = frozenset({State.COMPLETED, State.PARTIAL})


class Fal(StandIn):
    """fal on 127.0.0.1."""

    NAME = "fal"
    RETENTION_SECONDS = 30 * 86_400.0
    WORDS = {State.QUEUED: "IN_QUEUE", State.RUNNING: "IN_PROGRESS", State.COMPLETED: "COMPLETED"}

    @property
    def jwks_url(self) -> str:
        """Where its public key is."""
        return f"{self.url}{JWKS_PATH}"

    def routes(self, doors: Doors) -> list[Route]:
        return [
            doors.public(JWKS_PATH, self._jwks),
            doors.read("/{app:path}/requests/{job_id}/status", self._status),
            doors.read("/{app:path}/requests/{job_id}", self._result),
            doors.cancel("/{app:path}/requests/{job_id}/cancel", self._cancelled, method="PUT"),
            doors.submit("/{path:path}", self._submitted),
        ]

    def credentials(self) -> tuple[str, tuple[str, ...]]:
        return "authorization", (f"Key {self.api_key.reveal()}",)

    def problem(self, status: int, text: str) -> Any:
        return {"detail": text}

    def job_id(self) -> str:
        return self.new_uuid()

    def notification(self, job: Job) -> Any:
        named = {"request_id": job.id, "gateway_request_id": job.id} if job.knobs.sends_id else {}
        if job.told not in GOOD:
            error = {"error": "Unexpected status code: 500", "payload": {"detail": "The model did not answer"}}
            return {**named, "status": job.knobs.status_word or "ERROR", **error}
        word = job.knobs.status_word or "OK"
        if job.knobs.second_dialect:
            return {**named, "status": word, "payload": None, "payload_error": "Response payload is not JSON"}
        return {**named, "status": word, "payload": self._output(job)}

    def proof(self, job: Job, body: bytes, now: Instant, secret: Secret) -> dict[str, str]:
        named, seconds = (job.id if job.knobs.sends_id else ""), str(now // 1000)
        signature = proofs.ed25519_hex(secret, named, USER_ID, seconds, hashlib.sha256(body).hexdigest())
        return {
            "x-fal-webhook-request-id": named,
            "x-fal-webhook-user-id": USER_ID,
            "x-fal-webhook-timestamp": seconds,
            "x-fal-webhook-signature": signature,
        }

    async def _jwks(self, request: Request) -> Response:
        retired = proofs.jwk(Secret("a key that was used before"))
        return self.json({"keys": [retired, proofs.jwk(self.signing_secret)]}, cache_control="max-age=86400")

    async def _submitted(self, request: Request, wanted: Any) -> Taken | Response:
        parts = request.path_params["path"].strip("/").split("/")
        if len(parts) < 2:
            return self.error(404, "Application not found")
        app = {"app": "/".join(parts[:2])}
        job = self.take(wanted, request.query_params.get("fal_webhook"), extra=app)
        urls = {"response_url": self._at(job), "status_url": f"{self._at(job)}/status"}
        queued = {"status": "IN_QUEUE", "queue_position": 0, "gateway_request_id": job.id}
        return Taken(job, self.json({"request_id": job.id, **queued, **urls, "cancel_url": f"{self._at(job)}/cancel"}))

    def _at(self, job: Job) -> str:
        return f"{self.url}/{job.extra.get('app', 'fal-ai/stand-in')}/requests/{job.id}"

    def _elsewhere(self, request: Request, job: Job) -> bool:
        return bool(request.path_params["app"] != job.extra.get("app", "fal-ai/stand-in"))

    def _status(self, request: Request, job: Job, state: State) -> Response:
        if self._elsewhere(request, job):
            return self.error(404, "Not found")
        found: dict[str, Any] = {"request_id": job.id, "response_url": self._at(job), "logs": None}
        found["status"] = self.word(job, state)
        if state is State.QUEUED:
            found["queue_position"] = 0
        elif state not in UNFINISHED:
            found["metrics"] = {"inference_time": 1.5}
        if state not in UNFINISHED and state not in GOOD:
            found |= {"error": "The model did not answer", "error_type": _error_type(state)}
        return self.json(found)

    def _result(self, request: Request, job: Job, state: State) -> Response:
        if self._elsewhere(request, job):
            return self.error(404, "Not found")
        if state in UNFINISHED or job.unready():
            return self.error(int(job.knobs.pending_shape or Pending.BAD_REQUEST), "Request is still in progress")
        if state not in GOOD:
            return self.error(500, "The model did not answer", x_fal_error_type=_error_type(state))
        return self.json(self._output(job))

    def _output(self, job: Job) -> dict[str, Any]:
        url = self.storage.put(b"a picture", seconds=MEDIA_SECONDS, content_type="image/png")
        return {"images": [{"url": url, "content_type": "image/png"}], "prompt": self.text(job), "seed": 42}

    def _cancelled(self, job: Job, took: Cancel) -> Response:
        if took is Cancel.TOO_LATE:
            return self.json({"status": "ALREADY_COMPLETED"}, 400)
        return self.json({"status": "CANCELLATION_REQUESTED"}, 202)


def _error_type(state: State) -> str:
    return "request_cancelled" if state is State.CANCELLED else "internal_server_error"
