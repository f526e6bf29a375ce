"""Every error of the management API as `application/problem+json` (RFC 9457), with a code and the request's id."""

from __future__ import annotations

import http
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from relay.clock import Clock
from relay.errors import Conflict, StoreError, Torn
from relay.ids import new_id

REQUEST_ID: Final = "x-request-id"
CONTENT_TYPE: Final = "application/problem+json"
SUBMIT: Final = "/submit/"
OUR_ERROR: Final = "relay_error"  # the type by which a provider's client tells Relay's words from the provider's


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that is wrong with a request, at a JSON pointer into the body or in a query parameter."""

    detail: str
    code: str
    pointer: str | None = None
    parameter: str | None = None

    def to_json(self) -> dict[str, str]:
        """Without the absent ones."""
        place = {"pointer": self.pointer} if self.pointer is not None else {"parameter": self.parameter or ""}
        return {**place, "detail": self.detail, "code": self.code}


@dataclass(slots=True, eq=False)
class Problem(Exception):
    """An answer that says what is wrong. Raised anywhere in a handler; becomes the response."""

    status: int
    code: str
    detail: str
    errors: Sequence[Wrong] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


def not_found(noun: str) -> Problem:
    """There is none with this id, or the id is malformed: the same answer."""
    return Problem(404, "not_found", f"There is no such {noun}.")


def unprocessable(pointer: str, detail: str, code: str) -> Problem:
    """One field of the body is well-formed but wrong."""
    return Problem(422, "validation_error", "1 field is wrong.", [Wrong(detail, code, pointer=pointer)])


def conflict(code: str, detail: str) -> Problem:
    """The state of things does not allow it."""
    return Problem(409, code, detail)


def respond(problem: Problem, request_id: str, path: str = "") -> Response:
    """The problem as a response; to a provider's client also in the form in which those show errors."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
    }
    if problem.errors:
        content["errors"] = [wrong.to_json() for wrong in problem.errors]
    if path.startswith(SUBMIT):
        content["error"] = {"message": problem.detail, "type": OUR_ERROR, "code": problem.code}
    return Response(orjson.dumps(content), problem.status, dict(problem.headers), CONTENT_TYPE)


def from_exception(error: Exception) -> Problem | None:
    """The problem that an expected exception stands for; None for a surprise."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return _from_router(error)
    if isinstance(error, Conflict):
        wrong = Wrong("is already taken", f"{error.field}_taken", pointer=f"#/{error.field}")
        return Problem(409, f"{error.field}_taken", f"This {error.field} is already taken.", [wrong])
    if isinstance(error, Torn):
        return Problem(503, "torn", str(error))
    if isinstance(error, StoreError):
        detail = "The database cannot be used at this moment. Try again."
        return Problem(503, "store_unavailable", detail, headers={"retry-after": "1"})
    return None


def _from_router(error: HTTPException) -> Problem:
    if error.status_code == 404:
        return Problem(404, "not_found", "There is nothing at this address.")
    if error.status_code == 405:
        detail = "This address does not take this method."
        return Problem(405, "method_not_allowed", detail, headers=dict(error.headers or {}))
    return Problem(error.status_code, "http_error", error.detail, headers=dict(error.headers or {}))


class ProblemMiddleware:
    """The outermost layer: gives every request an id and turns whatever is raised into a problem."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._log = structlog.get_logger("relay.web")

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req", self._clock.now())
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), (REQUEST_ID.encode(), request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            problem = from_exception(error)
            if problem is None:
                # Not the traceback's values: they may be secrets. The type and place are enough to find it.
                self._log.exception("request.crashed", request_id=request_id, path=scope["path"])
                problem = Problem(500, "internal_error", "Something went wrong inside Relay. Its log says what.")
            if started:
                raise
            await respond(problem, request_id, scope["path"])(scope, receive, send_with_id)


async def handle(request: Request, error: Exception) -> Response:
    """Starlette's handler for the router's own errors and for problems raised by handlers."""
    problem = from_exception(error)
    if problem is None:
        raise error
    return respond(problem, request.state.request_id, request.url.path)
