"""A stand-in for Inference.net's asynchronous requests: `/v1/slow`, its alias `/v1/async`, generations and groups.

The callback goes to the URL that the dashboard keeps under the `webhook_id` of the request's metadata (`register`)
and shows that same id in a header. It is thick; the group's has all generations. Not documented: how long a
generation is kept (here: for ever), what a cancelled one is called, and how an unknown `webhook_id` is answered
(here: nobody is called).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from relay.clock import Instant, rfc3339
from relay.demo.doors import Doors, Taken
from relay.demo.jobs import UNFINISHED, Job, State
from relay.demo.knobs import Pending
from relay.demo.stand_in import StandIn
from relay.model import Secret

MOST_IN_A_GROUP: Final = 50


class InferenceNet(StandIn):
    """Inference.net on 127.0.0.1."""

    NAME = "inference-net"
    WORDS = {
        State.QUEUED: "Queued",
        State.RUNNING: "In Progress",
        State.COMPLETED: "Success",
        State.FAILED: "Failed",
        State.CANCELLED: "Cancelled",
    }

    def register(self, webhook_id: str, url: str) -> None:
        """What a person does in the dashboard."""
        self.registered[webhook_id] = url

    async def ping(self, webhook_id: str) -> int:
        """The dashboard's test button; the status of the answer."""
        job = self.take(self.example(), extra={"webhook_id": webhook_id})
        return await self.send(job, self.registered[webhook_id], orjson.dumps(_test(job)))

    def routes(self, doors: Doors) -> list[Route]:
        found = [doors.read("/v1/generation/{job_id}", self._read)]
        for base in ("/v1/slow", "/v1/async"):
            found += [
                doors.submit(f"{base}/chat/completions", self._chat),
                doors.submit(f"{base}/embeddings", self._embeddings),
                doors.submit(f"{base}/group/chat/completions", self._group),
                doors.read(f"{base}/group/{{job_id}}/generations", self._read),
            ]
        return found

    def problem(self, status: int, text: str) -> Any:
        return {"error": {"message": text, "type": "invalid_request_error", "code": status}}

    def example(self) -> Any:
        return {"model": "stand-in", "messages": [{"role": "user", "content": "coffee"}], "metadata": {}}

    def job_id(self) -> str:
        return self.new_id()[:21]

    def complete(self, job_id: str) -> None:
        for one in (job_id, *self._members(self.jobs[job_id])):
            self.jobs[one].completed_at = self.clock.now()

    def notification(self, job: Job) -> Any:
        head = {"event": _event(job), "timestamp": rfc3339(job.ended_at)}
        if "members" in job.extra:
            data = {**self._generations(job, job.told), "status": "completed"}
            return {**head, **({"group_id": job.id} if job.knobs.sends_id else {}), "data": data}
        data, named = self._generation(job, job.told), {"webhook_id": _webhook_id(job)}
        if job.knobs.sends_id:
            return {**head, **named, "generation_id": job.id, "data": data}
        del data["id"]
        return {**head, **named, "data": data}

    def chatter(self, job: Job) -> Iterable[Any]:
        yield _test(job)

    def headers(self, job: Job, body: bytes) -> dict[str, str]:
        said = orjson.loads(body)
        found = {"x-inference-event": said["event"], "user-agent": "inference.net-Webhook/1.0"}
        for field, header in (("generation_id", "generation"), ("group_id", "group")):
            if field in said:
                found[f"x-inference-{header}-id"] = said[field]
        return found

    def secret_of(self, job: Job) -> Secret:
        return Secret(_webhook_id(job))

    def proof(self, job: Job, body: bytes, now: Instant, secret: Secret) -> dict[str, str]:
        return {"x-inference-webhook-id": secret.reveal()}

    def _taken(self, wanted: Any, metadata: Any, **extra: str) -> Job:
        webhook_id = str((metadata or {}).get("webhook_id", ""))
        return self.take(wanted, self.registered.get(webhook_id), extra={"webhook_id": webhook_id, **extra})

    async def _chat(self, request: Request, wanted: Any) -> Taken | Response:
        if not isinstance(wanted.get("messages"), list):
            return self.error(400, "messages is missing")
        job = self._taken(wanted, wanted.get("metadata"), event="generation.completed")
        return Taken(job, self.json(self._wrapper(job)))

    async def _embeddings(self, request: Request, wanted: Any) -> Taken | Response:
        job = self._taken(wanted, wanted.get("metadata"), event="async-embedding.completed")
        return Taken(job, self.json({"id": job.id, "object": "list", "data": [], "model": wanted.get("model")}))

    async def _group(self, request: Request, wanted: Any) -> Taken | Response:
        requests = wanted.get("requests")
        if not isinstance(requests, list) or not 1 <= len(requests) <= MOST_IN_A_GROUP:
            return self.error(400, f"a group has 1 to {MOST_IN_A_GROUP} requests")
        members = [self.take(one) for one in requests]
        metadata = wanted.get("metadata") or requests[0].get("metadata")
        named = ",".join(member.id for member in members)
        group = self._taken(wanted, metadata, event="slow-group.completed", members=named)
        return Taken(group, self.json({"groupId": group.id, "groupSize": len(members)}))

    def _read(self, request: Request, job: Job, state: State) -> Response:
        shape = job.knobs.pending_shape or Pending.NOT_FOUND
        if state in UNFINISHED and job.knobs.status_word is None and shape is Pending.NOT_FOUND:
            return self.error(404, "Generation not found")
        status = int(shape) if state in UNFINISHED and job.knobs.status_word is None else 200
        found = self._generations(job, state) if "members" in job.extra else self._generation(job, state)
        return self.json(found, status)

    def _members(self, job: Job) -> list[str]:
        return [one for one in job.extra.get("members", "").split(",") if one]

    def _generations(self, group: Job, state: State) -> dict[str, Any]:
        generations = [self._generation(self.jobs[one], state) for one in self._members(group)]
        return {"group_size": len(generations), "generations": generations}

    def _generation(self, job: Job, state: State) -> dict[str, Any]:
        found = {
            "id": job.id,
            "state": self.word(job, state),
            "stateMessage": "The model did not answer" if state is State.FAILED else state.value,
            "request": job.wanted,
            "dispatchedAt": rfc3339(job.created_at),
        }
        if state in UNFINISHED:
            return found
        answer = self._wrapper(job, self.text(job)) if state in (State.COMPLETED, State.PARTIAL) else None
        return {**found, "response": answer, "finishedAt": rfc3339(job.ended_at)}

    def _wrapper(self, job: Job, text: str | None = None) -> dict[str, Any]:
        """What OpenAI's client understands."""
        said = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return {
            "id": job.id,
            "object": "chat.completion",
            "created": job.created_at // 1000,
            "model": job.wanted.get("model", "stand-in"),
            "choices": [] if text is None else [said],
        }


def _webhook_id(job: Job) -> str:
    return job.extra.get("webhook_id") or job.extra.get("secret", "")


def _event(job: Job) -> str:
    return job.extra.get("event", "generation.completed")


def _test(job: Job) -> dict[str, Any]:
    return {"event": "webhook.test", "timestamp": rfc3339(job.created_at), "webhook_id": _webhook_id(job)}
