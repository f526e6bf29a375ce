"""One management endpoint: what it takes, who may, what it answers. Validation and OpenAPI both read it from here.

    @endpoint("POST", "/v1/keys", scope=Scope.ADMIN, answers={201: NewKeyView})
    async def create(call: Call[NoQuery, NewKey]) -> Answer: ...

The types of the query and of the body are those of the handler's `call`. Refusals come in this order: 401, 403, 400 for
the query, 413, 415, 400 for malformed JSON, 422.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request
from starlette.responses import Response

from relay.clock import Instant
from relay.ids import is_id
from relay.model import Scope
from relay.store.rows import Connection
from relay.web import body as bodies
from relay.web.auth import Caller, authenticate, demand
from relay.web.fields import Nothing
from relay.web.idempotency import Once
from relay.web.problems import Problem, Wrong, not_found
from relay.web.services import Services

Q = TypeVar("Q")
B = TypeVar("B")
T = TypeVar("T")

NOUNS: Final = {"wh": "webhook", "ntf": "notification", "job": "job", "res": "result", "sub": "subscription"} | {
    "evt": "event",
    "dlv": "delivery", "rpl": "replay", "key": "key",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer; None is an empty one."""

    status: int
    view: BaseModel | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def render(self) -> bytes:
        """The body as it goes out and is kept for a repeated request."""
        return b"" if self.view is None else self.view.model_dump_json().encode()

    def all_headers(self) -> dict[str, str]:
        """With the one that every answer of the API has."""
        return {"cache-control": "no-store", **self.headers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Q, B]):
    """One validated request."""

    services: Services
    request: Request
    caller: Caller
    id: str  # the id in the path; empty where there is none
    query: Q
    body: B
    given: frozenset[str]  # the names that the body really held, for PATCH
    once: Once
    now: Instant

    async def write(self, effect: Callable[[Connection], T], answer: Callable[[T], Answer]) -> Answer:
        """Run `effect` and keep its answer for a repetition of the request, in one transaction."""

        def both(conn: Connection) -> Answer:
            made = answer(effect(conn))
            self.keep(conn, made)
            return made

        return await self.services.database.write(both)

    def keep(self, conn: Connection, answer: Answer) -> None:
        """Keep the answer for a repetition of the request, in the transaction of its effect."""
        self.once.keep(conn, answer.status, answer.render(), answer.all_headers())

    async def reconfigured(self) -> None:
        """Have this process and the others see changed webhooks, subscriptions or keys."""
        await self.services.configuration.refresh()
        self.services.waker.configuration_changed()


