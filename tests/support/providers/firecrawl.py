"""A stand-in for Firecrawl's crawls: thin `crawl.completed`, HMAC over the body, results in pages with `next`.

The webhook's own headers of the request are sent along. With `unready_answers` a crawl is `completed` while its
documents are still missing, as its issue 2308 tells. After 24 hours a crawl is 404.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Instant, rfc3339
from relay.demo import proofs
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Cancel, Job, State
from relay.demo.stand_in import StandIn
from relay.model import Secret

EVENTS: Final = {State.FAILED: "crawl.failed", State.CANCELLED: "crawl.cancelled"}


class Firecrawl(StandIn):
    """Firecrawl on 127.0.0.1."""

    NAME = "firecrawl"
    RETENTION_SECONDS = 86_400.0
    WORDS = {
        State.QUEUED: "scraping",
        State.RUNNING: "scraping",
        State.COMPLETED: "completed",
        State.FAILED: "failed",
        State.CANCELLED: "cancelled",
    }

    def routes(self, doors: Doors) -> list[Route]:
        return [
            doors.submit("/v2/crawl", self._submitted),
            doors.read("/v2/crawl/{job_id}", self._crawl),
            doors.cancel("/v2/crawl/{job_id}", self._cancelled, method="DELETE"),
        ]

    def problem(self, status: int, text: str) -> Any:
        return {"success": False, "error": text}

    def example(self) -> Any:
        return {"url": "https://example.com"}

    def job_id(self) -> str:
        return self.new_uuid()

    def notification(self, job: Job) -> Any:
        event = f"crawl.{job.knobs.status_word}" if job.knobs.status_word else EVENTS.get(job.told, "crawl.completed")
        return self._event(job, event, [])

    def chatter(self, job: Job) -> Iterable[Any]:
        yield self._event(job, "crawl.started", [])
        yield self._event(job, "crawl.page", [{"markdown": "one page"}])

    def headers(self, job: Job, body: bytes) -> dict[str, str]:
        webhook = job.wanted.get("webhook")
        return dict(webhook.get("headers") or {}) if isinstance(webhook, dict) else {}

    def proof(self, job: Job, body: bytes, now: Instant, secret: Secret) -> dict[str, str]:
        return {"x-firecrawl-signature": f"sha256={proofs.hmac_hex(secret, body)}"}

    def _event(self, job: Job, kind: str, data: list[dict[str, str]]) -> dict[str, Any]:
        webhook = job.wanted.get("webhook")
        metadata = webhook.get("metadata") or {} if isinstance(webhook, dict) else {}
        named = {"id": job.id} if job.knobs.sends_id else {}
        said = {"success": job.told is not State.FAILED, "type": kind, **named}
        return {**said, "webhookId": f"whk_{job.id}_{kind}", "data": data, "metadata": metadata}

    async def _submitted(self, request: Request, wanted: Any) -> Taken | Response:
        if not isinstance(wanted.get("url"), str):
            return self.error(400, "Bad Request: url is required")
        webhook = wanted.get("webhook")
        job = self.take(wanted, webhook.get("url") if isinstance(webhook, dict) else webhook)
        return Taken(job, self.json({"success": True, "id": job.id, "url": f"{self.url}/v2/crawl/{job.id}"}))

    def _crawl(self, request: Request, job: Job, state: State) -> Response:
        skip, pages = int(request.query_params.get("skip", "0")), job.knobs.pages
        found: dict[str, Any] = {"success": True, "status": self.word(job, state), "total": pages, "completed": pages}
        found |= {"creditsUsed": pages, "expiresAt": rfc3339(job.expires_at), "next": None, "data": []}
        if state is State.FAILED:
            found |= {"success": False, "error": "The site could not be reached"}
        elif state not in UNFINISHED and not job.unready() and skip < pages:
            found["data"] = [{"markdown": f"{self.text(job)} page {skip + 1}", "metadata": {"statusCode": 200}}]
            if skip + 1 < pages:
                found["next"] = f"{self.url}/v2/crawl/{job.id}?skip={skip + 1}"
        return self.json(found)

    def _cancelled(self, job: Job, took: Cancel) -> Response:
        if took is Cancel.TOO_LATE:
            return self.error(409, "Crawl is already completed")
        return self.json({"status": "cancelled" if took is Cancel.TOOK else "scraping"})
