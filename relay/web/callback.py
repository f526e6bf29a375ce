"""The callback URL: a provider's notification comes in here, `{public_url}/in/{token}` with anything after it.

Raw ASGI, for this is the hot path. The token is judged before the body is read, a 2xx is sent only for what the
receiver says is stored, and whatever goes wrong on our side is a 503, which every provider may try again.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import unquote

import structlog
from starlette.types import Receive, Scope, Send

from relay.clock import Clock, Instant
from relay.errors import StoreUnavailable
from relay.ids import new_id
from relay.metrics import Metrics
from relay.pipeline.admission import Admitted, TurnedAway
from relay.pipeline.prepare import Inbound
from relay.pipeline.receive import Answer, Then
from relay.signing.tokens import token_fingerprint
from relay.tracing import Received, Tracer
from relay.web import replies
from relay.web.direct import Respond
from relay.web.intake import BodyReader, ByteBudget, Unread
from relay.web.replies import Headers, Reply


class ReceiveStage(Protocol):
    """What is asked of `relay.pipeline.receive.Receiver`."""

    async def admit(self, token: str, method: str) -> Admitted | TurnedAway:
        """Judge token and method, without the body."""
        ...

    def admit_now(self, token: str, method: str) -> Admitted | None:
        """The same where nothing has to be waited for and nothing is wrong; None = ask `admit`."""
        ...

    async def receive(self, admitted: Admitted, inbound: Inbound) -> Answer:
        """Store the notification, or say why not. Raises StoreUnavailable."""
        ...

    def receive_soon(self, admitted: Admitted, inbound: Inbound, then: Then) -> bool:
        """The same without a task: `then` is called with the outcome. False = only `receive` can do it."""
        ...


PREFIX: Final = b"/in/"
RETRY_AFTER_SECONDS: Final = 5
_UNREAD_STATUS: Final = {Unread.TOO_LARGE: 413, Unread.OVER_BUDGET: 503}
_UNREAD: Final = frozenset(why.value for why in _UNREAD_STATUS)
_REFUSED_STATUS: Final = {404: "unknown", 405: "method_not_allowed", 410: "gone"}


@dataclass(slots=True)
class _Call:
    """One request on its way through, with what its log line will say."""

    came_at: Instant
    token: str
    method: str
    suffix: str
    query: bytes
    started: float
    headers: Headers
    admitted: Admitted | None = None
    reserved: int = 0  # bytes of the budget, for a body that is read elsewhere
    webhook_id: str | None = None
    job_id: str | None = None
    notification_id: str | None = None
    status: str = "unavailable"
    http_status: int = 503
    size: int = 0
    error: str | None = None
    _request_id: str = ""

    @property
    def request_id(self) -> str:
        """Made when it is first asked for: where no line is logged, most calls need none."""
        if not self._request_id:
            self._request_id = new_id("req", self.came_at)
        return self._request_id


class CallbackEndpoint:
    """ASGI application for every path under `/in/`."""

    def __init__(
        self,
        receiver: ReceiveStage,
        clock: Clock,
        *,
        max_notification_bytes: int,
        intake_budget_bytes: int,
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
        log: Any = None,
    ) -> None:
        self._receiver = receiver
        self._clock = clock
        self._maximum = max_notification_bytes
        self.budget = ByteBudget(intake_budget_bytes)
        self._metrics = metrics or Metrics()
        self._tracer = tracer
        # Bound here so that no call pays for looking the configuration up.
        self._log = (log or structlog.get_logger("relay.web.callback")).bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        token, suffix = split_path(scope["raw_path"])
        headers: Headers = scope["headers"]
        if method == "OPTIONS":
            await replies.options().send(send)
            return
        if method == "HEAD" or (method == "GET" and _is_browser(headers)):
            # Before the token is looked at: a person, or a link preview, learns nothing from the difference.
            await replies.page().send(send)
            return
        clock = self._clock
        query: bytes = scope["query_string"]
        call = _Call(clock.now(), token, method, suffix, query, clock.monotonic(), headers)
        reply = await self._answer(call, scope, receive)
        if reply is not None:
            await reply.send(send)
        self._finish(call)

    async def _answer(self, call: _Call, scope: Scope, receive: Receive) -> Reply | None:
        """Judge the token, read the body, hand it over. None when nobody waits for an answer any more."""
        reader = BodyReader(self.budget, self._maximum)
        try:
            admitted = await self._receiver.admit(call.token, call.method)
            if isinstance(admitted, TurnedAway):
                if call.method == "GET" and _accepts(call.headers, b"text/html"):
                    call.http_status, call.status = 405, "page"
                    return replies.page()
                call.error = admitted.reason
                return _refuse(call, admitted.http_status, admitted.retry_after, admitted.allow)
            call.admitted, call.webhook_id = admitted, admitted.webhook.id
            body = await reader.read(receive, _declared_length(call.headers))
            if isinstance(body, Unread):
                return _not_read(call, body)
            return await self._store(call, admitted, body)
        except StoreUnavailable:
            call.error = "store_unavailable"
        except Exception as error:
            self._failed(call, error)
        finally:
            reader.close()
        return _refuse(call, 503, RETRY_AFTER_SECONDS)

    async def _store(self, call: _Call, admitted: Admitted, body: bytes) -> Reply:
        return _reply(call, await self._receiver.receive(admitted, self._inbound(call, body)))

    def _inbound(self, call: _Call, body: bytes) -> Inbound:
        call.size = len(body)
        headers = tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in call.headers])
        return Inbound(call.method, call.suffix, call.query.decode("latin-1"), headers, body, self._clock.now())

    def _failed(self, call: _Call, error: Exception) -> None:
        """The provider must be able to try again whatever happened here, and the process has other callers."""
        call.error = type(error).__name__
        self._log.error("notification.failed", request_id=call.request_id, webhook_id=call.webhook_id, exc_info=error)

    # `relay.web.direct.Direct`: the same without ASGI, for what is short and not refused

    def admit(self, url: bytes, headers: Headers, length: int) -> _Call | None:
        """See `Direct`."""
        if not url.startswith(PREFIX) or b"#" in url or length > self._maximum:
            return None
        path, _, query = url.partition(b"?")
        token, suffix = split_path(path)
        try:
            admitted = self._receiver.admit_now(token, "POST")
        except Exception:  # raised into the parser it would pass for a malformed request; the other way it is a 503
            return None
        if admitted is None or not self.budget.take(length):
            return None
        clock = self._clock
        call = _Call(clock.now(), token, "POST", suffix, query, clock.monotonic(), headers)
        call.admitted, call.webhook_id, call.reserved = admitted, admitted.webhook.id, length
        return call

    def answer(self, admitted: _Call, body: bytes, respond: Respond) -> Coroutine[Any, Any, None] | None:
        """See `Direct`."""
        call, known = admitted, admitted.admitted
        if known is None:
            raise AssertionError("only what was admitted comes here")
        try:
            if self._receiver.receive_soon(known, self._inbound(call, body), partial(self._answered, call, respond)):
                return None
        except Exception as error:
            self._answered(call, respond, None, error)
            return None
        return self._answer_later(call, known, body, respond)

    async def _answer_later(self, call: _Call, admitted: Admitted, body: bytes, respond: Respond) -> None:
        answer: Answer | None = None
        error: Exception | None = None
        try:
            answer = await self._receiver.receive(admitted, self._inbound(call, body))
        except Exception as raised:
            error = raised
        self._answered(call, respond, answer, error)

    def _answered(self, call: _Call, respond: Respond, answer: Answer | None, error: Exception | None) -> None:
        self.budget.give_back(call.reserved)
        if answer is not None:
            reply = _reply(call, answer)
        else:
            if isinstance(error, StoreUnavailable):
                call.error = "store_unavailable"
            elif error is not None:
                self._failed(call, error)
            reply = _refuse(call, 503, RETRY_AFTER_SECONDS)
        respond(reply)
        self._finish(call)

    def abandon(self, admitted: _Call) -> None:
        """See `Direct`."""
        self.budget.give_back(admitted.reserved)
        admitted.status, admitted.http_status = "disconnected", 0
        self._finish(admitted)

    def _finish(self, call: _Call) -> None:
        """Count it, and write its line."""
        seconds = self._clock.monotonic() - call.started
        known = call.admitted
        name, provider = ("", "") if known is None else (known.webhook.name, known.webhook.provider)
        outcome = call.error if call.error in _UNREAD else call.status
        self._metrics.notified(name, provider, outcome, seconds)
        if self._tracer is not None:
            self._trace(self._tracer, call, name, outcome, seconds)
        if not self._log.is_enabled_for(logging.INFO):
            return  # what stands in the line costs something too
        self._log.info(
            "notification.received",
            request_id=call.request_id,
            webhook_id=call.webhook_id,
            notification_id=call.notification_id,
            job_id=call.job_id,
            token=token_fingerprint(call.token),
            method=call.method,
            status=call.status,
            http_status=call.http_status,
            bytes=call.size,
            duration_ms=round(seconds * 1000, 2),
            error_code=call.error,
        )

    def _trace(self, tracer: Tracer, call: _Call, webhook: str, outcome: str, seconds: float) -> None:
        theirs = next((value for name, value in call.headers if name == b"traceparent"), None)
        received = Received(
            request_id=call.request_id,
            job_id=call.job_id,
            notification_id=call.notification_id,
            webhook=webhook,
            method=call.method,
            http_status=call.http_status,
            outcome=outcome,
            size=call.size,
            started_at=call.came_at,
            seconds=seconds,
            traceparent=None if theirs is None else theirs.decode("latin-1"),
        )
        tracer.write(received)


def split_path(raw_path: bytes) -> tuple[str, str]:
    """Token and the rest of a raw request path under `/in/`; the rest keeps its slash and its percent signs."""
    token, slash, rest = raw_path[len(PREFIX) :].decode("latin-1").partition("/")
    return (unquote(token) if "%" in token else token), slash + rest


def _declared_length(headers: Headers) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            return int(value)  # the HTTP parser has seen to it that it is a number
    return None


def _is_browser(headers: Headers) -> bool:
    # Some HTTP libraries accept text/html by default: where a profile uses GET, theirs is a notification like others.
    return _accepts(headers, b"application/xhtml+xml") or (b"sec-fetch-mode", b"navigate") in headers


def _accepts(headers: Headers, media_type: bytes) -> bool:
    return any(name == b"accept" and media_type in value for name, value in headers)


def _not_read(call: _Call, why: Unread) -> Reply | None:
    if why is Unread.DISCONNECTED:
        call.status, call.http_status = "disconnected", 0
        return None
    call.error = why.value
    return _refuse(call, _UNREAD_STATUS[why], RETRY_AFTER_SECONDS if why is Unread.OVER_BUDGET else None)


def _refuse(call: _Call, http_status: int, retry_after: int | None = None, allow: str | None = None) -> Reply:
    """An answer that was found without the receiver having stored anything, possibly before the body was read."""
    call.http_status = http_status
    call.status = _REFUSED_STATUS.get(http_status, "unavailable" if http_status == 503 else "refused")
    # A caller that was never told to continue may send its next request or the body after all: no telling them apart.
    closing = any(name == b"expect" for name, _ in call.headers)
    return replies.problem(http_status, call.request_id, retry_after=retry_after, allow=allow, closing=closing)


def _reply(call: _Call, answer: Answer) -> Reply:
    call.status, call.http_status = answer.status, answer.http_status
    call.notification_id, call.job_id = answer.notification_id, answer.job_id
    if answer.http_status < 400:
        return replies.stored(answer.http_status, answer.notification_id, answer.job_id, answer.status, answer.reason)
    call.error = answer.reason
    return replies.problem(answer.http_status, call.request_id, detail=answer.reason, retry_after=answer.retry_after)
