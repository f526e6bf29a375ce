"""One relay's HTTP API: JSON in, JSON out, problems (RFC 9457) as exceptions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx2

import relay
from relay.errors import RelayError
from relay.model import Secret

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field or parameter of a request."""

    place: str
    detail: str


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event; without data it is a comment."""

    id: str | None
    name: str
    data: str


class ApiError(RelayError):
    """The relay answered that it would not. `str()` is one readable line; `fields` says what was wrong where."""

    def __init__(
        self, status: int, code: str, message: str, fields: tuple[FieldError, ...], request_id: str | None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields
        self.request_id = request_id


class Unreachable(RelayError):
    """Nobody answered at the relay's address."""


class Unexpected(RelayError):
    """Something answered that does not speak as a relay does."""


class Api:
    """A connection to one relay. Use it as a context manager.

    It honours proxy and certificate variables of the environment, being a tool in its user's hands, and follows no
    redirect, so that the key goes to no other host. Every method raises ApiError, Unreachable or Unexpected.
    """

    def __init__(self, url: str, api_key: Secret | None) -> None:
        self.url = url
        self.api_key = api_key
        headers = {"user-agent": f"relay/{relay.__version__}", "accept": "application/json"}
        if api_key is not None:
            headers["authorization"] = f"Bearer {api_key.reveal()}"
        timeout = httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        self._client = httpx2.Client(base_url=url, headers=headers, timeout=timeout, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        body: object = None,
        wait_seconds: float = 0,
    ) -> Any:
        """The answer's JSON object, None where it is empty. `wait_seconds`: how long the relay itself may take."""
        with self._translated():
            response = self._client.request(
                method,
                path,
                params=_query(params or {}),
                json=body,
                timeout=httpx2.Timeout(ANSWER_SECONDS + wait_seconds, connect=CONNECT_SECONDS),
            )
        _refuse(response)
        return _json(response) if response.content else None

    def submit(self, path: str, body: object) -> str | None:
        """Have a provider asked for work through `/submit/…`; the id of the job, None where the call starts none."""
        with self._translated():
            response = self._client.request("POST", path, json=body)
        _refuse(response)
        return response.headers.get("relay-job-id")

    def pages(self, path: str, params: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """All items of a list, newest first, page by page as they are consumed."""
        cursor: object = None
        while True:
            page = self.page(path, {**params, "limit": 200, "cursor": cursor})
            yield from page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def page(self, path: str, params: Mapping[str, object]) -> dict[str, Any]:
        """One page of a list: `data` and `next_cursor` (None = the last one)."""
        page = self.call("GET", path, params=params) or {}
        data = page.get("data")
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise Unexpected(f"{self.url} does not answer as a relay does (no list in {path}): is RELAY_URL right?")
        return {**page, "next_cursor": page.get("next_cursor")}

    def download(self, path: str) -> Iterator[bytes]:
        """The answer's bytes in pieces of at most 64 KiB."""
        with self._translated(), self._client.stream("GET", path, headers={"accept": "*/*"}) as response:
            if not response.is_success:
                response.read()
                _refuse(response)
            yield from response.iter_bytes(CHUNK_BYTES)

    def events(
        self, path: str, params: Mapping[str, object], last_event_id: str | None, *, quiet_seconds: float
    ) -> Iterator[ServerEvent]:
        """Server-sent events until the stream ends. Comments come as events without data, so that a caller knows that
        the relay is there; a stream that says nothing for `quiet_seconds` is Unreachable."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_event_id} if last_event_id else {})
        timeout = httpx2.Timeout(quiet_seconds, connect=CONNECT_SECONDS)
        with (
            self._translated(),
            self._client.stream("GET", path, params=_query(params), headers=headers, timeout=timeout) as response,
        ):
            if not response.is_success:
                response.read()
                _refuse(response)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise Unexpected(_not_a_relay(response))
            yield from _events(response.iter_lines())

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TimeoutException as error:
            raise Unreachable(f"the relay at {self.url} does not answer ({type(error).__name__})") from error
        except httpx2.ConnectError as error:
            raise Unreachable(f"nobody answers: is `relay serve` running at {self.url}? ({error})") from error
        except httpx2.TransportError as error:
            raise Unreachable(f"the connection to the relay at {self.url} broke: {error}") from error


def _events(lines: Iterable[str]) -> Iterator[ServerEvent]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if line.startswith(":"):
            yield ServerEvent(None, "", "")
        elif line:
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
        elif fields:
            yield ServerEvent(fields.get("id"), fields.get("event", "message"), fields.get("data", ""))
            fields = {}


def _query(params: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in params.items() if value is not None}


def _json(response: httpx2.Response) -> dict[str, Any]:
    try:
        value = response.json()
    except ValueError as error:
        raise Unexpected(_not_a_relay(response)) from error
    if not isinstance(value, dict):
        raise Unexpected(_not_a_relay(response))
    return value


def _refuse(response: httpx2.Response) -> None:
    """Raise what the answer says went wrong."""
    if response.is_success:
        return
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or not isinstance(problem.get("code"), str):
        raise Unexpected(_not_a_relay(response))
    fields = tuple(_field(item) for item in problem.get("errors") or () if isinstance(item, dict))
    message = str(problem.get("detail") or problem.get("title") or problem["code"])
    hint = problem.get("hint")
    request_id = problem.get("request_id")
    raise ApiError(
        response.status_code,
        problem["code"],
        f"{message} ({hint})" if hint else message,
        fields,
        request_id if isinstance(request_id, str) else None,
    )


def _field(item: Mapping[str, object]) -> FieldError:
    place = item.get("pointer") or item.get("parameter") or item.get("header") or item.get("field") or "?"
    return FieldError(str(place).removeprefix("#/"), str(item.get("detail") or item.get("code") or json.dumps(item)))


def _not_a_relay(response: httpx2.Response) -> str:
    kind = response.headers.get("content-type", "no content type")
    where = f"{response.request.url.scheme}://{response.request.url.netloc.decode('ascii')}"
    more = f", to {response.headers['location']}" if response.is_redirect else ""
    return f"{where} does not answer as a relay does (HTTP {response.status_code}, {kind}{more}): is RELAY_URL right?"
