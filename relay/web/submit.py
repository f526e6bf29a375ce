"""`ANY /submit/{webhook_id}/{path}`: a client's call goes on to the provider with the webhook's credentials.

The caller shows Relay's key as Bearer or where the provider's own clients put theirs; it goes no further than this.
The path is taken as it was sent, undecoded: what is not plainly a call that the profile lists is not sent on.
"""

from __future__ import annotations

import re
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from relay.errors import OutboundError
from relay.model import Scope, Webhook
from relay.outbound.provider_door import ProviderAnswer
from relay.pipeline.calls import ClientCall, Forwarded, Rejected
from relay.pipeline.exchange import NEVER_SENT
from relay.pipeline.forwarding import headers_to_return
from relay.pipeline.submit import Listed
from relay.providers.submitting import ShownKey, shown_key
from relay.web import auth
from relay.web.idempotency import REPLAYED, given_key
from relay.web.intake import BodyReader, ByteBudget, Unread
from relay.web.metadata_header import METADATA, metadata_of
from relay.web.problems import Problem, Wrong, not_found
from relay.web.services import Services

PATH: Final = "/submit/{rest:path}"
JOB_ID: Final = "relay-job-id"
SAFE: Final = ("GET", "HEAD")
MAX_BODY_BYTES: Final = 64 * 1024 * 1024  # documents are uploaded; larger ones go to the provider as a URL
BUDGET_BYTES: Final = 256 * 1024 * 1024  # of bodies in memory at one time
RETRY_AFTER_SECONDS: Final = 5

