"""What a relay's answers mean: problems (RFC 9457), lists, server-sent events. No input or output."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from relay.client.errors import ApiError, FieldError, Unavailable, Unexpected, Unreachable, kind_of
from relay.errors import RelayError

FIRST_PAUSE_SECONDS: Final = 0.25
LONGEST_PAUSE_SECONDS: Final = 10.0
LONGEST_RETRY_AFTER_SECONDS: Final = 60.0
UNDER_WAY: Final = "idempotency_key_running"  # the same request is being answered just now
MAY_BE_DONE: Final = "call_outcome_unknown"  # of a call to a provider that has no key by which it would be done once
PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One server-sent event; without data it is a comment."""

    id: str | None
    name: str
    data: str


class EventReader:
    """Pieces of an event stream, put together.

    A line ends with a line feed and with nothing else: what Python takes for the end of a line besides, such as U+2028,
    may stand in an event's data.
    """

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}
        self._rest = b""

    def take(self, piece: bytes) -> Iterator[ServerEvent]:
        """The events and comments that end in this piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            event = self._line(line.removesuffix(b"\r").decode("utf-8", "replace"))
            if event is not None:
                yield event

    def _line(self, line: str) -> ServerEvent | None:
        if line.startswith(":"):
            return ServerEvent(None, "", "")
        fields = self._fields
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
            return None
        self._fields = {}
        return ServerEvent(fields.get("id"), fields.get("event", "message"), fields.get("data", "")) if fields else None


def query_of(params: Mapping[str, object]) -> dict[str, str]:
    """Query parameters: what is None is left out, several values are joined with commas."""
    return {name: _text(value) for name, value in params.items() if value is not None}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(str(each) for each in value) if isinstance(value, list | tuple | frozenset | set) else str(value)


def json_object(response: httpx2.Response) -> dict[str, Any]:
    """The answer's JSON object. Raises Unexpected."""
    try:
        value = response.json()
    except ValueError as error:
        raise not_a_relay(response) from error
    if not isinstance(value, dict):
        raise not_a_relay(response)
    return value


def refusal_of(response: httpx2.Response) -> ApiError | Unexpected | None:
    """What the answer says went wrong; None for a success."""
    if response.is_success:
        return None
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or not isinstance(problem.get("code"), str):
        return not_a_relay(response)
    fields = tuple(_field(item) for item in problem.get("errors") or () if isinstance(item, dict))
    message = str(problem.get("detail") or problem.get("title") or problem["code"])
    hint = problem.get("hint")
    request_id = problem.get("request_id")
    return kind_of(response.status_code)(
        response.status_code,
        problem["code"],
        f"{message} ({hint})" if hint else message,
        fields,
        request_id if isinstance(request_id, str) else None,
        _seconds(response.headers.get("retry-after")),
    )


def own_refusal_of(response: httpx2.Response) -> ApiError | None:
    """What the relay itself refused, of an answer that may be a provider's."""
    if response.is_success or not response.headers.get("content-type", "").startswith(PROBLEM):
        return None
    refusal = refusal_of(response)
    return refusal if isinstance(refusal, ApiError) and refusal.request_id else None


def may_pass(error: RelayError) -> bool:
    """Whether trying again can help: nobody is there, or somebody who cannot just now."""
    if isinstance(error, ApiError):
        return isinstance(error, Unavailable) or error.code == UNDER_WAY
    return isinstance(error, Unreachable) or (isinstance(error, Unexpected) and (error.status or 0) >= 500)


def pause_before(attempt: int, error: RelayError, chance: float) -> float:
    """Seconds to wait before a retry. `attempt` counts from 0, `chance` is a number in [0, 1) for jitter."""
    asked = error.retry_after if isinstance(error, ApiError) else None
    backoff = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(attempt, 10)) * (0.5 + chance / 2)
    return max(backoff, min(asked or 0.0, LONGEST_RETRY_AFTER_SECONDS))


def unreachable(url: str, error: httpx2.TransportError | httpx2.DecodingError) -> Unreachable:
    """Why nobody answered."""
    if isinstance(error, httpx2.TimeoutException):
        return Unreachable(f"the relay at {url} does not answer ({type(error).__name__})")
    if isinstance(error, httpx2.ConnectError) and "[SSL" in str(error):
        return Unreachable(
            f"whoever answers at {url} and this machine agree on no TLS: is it http, not https? ({error})"
        )
    if isinstance(error, httpx2.ConnectError):
        return Unreachable(f"nobody answers: is `relay serve` running at {url}? ({error})")
    return Unreachable(f"the connection to the relay at {url} broke: {error}")


def not_a_relay(response: httpx2.Response) -> Unexpected:
    """Somebody else is there."""
    kind = response.headers.get("content-type", "no content type")
    where = f"{response.request.url.scheme}://{response.request.url.netloc.decode('ascii')}"
    more = f", to {response.headers['location']}" if response.is_redirect else ""
    status = response.status_code
    return Unexpected(
        f"{where} does not answer as a relay does (HTTP {status}, {kind}{more}): is RELAY_URL right?", status
    )


def _field(item: Mapping[str, object]) -> FieldError:
    place = item.get("pointer") or item.get("parameter") or item.get("header") or item.get("field") or "?"
    return FieldError(str(place).removeprefix("#/"), str(item.get("detail") or item.get("code") or json.dumps(item)))


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else None