Handler = Callable[[Call[Any, Any]], Awaitable[Answer | Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A handler with everything that is said about it."""

    method: str
    path: str
    handler: Handler
    scope: Scope | None  # None: the handler asks for something else than a key
    query: type[BaseModel]
    body: type[BaseModel]
    answers: Mapping[int, type[BaseModel] | str | None]  # a model, a content type, or nothing
    prefix: str | None  # of the id in the path
    refusals: Sequence[int]  # statuses of problems beside the usual ones

    @property
    def takes_body(self) -> bool:
        """Whether a body means anything here."""
        return self.body is not Nothing

    @property
    def needs_body(self) -> bool:
        """Whether an empty body would be refused."""
        return any(item.is_required() for item in self.body.model_fields.values())

    async def __call__(self, services: Services, request: Request) -> Response:
        """Validate, run, answer. Raises Problem."""
        caller = await authenticate(services, request, self.scope)
        query = _read_query(self.query, request.query_params.multi_items())
        id = self._id(request.path_params.get("id", ""))
        raw = await bodies.read(request) if request.method not in ("GET", "HEAD") else b""
        body, given = self._read_body(raw, request)
        once = Once(services, caller, request, raw)
        call = Call(
            services=services, request=request, caller=caller, id=id, query=query, body=body, given=given, once=once,
            now=services.clock.now(),
        )  # fmt: skip
        if self.method != "POST":
            return _respond(await self.handler(call))
        return await once.run(partial(self._run, call))

    async def ask(
        self,
        services: Services,
        request: Request,
        caller: Caller,
        *,
        id: str = "",
        query: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Do the same for somebody in this process whose caller is known already: the dashboard. Raises Problem."""
        if self.scope is not None:
            demand(caller, self.scope)
        read, given = self._read_given(body or {}) if self.takes_body else (self.body(), frozenset())
        call = Call(
            services=services, request=request, caller=caller, id=self._id(id), query=_read_query(self.query, query),
            body=read, given=given, once=Once(services, caller, request, b""), now=services.clock.now(),
        )  # fmt: skip
        answer = await self.handler(call)
        if not isinstance(answer, Answer):
            raise TypeError(f"{self.path} answers with bytes of its own")
        return answer

    def _read_given(self, body: Mapping[str, Any]) -> tuple[BaseModel, frozenset[str]]:
        raw = json.dumps(body).encode()  # not orjson, which refuses by itself what is to be refused by place
        bodies.parse(raw, "application/json")
        return self._validated(raw)

    async def _run(self, call: Call[Any, Any]) -> Response:
        return _respond(await self.handler(call))

    def _id(self, id: str) -> str:
        if self.prefix is not None and not is_id(id, self.prefix):
            raise not_found(NOUNS[self.prefix])
        return id

    def _read_body(self, raw: bytes, request: Request) -> tuple[BaseModel, frozenset[str]]:
        if not raw and not self.needs_body:
            return self.body(), frozenset()
        if not raw and "content-type" not in request.headers:
            raise Problem(400, "body_missing", "A JSON body is needed here.")
        bodies.parse(raw, request.headers.get("content-type"))
        return self._validated(raw)

    def _validated(self, raw: bytes) -> tuple[BaseModel, frozenset[str]]:
        try:
            read = self.body.model_validate_json(raw)
        except ValidationError as error:
            wrong = [_wrong_field(detail) for detail in error.errors(include_url=False, include_input=False)]
            shown = wrong[: bodies.SHOWN_ERRORS]
            raise Problem(422, "validation_error", bodies.count_of_fields(len(wrong)), shown) from None
        return read, frozenset(read.model_fields_set)


def endpoint(
    method: str,
    path: str,
    *,
    scope: Scope | None,
    answers: Mapping[int, type[BaseModel] | str | None],
    prefix: str | None = None,
    refusals: Sequence[int] = (),
) -> Callable[[Handler], Endpoint]:
    """Describe a handler. Registers nothing: `relay.web.management` lists the endpoints that are served."""

    def describe(handler: Handler) -> Endpoint:
        query, body = get_args(get_type_hints(handler)["call"])
        return Endpoint(
            method=method, path=path, handler=handler, scope=scope, query=query, body=body, answers=answers,
            prefix=prefix, refusals=refusals,
        )  # fmt: skip

    return describe


def _respond(answer: Answer | Response) -> Response:
    if isinstance(answer, Response):
        return answer
    media_type = None if answer.view is None else "application/json"
    return Response(answer.render(), answer.status, answer.all_headers(), media_type)


def _read_query(model: type[BaseModel], items: Sequence[tuple[str, str]]) -> BaseModel:
    given: dict[str, Any] = {}
    for name, value in items:
        if name in model.model_fields and _is_list(model, name):
            # A comma and a repetition both mean "or".
            given[name] = given.get(name, ()) + tuple(value.split(","))
        elif name in given:
            raise _wrong_query([Wrong("is given twice", "repeated", parameter=name)])
        elif "\x00" in value:
            raise _wrong_query([Wrong("contains the character U+0000", "nul_character", parameter=name)])
        else:
            given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _wrong_query([_wrong_parameter(detail) for detail in error.errors(include_input=False)]) from None


def _is_list(model: type[BaseModel], name: str) -> bool:
    return getattr(model.model_fields[name].annotation, "__origin__", None) is tuple


def _wrong_query(wrong: list[Wrong]) -> Problem:
    names = ", ".join(dict.fromkeys(item.parameter or "" for item in wrong[: bodies.SHOWN_ERRORS]))
    return Problem(400, "invalid_parameter", f"The query is not valid: {names}", wrong[: bodies.SHOWN_ERRORS])


def _wrong_parameter(detail: ErrorDetails) -> Wrong:
    parameter = str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        return Wrong("is not a parameter of this address", "unknown_parameter", parameter=parameter)
    return Wrong(_message(detail), detail["type"], parameter=parameter)


def _wrong_field(detail: ErrorDetails) -> Wrong:
    pointer = "/".join(["#", *(bodies.escape(step) for step in detail["loc"])])
    if detail["type"] == "extra_forbidden":
        return Wrong("is not a field of this body", "unknown_field", pointer=pointer)
    return Wrong(_message(detail), detail["type"], pointer=pointer)


def _message(detail: ErrorDetails) -> str:
    text = detail["msg"].removeprefix("Value error, ")
    return text[:1].lower() + text[1:]
