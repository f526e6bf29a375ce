"""A stand-in for OpenAI: background responses, batches with their files, and project webhooks.

Webhooks go to the dashboard's URL, thin, signed by Standard Webhooks. Kept for ten minutes, the documented time where
data retention is restricted; what comes afterwards is not documented (here 404). A batch is `{"endpoint": …,
"input_file_id": …}` to `/v1/batches`; its output is a file, read through `/v1/files/{id}/content`.
"""

from __future__ import annotations

from collections.abc import Iterable
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

BATCH_WORDS: Final = {State.QUEUED: "validating", State.RUNNING: "in_progress", State.CANCELLED: "cancelled"}
EVENTS: Final = {State.PARTIAL: "incomplete"}


class OpenAI(StandIn):
    """OpenAI on 127.0.0.1; its base URL for clients is `{url}/v1`."""

    NAME = "openai"
    RETENTION_SECONDS = 600.0
    WORDS = {
        State.QUEUED: "queued",
        State.RUNNING: "in_progress",
        State.COMPLETED: "completed",
        State.PARTIAL: "incomplete",
        State.FAILED: "failed",
        State.CANCELLED: "cancelled",
    }

    def routes(self, doors: Doors) -> list[Route]:
        return [
            doors.submit("/v1/responses", self._respond),
            doors.read("/v1/responses/{job_id}", self._response),
            doors.cancel("/v1/responses/{job_id}/cancel", self._cancelled),
            doors.submit("/v1/batches", self._batch),
            doors.read("/v1/batches/{job_id}", self._batch_now),
            doors.cancel("/v1/batches/{job_id}/cancel", self._batch_cancelled),
            doors.read("/v1/files/file-{job_id}/content", self._file),
        ]

    def problem(self, status: int, text: str) -> Any:
        kind = "rate_limit_error" if status == 429 else "invalid_request_error"
        code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(status)
        return {"error": {"message": text, "type": kind, "param": None, "code": code}}

    def example(self) -> Any:
        return {"model": "gpt-5", "input": "coffee", "background": True}

    def job_id(self) -> str:
        return f"resp_{self.new_id()}"

    def notification(self, job: Job) -> Any:
        kind = "batch" if _is_batch(job) else "response"
        word = job.knobs.status_word or EVENTS.get(job.told, job.told.value)
        event = {"id": f"evt_{job.id}", "object": "event", "created_at": job.ended_at // 1000, "type": f"{kind}.{word}"}
        return {**event, "data": {"id": job.id} if job.knobs.sends_id else {}}

    def chatter(self, job: Job) -> Iterable[Any]:
        head = {"id": f"evt_{job.id}_0", "object": "event", "created_at": job.created_at // 1000}
        yield {**head, "type": "eval.run.succeeded", "data": {"id": "evalrun_1"}}

    def proof(self, job: Job, body: bytes, now: Instant, secret: Secret) -> dict[str, str]:
        return proofs.standard_webhooks(secret, f"wh_{orjson.loads(body)['id']}", now, body)

    async def _respond(self, request: Request, wanted: Any) -> Taken | Response:
        if "model" not in wanted:
            return self.error(400, "Missing required parameter: 'model'.")
        if wanted.get("background") is not True:
            job = self.take(wanted)
            self.complete(job.id)
            return self.json(self._body(job, job.told))
        job = self.take(wanted, self.callback_url)
        return Taken(job, self.json(self._body(job, State.QUEUED)))

    def _response(self, request: Request, job: Job, state: State) -> Response:
        return self.json(self._body(job, state))

    def _cancelled(self, job: Job, took: Cancel) -> Response:
        states = {Cancel.TOOK: State.CANCELLED, Cancel.ASKED: State.RUNNING}
        return self.json(self._body(job, states.get(took, job.told)))

    def _body(self, job: Job, state: State) -> dict[str, Any]:
        done = state in (State.COMPLETED, State.PARTIAL)
        failed = {"code": "server_error", "message": "The model did not answer."}
        found = {
            "id": job.id,
            "object": "response",
            "created_at": job.created_at // 1000,
            "status": self.word(job, state),
            "background": job.wanted.get("background") is True,
            "error": failed if state is State.FAILED else None,
            "incomplete_details": {"reason": "max_output_tokens"} if state is State.PARTIAL else None,
            "instructions": None,
            "metadata": job.wanted.get("metadata") or {},
            "model": job.wanted["model"],
            "output": [self._message(job)] if done else [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": _usage() if done else None,
        }
        return found if state in UNFINISHED else {**found, "completed_at": job.ended_at // 1000}

    def _message(self, job: Job) -> dict[str, Any]:
        content = [{"type": "output_text", "text": self.text(job), "annotations": [], "logprobs": []}]
        return {
            "id": f"msg_{job.id}",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": content,
        }

    async def _batch(self, request: Request, wanted: Any) -> Taken | Response:
        if "input_file_id" not in wanted:
            return self.error(400, "Missing required parameter: 'input_file_id'.")
        job = self.take(wanted, self.callback_url)
        self.rename(job, f"batch_{self.new_id()}")
        return Taken(job, self.json(self._batch_body(job, State.QUEUED)))

    def _batch_now(self, request: Request, job: Job, state: State) -> Response:
        return self.json(self._batch_body(job, state))

    def _batch_cancelled(self, job: Job, took: Cancel) -> Response:
        body = self._batch_body(job, job.told if took is Cancel.TOO_LATE else State.RUNNING)
        return self.json(body if took is Cancel.TOO_LATE else {**body, "status": "cancelling"})

    def _batch_body(self, job: Job, state: State) -> dict[str, Any]:
        word = job.knobs.status_word or BATCH_WORDS.get(state, "failed" if state is State.FAILED else "completed")
        found = {"id": job.id, "object": "batch", "status": word, "created_at": job.created_at // 1000}
        files = {"output_file_id": f"file-{job.id}"} if word == "completed" else {}
        named = {"endpoint": job.wanted.get("endpoint"), "input_file_id": job.wanted.get("input_file_id")}
        return {**found, **named, "completion_window": "24h", **files}

    def _file(self, request: Request, job: Job, state: State) -> Response:
        if state in UNFINISHED:
            return self.error(404, "No such File object")
        line = {
            "id": "batch_req_1",
            "custom_id": "1",
            "response": {"status_code": 200, "body": {"text": self.text(job)}},
        }
        return Response(orjson.dumps(line) + b"\n", media_type="application/jsonl")


def _is_batch(job: Job) -> bool:
    return "input_file_id" in job.wanted


def _usage() -> dict[str, Any]:
    return {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 450,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 462,
    }
