"""A stand-in for Reducto: the `*_async` requests, `/job/{id}`, `/cancel/{id}`, webhooks direct or through Svix.

Direct webhooks go to the URL in the request and are not signed; those through Svix go to the dashboard's URL with
`svix-*` headers. Large results lie at a presigned address, marked by `type: url`. Not documented: how long results
are kept (here: for ever) and how a cancelled job ends (here `Failed` with a reason).
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Instant
from relay.demo import proofs
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Cancel, Job, State
from relay.demo.stand_in import StandIn
from relay.model import Secret

KINDS: Final = ("parse", "extract", "split", "edit", "pipeline")
PRESIGNED_SECONDS: Final = 3600.0


class Reducto(StandIn):
    """Reducto on 127.0.0.1."""

    NAME = "reducto"
    NOTIFIES = frozenset({State.COMPLETED, State.PARTIAL, State.FAILED})
    WORDS = {
        State.QUEUED: "Pending",
        State.RUNNING: "Idle",
        State.COMPLETED: "Completed",
        State.FAILED: "Failed",
        State.CANCELLED: "Failed",
    }

    def routes(self, doors: Doors) -> list[Route]:
        submits = [doors.submit(f"/{kind}_async", self._submitted) for kind in KINDS]
        return [*submits, doors.read("/job/{job_id}", self._job), doors.cancel("/cancel/{job_id}", self._cancelled)]

    def problem(self, status: int, text: str) -> Any:
        return {"detail": text}

    def example(self) -> Any:
        return {"input": "https://example.com/report.pdf"}

    def job_id(self) -> str:
        return self.new_uuid()

    def notification(self, job: Job) -> Any:
        named = {"job_id": job.id} if job.knobs.sends_id else {}
        metadata = (job.wanted.get("async") or {}).get("metadata") or job.wanted.get("metadata") or {}
        return {**named, "status": self.word(job, job.told), "metadata": metadata}

    def proof(self, job: Job, body: bytes, now: Instant, secret: Secret) -> dict[str, str]:
        if job.extra.get("mode", "svix") != "svix":
            return {}
        return proofs.standard_webhooks(secret, f"msg_{job.id}", now, body, family="svix")

    async def _submitted(self, request: Request, wanted: Any) -> Taken | Response:
        if "input" not in wanted:
            return self.error(422, "input is required")
        webhook = (wanted.get("async") or {}).get("webhook") or {"mode": "disabled"}
        mode = str(webhook.get("mode"))
        urls = {"svix": self.callback_url, "direct": webhook.get("url")}
        job = self.take(wanted, urls.get(mode), extra={"mode": mode})
        return Taken(job, self.json({"job_id": job.id}))

    def _job(self, request: Request, job: Job, state: State) -> Response:
        found: dict[str, Any] = {"status": self.word(job, state), "progress": 0.5 if state in UNFINISHED else 1.0}
        if state is State.FAILED:
            found["reason"] = "The document could not be read"
        elif state is State.CANCELLED:
            found["reason"] = "Job was cancelled"
        elif state not in UNFINISHED:
            found["result"] = {"job_id": job.id, "usage": {"num_pages": 3}, "result": self._result(job)}
        return self.json(found)

    def _result(self, job: Job) -> dict[str, Any]:
        chunks = {"type": "full", "chunks": [{"content": self.text(job)}]}
        if not job.knobs.large:
            return chunks
        url = self.storage.put(orjson.dumps(chunks), seconds=PRESIGNED_SECONDS)
        return {"type": "url", "result_id": job.id, "url": url}

    def _cancelled(self, job: Job, took: Cancel) -> Response:
        return self.json({"status": "cancelled" if took is Cancel.TOOK else "not cancelled"})
