"""A stand-in for Replicate: predictions, webhooks that are the prediction itself, the signing secret by API.

After an hour (the documented time for predictions by API) input, output and logs are removed: `data_removed` and no
output, while the status stays as it was. The chatter is the `start` event, a prediction that is still processing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Instant, rfc3339, seconds_between
from relay.demo import proofs
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Cancel, Job, State
from relay.demo.stand_in import StandIn
from relay.model import Secret

DONE = frozenset({State.COMPLETED, State.PARTIAL})


class Replicate(StandIn):
    """Replicate on 127.0.0.1."""

    NAME = "replicate"
    RETENTION_SECONDS = 3600.0
    WORDS = {
        State.QUEUED: "starting",
        State.RUNNING: "processing",
        State.COMPLETED: "succeeded",
        State.FAILED: "failed",
        State.CANCELLED: "canceled",
    }

    def routes(self, doors: Doors) -> list[Route]:
        return [
            doors.submit("/v1/predictions", self._submitted),
            doors.submit("/v1/models/{owner}/{name}/predictions", self._submitted),
            doors.read("/v1/predictions/{job_id}", self._prediction),
            doors.cancel("/v1/predictions/{job_id}/cancel", self._cancelled),
            doors.other("/v1/webhooks/default/secret", self._secret),
        ]

    def problem(self, status: int, text: str) -> Any:
        return {"title": text, "detail": text, "status": status}

    def example(self) -> Any:
        return {"version": "5c7d5dc6", "input": {"prompt": "coffee"}}

    def job_id(self) -> str:
        return self.new_id()[:26]

    def gone(self, job: Job) -> Response:
        removed = {"input": None, "output": None, "logs": None, "data_removed": True}
        return self.json({**self._body(job, job.told), **removed})

    def notification(self, job: Job) -> Any:
        return self._told(job, job.told)

    def chatter(self, job: Job) -> Iterable[Any]:
        yield self._told(job, State.RUNNING)

    def proof(self, job: Job, body: bytes, now: Instant, secret: Secret) -> dict[str, str]:
        status = orjson.loads(body)["status"]
        return proofs.standard_webhooks(secret, f"msg_{job.id}_{status}", now, body)

    def _told(self, job: Job, state: State) -> dict[str, Any]:
        body = self._body(job, state)
        if job.knobs.response_url is not None:
            body["urls"]["get"] = job.knobs.response_url
        if not job.knobs.sends_id:
            del body["id"]
        return body

    async def _submitted(self, request: Request, wanted: Any) -> Taken | Response:
        if "input" not in wanted or ("version" not in wanted and "owner" not in request.path_params):
            return self.error(422, "version and input are required")
        job = self.take(wanted, wanted.get("webhook"))
        return Taken(job, self.json(self._body(job, State.QUEUED), 201))

    def _prediction(self, request: Request, job: Job, state: State) -> Response:
        return self.json(self._body(job, state))

    def _cancelled(self, job: Job, took: Cancel) -> Response:
        return self.json(self._body(job, State.RUNNING if took is Cancel.ASKED else job.told))

    def _body(self, job: Job, state: State) -> dict[str, Any]:
        ended, at = state not in UNFINISHED, f"{self.url}/v1/predictions/{job.id}"
        return {
            "id": job.id,
            "model": "stand-in/model",
            "version": str(job.wanted.get("version", "hidden")),
            "input": job.wanted["input"],
            "output": [self._output(job)] if state in DONE else None,
            "error": "The model did not answer" if state is State.FAILED else None,
            "logs": "",
            "status": self.word(job, state),
            "metrics": {"predict_time": seconds_between(job.created_at, job.ended_at)} if ended else {},
            "created_at": rfc3339(job.created_at),
            "started_at": None if state is State.QUEUED else rfc3339(job.created_at),
            "completed_at": rfc3339(job.ended_at) if ended else None,
            "data_removed": False,
            "urls": {"get": at, "cancel": f"{at}/cancel"},
        }

    def _output(self, job: Job) -> str:
        """A text, or with `large` the address of a file, which lives as long as the prediction's data."""
        text = self.text(job)
        return self.storage.put(text.encode(), seconds=self.RETENTION_SECONDS) if job.knobs.large else text

    async def _secret(self, request: Request) -> Response:
        return self.json({"key": self.signing_secret.reveal()})