# A stranger's bytes: nothing in them may act in a browser as a page of Relay's.
GUARD: Final = {
    "content-security-policy": "sandbox; default-src 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}

_RAW: Final = re.compile(rb"/submit/(wh_[0-9a-f]{32})(/[^?#]*)\Z")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?")

log = structlog.get_logger(__name__)


class SubmitEndpoint:
    """The ASGI application behind the route, for every method."""

    def __init__(
        self, services: Services, *, max_body_bytes: int = MAX_BODY_BYTES, budget_bytes: int = BUDGET_BYTES
    ) -> None:
        self._services = services
        self._maximum = max_body_bytes
        self._budget = ByteBudget(budget_bytes)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Raises Problem."""
        request = Request(scope)
        webhook, path = await self._webhook(request)
        call, listed = await self._admit(request, webhook, path)
        reader = BodyReader(self._budget, self._maximum)
        try:
            body = await reader.read(receive, _declared_length(request))
            if isinstance(body, Unread):
                response = self._not_read(body)
                if response is None:
                    return
                raise response
            call.body = body
            if listed.submission is None:
                await self._pass(listed, call, send)
            else:
                told = await self._services.submitter.submit(listed, call)
                await _response(_answered(told, call))(scope, receive, send)
        finally:
            reader.close()

    async def _webhook(self, request: Request) -> tuple[Webhook, str]:
        """The webhook that the address names, and the path behind it. Who shows no key learns nothing of either."""
        raw = request.scope.get("raw_path") or request.scope["path"].encode()
        match = _RAW.match(raw)
        webhooks = (await self._services.configuration.refresh()).webhooks
        webhook = None if match is None else webhooks.get(match[1].decode())
        if match is None or webhook is None or webhook.deleted_at is not None:
            await auth.authenticate(self._services, request, Scope.WRITE)
            raise not_found("webhook")
        return webhook, match[2].decode("latin-1")

    async def _admit(self, request: Request, webhook: Webhook, path: str) -> tuple[ClientCall, Listed]:
        """The call without its body, if the caller may make it and the profile lists it."""
        query = request.scope["query_string"].decode("latin-1")
        shown = self._shown(request, webhook, query)
        caller = await auth.caller_of(self._services, shown.key.reveal())
        auth.demand(caller, Scope.WRITE)
        listed = self._services.submitter.look(webhook, request.method, path)
        if isinstance(listed, Rejected):
            self._write_line(webhook.id, request.method, "rejected", listed.code)
            raise problem_of(listed)
        starts_job = listed.submission is not None
        call = ClientCall(
            webhook_id=webhook.id,
            method=request.method,
            path=path,
            query=shown.query,
            headers=tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw
            ),
            taken=shown.headers,
            key=shown.key,
            caller_id=caller.key_id,
            metadata=metadata_of(request.headers.getlist(METADATA)) if starts_job else {},
            idempotency_key=given_key(request) if starts_job else None,
            reached_at=_reached_at(request, webhook.id) if starts_job else "",
        )
        if len([name for name, _ in call.headers if name == "content-type"]) > 1:
            raise Problem(400, "invalid_header", "The body has one Content-Type.")
        return call, listed

    def _shown(self, request: Request, webhook: Webhook, query: str) -> ShownKey:
        if len(request.headers.getlist("authorization")) > 1:
            raise auth.missing()
        profile = self._services.profiles.get(webhook.provider)
        shown = None if profile is None else shown_key(profile, request.headers, query)
        if shown is None:
            raise auth.missing()
        return shown

    def _not_read(self, unread: Unread) -> Problem | None:
        """Why there is no body; None when nobody waits for an answer."""
        if unread is Unread.DISCONNECTED:
            return None
        if unread is Unread.TOO_LARGE:
            detail = f"The body is larger than {self._maximum} bytes."
            return Problem(413, "body_too_large", detail, headers={"connection": "close"})
        headers = {"retry-after": str(RETRY_AFTER_SECONDS), "connection": "close"}
        return Problem(503, "over_budget", "Too many large bodies are on their way. Try again.", headers=headers)

    async def _pass(self, listed: Listed, call: ClientCall, send: Send) -> None:
        """Send a call on that starts no job, and the answer back as it comes."""
        status: int | None = None  # once the head has gone out
        size = 0
        try:
            async with self._services.submitter.passing(listed, call) as answer:
                if isinstance(answer, Rejected):
                    self._write_line(call.webhook_id, call.method, "rejected", answer.code)
                    raise problem_of(answer)
                async for piece in answer.iter_bytes():
                    if status is None:
                        await send(_start(answer))
                        status = answer.status
                    size += len(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                if status is None:
                    await send(_start(answer))
                    status = answer.status
                await send({"type": "http.response.body", "body": b""})
                self._write_line(call.webhook_id, call.method, "passed", None, status, size)
        except OutboundError as error:
            self._write_line(call.webhook_id, call.method, "passed", error.code, status, size)
            if status is None:
                raise _unanswered(call.method, error.code) from None
            # What has gone out is not whole: the server closes the connection, so that nobody takes it for that.

    def _write_line(
        self,
        webhook_id: str,
        method: str,
        outcome: str,
        code: str | None,
        http_status: int | None = None,
        size: int = 0,
    ) -> None:
        log.info(
            "submit.passed",
            webhook_id=webhook_id,
            method=method,
            outcome=outcome,
            error_code=code,
            http_status=http_status,
            answer_bytes=size,
        )


def _reached_at(request: Request, webhook_id: str) -> str:
    """Where the client found this webhook's calls, by its own words or a proxy's; empty if that cannot be told.

    Nobody but this client is told of it, so that it may say what it likes.
    """
    host = request.headers.get("x-forwarded-host") or request.headers.get("host", "")
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme).partition(",")[0].strip()
    known = scheme in ("http", "https") and _HOST.fullmatch(host)
    return f"{scheme}://{host}/submit/{webhook_id}" if known else ""


def _declared_length(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _unanswered(method: str, code: str) -> Problem:
    """Of a call that starts no job: whether it may be sent again without doing something twice."""
    status = 504 if code == "timed_out" else 502
    if method in SAFE or code in NEVER_SENT:
        return Problem(status, "provider_not_reached", f"The provider did not answer: {code}.")
    detail = f"The provider gave no answer ({code}); whether it did what it was asked is not known."
    return Problem(status, "call_outcome_unknown", detail)


def _sendable(http_status: int) -> int:
    """HTTP has no status from 600 on, and no server sends one; walls in front of providers do, such as 999."""
    return http_status if http_status < 600 else 502


def _start(answer: ProviderAnswer) -> dict[str, object]:
    headers = {**dict(headers_to_return(answer.status, answer.headers)), **GUARD}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": _sendable(answer.status), "headers": raw}


def _answered(told: Forwarded | Rejected, call: ClientCall) -> Forwarded:
    """What the provider said. Raises Problem for what Relay says itself."""
    if isinstance(told, Rejected):
        raise problem_of(told)
    return told


def _response(told: Forwarded) -> Response:
    headers = {**dict(told.headers), **GUARD}
    if told.job_id is not None:
        headers[JOB_ID] = told.job_id
    if told.replayed:
        headers[REPLAYED] = "true"
    body = b"" if told.http_status in (204, 304) else told.body
    return Response(body, _sendable(told.http_status), headers)


def problem_of(rejected: Rejected) -> Problem:
    """What Relay itself answers, as it goes out."""
    given = {"allow": rejected.allow, JOB_ID: rejected.job_id}
    headers = {name: value for name, value in given.items() if value is not None}
    if rejected.retry_after is not None:
        headers["retry-after"] = str(rejected.retry_after)
    errors = []
    if rejected.pointer is not None or rejected.parameter is not None:
        errors = [Wrong(rejected.detail, rejected.code, pointer=rejected.pointer, parameter=rejected.parameter)]
    return Problem(rejected.http_status, rejected.code, rejected.detail, errors, headers)
