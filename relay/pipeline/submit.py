"""Where jobs begin: a client's request goes to the provider through Relay, with the callback URL put in.

The job is committed before the request is sent on, and its id is signed into the callback URL, so that a callback that
beats the answer, or names nothing, still finds it. The exchange runs in a task of its own: a client that hangs up ends
its own waiting and nothing else. Calls that start no job pass through as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from relay.clock import after
from relay.errors import UrlRefused
from relay.frozen import frozen
from relay.model import Job, Webhook, WebhookStatus
from relay.outbound.provider_door import ProviderAnswer, ProviderDoor, ProviderRequest
from relay.outbound.urls import parse_url
from relay.pipeline.bindings import Binding
from relay.pipeline.calls import ClientCall, Forwarded, Rejected, listed_calls
from relay.pipeline.exchange import Exchange, Exchanges
from relay.pipeline.floor import Floor
from relay.pipeline.forwarding import (
    asks_for_callback,
    headers_to_send,
    query_to_send,
    target_url,
    values_to_insert,
)
from relay.pipeline.receive import FetchHands
from relay.pipeline.repeats import MARGIN_SECONDS, Repeats, identity
from relay.pipeline.under_way import UnderWay
from relay.pipeline.waiting import waiting_job
from relay.providers.splice import Unfit
from relay.providers.submit import Submission
from relay.providers.submitting import Filled, fill_request, match_call
from relay.signing.tokens import CallbackTokens

log = structlog.get_logger(__name__)

UNFIT: Final = {
    "not_a_json_object": "the body is not a JSON object, into which Relay has to put something",
    "not_form_data": "the body is not the form data that its content type says",
    "in_the_way": "something else than an object stands where Relay has to put a member into one",
    "taken": "Relay puts its own callback URL here; leave this out, and subscribe to the results instead",
    "refused": "this cannot be sent through Relay, which brings results when they are complete",
    "no_such_field": "form data cannot hold what Relay has to put in; send JSON",
}


@frozen()
class SubmitLimits:
    """Bounds of one call."""

    timeout_seconds: float
    max_answer_bytes: int


@frozen()
class Listed:
    """A call that may be sent on; without a submission it starts no job."""

    binding: Binding
    submission: Submission | None


class Submitter:
    """Sends clients' calls on. Raises StoreUnavailable when a job cannot be made durable: then nothing was sent."""

    def __init__(
        self,
        floor: Floor,
        tokens: CallbackTokens,
        door: ProviderDoor,
        hands: FetchHands,
        under_way: UnderWay,
        *,
        public_url: str,
        limits: SubmitLimits,
    ) -> None:
        self._floor = floor
        self._tokens = tokens
        self._door = door
        self._under_way = under_way
        self._callback_base = f"{public_url.rstrip('/')}/in/"
        self._limits = limits
        self._repeats = Repeats(floor, limits.timeout_seconds)
        self._exchanges = Exchanges(floor, door, hands, self._repeats)
        self._tasks: set[asyncio.Task[Forwarded | Rejected]] = set()

    # --- what may be sent on ---

    def look(self, webhook: Webhook, method: str, path: str) -> Listed | Rejected:
        """Whether the profile lists this call; known before the body is read."""
        binding = self._floor.bindings.of(webhook)
        if binding is None:
            detail = f"The profile {webhook.provider} is not loaded, or this webhook no longer fits it."
            return Rejected(409, "provider_profile_missing", detail)
        if webhook.status is WebhookStatus.DISABLED:
            return Rejected(409, "webhook_disabled", "This webhook is disabled.")
        matched = match_call(binding.profile, method, path, webhook.parameters)
        if matched is None:
            return _not_listed(binding, path)
        if binding.base_url is None:
            return Rejected(409, "base_url_missing", "This webhook has no base_url to send calls to.")
        if matched.submission is None and method == "GET" and binding.profile.retention.single_use:
            detail = "This provider gives a result away once, and Relay fetches it: read it from Relay."
            return Rejected(409, "result_is_single_use", detail)
        return Listed(binding, matched.submission)

    # --- calls that start a job ---

    async def submit(self, listed: Listed, call: ClientCall) -> Forwarded | Rejected:
        """Make the job, send the request on, settle the job by the answer. Goes on if the caller is cancelled."""
        task = asyncio.create_task(self._submit(listed, call))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[Forwarded | Rejected]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("submit.failed", reason=type(error).__name__)

    async def drain(self, seconds: float) -> None:
        """Let what is under way finish for so long; what does not is left to its callback."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _submit(self, listed: Listed, call: ClientCall) -> Forwarded | Rejected:
        binding, submission = listed.binding, listed.submission
        if submission is None:
            raise ValueError("this call starts no job")
        job = self._new_job(binding, submission, call)
        request = self._request(binding, submission, call, job)
        if isinstance(request, Rejected):
            return _not_sent(call, request)
        once = identity(call)
        begun = await self._repeats.begin(once, job)
        if not isinstance(begun, Job):
            return _not_sent(call, begun)
        if begun.id != job.id:  # an earlier try's: its callback URL goes in
            request = self._request(binding, submission, call, begun)
            if isinstance(request, Rejected):
                return _not_sent(call, request)
        exchange = Exchange(binding, call, begun, once)
        if begun.submitted:
            return await self._exchanges.run(exchange, request)
        with self._under_way.submit(binding.webhook.id):
            return await self._exchanges.run(exchange, request)

    def _new_job(self, binding: Binding, submission: Submission, call: ClientCall) -> Job:
        now = self._floor.clock.now()
        return waiting_job(
            self._floor,
            binding,
            due_at=after(now, self._limits.timeout_seconds + MARGIN_SECONDS),  # the answer says when
            submitted_at=now,
            metadata=call.metadata,
            submitted=asks_for_callback(submission, values_to_insert(binding, "")),
        )

    def _request(
        self, binding: Binding, submission: Submission, call: ClientCall, job: Job
    ) -> ProviderRequest | Rejected:
        """The request with everything put in. A coded body can only be sent on where nothing is put into it."""
        coded = any(name == "content-encoding" and value.lower() != "identity" for name, value in call.headers)
        if coded and (submission.refuse or any(insert.into == "body" for insert in submission.inserts)):
            return Rejected(415, "unsupported_content_encoding", "Send the body without a content encoding.")
        webhook = binding.webhook
        callback_url = self._callback_base + self._tokens.mint(webhook.id, webhook.generation, job.id)
        filled = fill_request(
            submission,
            values_to_insert(binding, callback_url),
            query=query_to_send(call.query, call.key),
            content_type=call.content_type,
            body=call.body,
            own_url=self._callback_base,
        )
        return _unfit(filled) if isinstance(filled, Unfit) else self._outbound(binding, call, filled)

    # --- calls that pass through ---

    @asynccontextmanager
    async def passing(self, listed: Listed, call: ClientCall) -> AsyncIterator[ProviderAnswer | Rejected]:
        """Send a call on that starts no job; its answer, whose body is still to be read. Raises OutboundError."""
        request = self._outbound(listed.binding, call, Filled(query_to_send(call.query, call.key), call.body))
        if isinstance(request, Rejected):
            yield request
            return
        async with self._door.stream(request) as answer:
            yield answer

    def _outbound(self, binding: Binding, call: ClientCall, filled: Filled) -> ProviderRequest | Rejected:
        url = target_url(binding, call.path, filled.query) or ""
        try:
            parse_url(url, allow_http=True, allow_short=True)
        except UrlRefused as error:
            return Rejected(400, "url_refused", f"This address cannot be sent on: {error}.")
        return ProviderRequest(
            method=call.method,
            url=url,
            authorization=binding.authorization,
            allowed_origins=binding.origins,
            headers=headers_to_send(call.headers, call.taken, call.key),
            content=filled.body,
            timeout_seconds=self._limits.timeout_seconds,
            max_bytes=self._limits.max_answer_bytes,
            max_decoded_bytes=self._limits.max_answer_bytes,
        )


def _not_sent(call: ClientCall, told: Forwarded | Rejected) -> Forwarded | Rejected:
    """The line of a call that Relay answers by itself."""
    code = told.code if isinstance(told, Rejected) else None
    log.info(
        "submit.answered",
        webhook_id=call.webhook_id,
        job_id=told.job_id,
        method=call.method,
        http_status=told.http_status,
        error_code=code,
        outcome="rejected" if code else "replayed",
        request_bytes=len(call.body),
    )
    return told


def _not_listed(binding: Binding, path: str) -> Rejected:
    """404, or 405 where the path is taken with another method; either says what may be sent."""
    profile, parameters = binding.profile, binding.webhook.parameters
    calls = listed_calls(profile, parameters)
    if not calls:
        return Rejected(404, "submit_not_supported", f"Nothing can be sent to {profile.name} through Relay.")
    shown = ", ".join(f"{method} {pattern}" for method, pattern in calls)
    methods = sorted({method for method, _ in calls if match_call(profile, method, path, parameters) is not None})
    if methods:
        detail = f"This path does not take this method. What may be sent on: {shown}."
        return Rejected(405, "method_not_allowed", detail, allow=", ".join(methods))
    return Rejected(404, "call_not_listed", f"This call is not sent on. What may be sent on: {shown}.")


def _unfit(unfit: Unfit) -> Rejected:
    code = "streaming_not_supported" if unfit.reason == "refused" and unfit.at == "stream" else unfit.reason
    detail = UNFIT.get(unfit.reason, "this request cannot be sent on")
    return Rejected(422, code, detail, pointer="#/" + unfit.at.replace(".", "/"))
