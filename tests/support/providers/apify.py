"""A stand-in for Apify: runs of actors, ad-hoc webhooks in a base64 query parameter, items of the default dataset.

A webhook gets the default payload (templates of payloads are not played; a template of headers is), for the event
types that it asks for, with the dispatch's id in a header. The unnamed dataset is gone after seven days (404), the run
stays. Nothing is signed.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import rfc3339
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Cancel, Job, State
from relay.demo.stand_in import StandIn

PREFIX: Final = "ACTOR.RUN."
EVENTS: Final = {State.FAILED: "FAILED", State.CANCELLED: "ABORTED"}
ITEMS: Final = 3


class Apify(StandIn):
    """Apify on 127.0.0.1."""

    NAME = "apify"
    RETENTION_SECONDS = 7 * 86_400.0
    WORDS = {
        State.QUEUED: "READY",
        State.RUNNING: "RUNNING",
        State.COMPLETED: "SUCCEEDED",
        State.FAILED: "FAILED",
        State.CANCELLED: "ABORTED",
    }

    def routes(self, doors: Doors) -> list[Route]:
        run = "/v2/actor-runs/{job_id}"
        return [
            doors.submit("/v2/acts/{actor}/runs", self._submitted, parse=_any_input),
            doors.submit("/v2/actors/{actor}/runs", self._submitted, parse=_any_input),
            doors.read(run, self._run, lasts=True),
            doors.cancel(f"{run}/abort", self._aborted),
            doors.read(f"{run}/dataset/items", self._items),
            doors.read("/v2/datasets/ds{job_id}/items", self._items),
        ]

    def accepts(self, request: Request) -> bool:
        return super().accepts(request) or request.query_params.get("token") == self.api_key.reveal()

    def problem(self, status: int, text: str) -> Any:
        kinds = {401: "user-or-token-not-found", 404: "record-not-found", 429: "rate-limit-exceeded"}
        return {"error": {"type": kinds.get(status, "invalid-input"), "message": text}}

    def job_id(self) -> str:
        return self.new_id()[:17]

    def gone(self, job: Job) -> Response:
        return self.error(404, "Dataset was not found")

    def notification(self, job: Job) -> Any:
        run, word = self._body(job, job.told), job.knobs.status_word or EVENTS.get(job.told, "SUCCEEDED")
        data = {"actorId": run["actId"], "actorRunId": job.id}
        if not job.knobs.sends_id:
            del data["actorRunId"], run["id"]
        return {
            "userId": run["userId"],
            "createdAt": rfc3339(job.ended_at),
            "eventType": PREFIX + word,
            "eventData": data,
            "resource": run,
        }

    def headers(self, job: Job, body: bytes) -> dict[str, str]:
        template = orjson.loads(job.extra.get("headers", "{}"))
        return {"x-apify-webhook": "true", "x-apify-webhook-dispatch-id": f"wd{job.id}", **template}

    async def tell(self, job: Job) -> list[int]:
        wanted = job.extra.get("events", "")
        return await super().tell(job) if not wanted or EVENTS.get(job.told, "SUCCEEDED") in wanted.split(",") else []

    async def _submitted(self, request: Request, wanted: Any) -> Taken | Response:
        try:
            webhooks = orjson.loads(base64.b64decode(request.query_params.get("webhooks") or "W10=", validate=True))
            extra = {"actor": request.path_params["actor"]}
            if webhooks:
                types = [str(one).removeprefix(PREFIX) for one in webhooks[0].get("eventTypes", [])]
                extra |= {"events": ",".join(types), "headers": webhooks[0].get("headersTemplate") or "{}"}
            job = self.take(wanted, webhooks[0]["requestUrl"] if webhooks else None, extra=extra)
        except (ValueError, KeyError, AttributeError):
            return self.error(400, "webhooks is not base64 of a JSON list of webhooks")
        return Taken(job, self.json({"data": self._body(job, State.QUEUED)}, 201))

    def _run(self, request: Request, job: Job, state: State) -> Response:
        return self.json({"data": self._body(job, state)})

    def _aborted(self, job: Job, took: Cancel) -> Response:
        body = self._body(job, job.told if took is not Cancel.ASKED else State.RUNNING)
        return self.json({"data": {**body, "status": "ABORTING"} if took is Cancel.ASKED else body})

    def _items(self, request: Request, job: Job, state: State) -> Response:
        ready = state in (State.COMPLETED, State.PARTIAL) and not job.unready()
        items = [{"n": n, "text": self.text(job)} for n in range(ITEMS)] if ready else []
        offset = int(request.query_params.get("offset") or 0)
        limit = int(request.query_params.get("limit") or 999_999_999_999)
        page = items[offset : offset + limit]
        said = {"total": len(items), "offset": offset, "count": len(page), "limit": limit, "desc": "false"}
        return self.json(page, 200, **{f"x_apify_pagination_{name}": str(value) for name, value in said.items()})

    def _body(self, job: Job, state: State) -> dict[str, Any]:
        return {
            "id": job.id,
            "actId": job.extra.get("actor", "stand-in"),
            "userId": "standInUser",
            "startedAt": rfc3339(job.created_at),
            "finishedAt": None if state in UNFINISHED else rfc3339(job.ended_at),
            "status": self.word(job, state),
            "meta": {"origin": "API"},
            "stats": {"inputBodyLen": 2, "runTimeSecs": 1.5},
            "options": {"build": "latest", "timeoutSecs": 300, "memoryMbytes": 1024, "diskMbytes": 2048},
            "buildId": "standInBuild",
            "defaultKeyValueStoreId": f"kv{job.id}",
            "defaultDatasetId": f"ds{job.id}",
            "defaultRequestQueueId": f"rq{job.id}",
        }


def _any_input(body: bytes, content_type: str) -> Any:
    """An actor takes what it is given: JSON, text, nothing, compressed or not."""
    try:
        return orjson.loads(body)
    except ValueError:
        return {"bytes": len(body)}
