"""A stand-in for AssemblyAI: `/v2/transcript` submitted, read, deleted; thin webhooks with a header of one's choice.

What is deleted, by the customer or at the end of a retention, stays `completed` while its content is redacted: the
text is "Deleted by user." Nothing is deleted by itself unless `expires_after` says so. The chatter is the other event
that comes to the same URL without an id: the redacted audio. There is no cancel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Instant
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import Job, State
from relay.demo.stand_in import StandIn
from relay.model import Secret

REDACTED: Final = {"text": "Deleted by user.", "audio_url": "http://deleted_by_user", "words": None}


class AssemblyAI(StandIn):
    """AssemblyAI on 127.0.0.1."""

    NAME = "assemblyai"
    NOTIFIES = frozenset({State.COMPLETED, State.PARTIAL, State.FAILED})
    WORDS = {
        State.QUEUED: "queued",
        State.RUNNING: "processing",
        State.COMPLETED: "completed",
        State.FAILED: "error",
        State.CANCELLED: "error",
    }

    def routes(self, doors: Doors) -> list[Route]:
        return [
            doors.submit("/v2/transcript", self._submitted),
            doors.read("/v2/transcript/{job_id}", self._transcript),
            doors.other("/v2/transcript/{job_id}", self._deleted, method="DELETE"),
        ]

    def credentials(self) -> tuple[str, tuple[str, ...]]:
        return "authorization", (self.api_key.reveal(),)

    def example(self) -> Any:
        return {"audio_url": "https://example.com/talk.mp3"}

    def job_id(self) -> str:
        return self.new_uuid()

    def gone(self, job: Job) -> Response:
        return self.json({**self._body(job, State.COMPLETED), **REDACTED})

    def notification(self, job: Job) -> Any:
        named = {"transcript_id": job.id} if job.knobs.sends_id else {}
        return {**named, "status": self.word(job, job.told)}

    def chatter(self, job: Job) -> Iterable[Any]:
        yield {"status": "redacted_audio_ready", "redacted_audio_url": f"{self.storage.url}/redacted.mp3"}

    def secret_of(self, job: Job) -> Secret:
        return Secret(job.wanted.get("webhook_auth_header_value", ""))

    def proof(self, job: Job, body: bytes, now: Instant, secret: Secret) -> dict[str, str]:
        name = job.wanted.get("webhook_auth_header_name")
        return {} if name is None else {name: secret.reveal()}

    async def send(self, job: Job, url: str, body: bytes) -> int:
        status = await super().send(job, url, body)
        job.extra["webhook_status_code"] = str(status)
        return status

    async def _submitted(self, request: Request, wanted: Any) -> Taken | Response:
        if not isinstance(wanted.get("audio_url"), str):
            return self.error(400, "Invalid request: audio_url is required")
        job = self.take(wanted, wanted.get("webhook_url"))
        return Taken(job, self.json(self._body(job, State.QUEUED)))

    def _transcript(self, request: Request, job: Job, state: State) -> Response:
        return self.json(self._body(job, state))

    async def _deleted(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["job_id"])
        if job is None:
            return self.error(404, "Not found")
        self.complete(job.id)
        job.knobs = job.knobs.changed({"expires_after": 0})
        return self.gone(job)

    def _body(self, job: Job, state: State) -> dict[str, Any]:
        called = job.extra.get("webhook_status_code")
        found = {
            "id": job.id,
            "status": self.word(job, state),
            "audio_url": job.wanted["audio_url"],
            "webhook_url": job.callback_url,
            "webhook_auth": "webhook_auth_header_name" in job.wanted,
            "webhook_status_code": None if called is None else int(called),
            "text": None,
            "words": None,
        }
        if state in (State.FAILED, State.CANCELLED):
            return {**found, "error": "Transcoding failed. File does not appear to contain audio."}
        if state not in (State.COMPLETED, State.PARTIAL):
            return found
        words = [{"text": "A", "start": 0, "end": 120, "confidence": 0.99}]
        return {**found, "text": self.text(job), "words": words, "confidence": 0.97, "audio_duration": 12}
