"""One relay's HTTP API: JSON in, JSON out, problems (RFC 9457) as exceptions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import httpx2

import relay
from relay.client.answers import (
    MAY_BE_DONE,
    EventReader,
    ServerEvent,
    json_object,
    may_pass,
    not_a_relay,
    own_refusal_of,
    pause_before,
    query_of,
    refusal_of,
    unreachable,
)
from relay.client.errors import ApiError, Unexpected, Unreachable
from relay.client.pauses import Pause, pause
from relay.clock import Clock, SystemClock
from relay.model import Secret

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
PROVIDER_SECONDS = 120.0  # a relay's own RELAY_FETCH_TIMEOUT_SECONDS, unless set: so long a provider may take
CHUNK_BYTES = 64 * 1024
ONCE = "idempotency-key"


class Api:
    """A connection to one relay. Use it as a context manager.

    It honours proxy and certificate variables of the environment, being a tool in its user's hands, and follows no
    redirect, so that the key goes to no other host. Every method raises ApiError, Unreachable or Unexpected.
    `retries`: how often a request is sent again that met nobody, or somebody who cannot just now. A POST that is
    sent again takes effect once: it carries an Idempotency-Key. `pause` and `clock` are for tests.
    """

    def __init__(
        self,
        url: str,
        api_key: Secret | None,
        *,
        retries: int = 0,
        answer_seconds: float = ANSWER_SECONDS,
        pause: Pause = pause,
        clock: Clock | None = None,
    ) -> None:
        self.url = url
        self.api_key = api_key
        self.pause = pause
        self.clock = clock or SystemClock()
        self._retries = retries
        self._answer_seconds = answer_seconds
        headers = {"user-agent": f"relay/{relay.__version__}", "accept": "application/json"}
        if api_key is not None:
            headers["authorization"] = f"Bearer {api_key.reveal()}"
        self._client = httpx2.Client(base_url=url, headers=headers, timeout=self._timeout(), follow_redirects=False)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        body: object = None,
        wait_seconds: float = 0,
        idempotency_key: str | None = None,
        once: bool = False,
    ) -> Any:
        """The answer's JSON object, None where it is empty. `wait_seconds`: how long the relay itself may take.

        `once`: it is not sent again, because the caller has a time of its own in which it asks again.
        """
        key = idempotency_key or (str(uuid.uuid4()) if method == "POST" and self._retries else None)
        attempt = 0
        while True:
            try:
                response = self._request(
                    method,
                    path,
                    params=query_of(params or {}),
                    json=body,
                    headers={ONCE: key} if key else None,
                    timeout=self._timeout(wait_seconds),
                )
                refusal = refusal_of(response)
                if refusal is not None:
                    raise refusal
                return json_object(response) if response.content else None
            except (ApiError, Unreachable, Unexpected) as error:
                if once:
                    raise
                self._before_retry(attempt, error)
            attempt += 1

    def submit(self, path: str, body: object) -> str | None:
        """Have a provider asked for work through `/submit/…`; the id of the job, None where the call starts none."""
        response = self._request("POST", path, json=body, timeout=self._timeout(PROVIDER_SECONDS))
        refusal = refusal_of(response)
        if refusal is not None:
            raise refusal
        return response.headers.get("relay-job-id")

    def forward(
        self, method: str, path: str, *, headers: Mapping[str, str], json: object = None, content: bytes | None = None
    ) -> httpx2.Response:
        """A call of `/submit/…` with the provider's own answer, whatever it is.

        It is sent again only where the relay says that it did not do it; a provider's refusal is not the relay's.
        """
        given = {"accept": "*/*", ONCE: str(uuid.uuid4()), **{name.lower(): text for name, text in headers.items()}}
        attempt = 0
        while True:
            try:
                response = self._request(
                    method, path, json=json, content=content, headers=given, timeout=self._timeout(PROVIDER_SECONDS)
                )
                refusal = own_refusal_of(response)
                if refusal is not None:
                    raise refusal
                return response
            except (ApiError, Unreachable) as error:
                if isinstance(error, ApiError) and error.code == MAY_BE_DONE:
                    raise
                self._before_retry(attempt, error)
            attempt += 1

    def pages(self, path: str, params: Mapping[str, object]) -> Iterator[dict[str, Any]]:
        """All items of a list, newest first, page by page as they are consumed."""
        cursor: object = None
        while True:
            page = self.page(path, {**params, "limit": 200, "cursor": cursor})
            for item in page["data"]:
                yield item
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def page(self, path: str, params: Mapping[str, object], *, once: bool = False) -> dict[str, Any]:
        """One page of a list: `data` and `next_cursor` (None = the last one)."""
        page = self.call("GET", path, params=params, once=once) or {}
        data = page.get("data")
        if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
            raise Unexpected(f"{self.url} does not answer as a relay does (no list in {path}): is RELAY_URL right?")
        return {**page, "next_cursor": page.get("next_cursor")}

    def download(self, path: str) -> Iterator[bytes]:
        """The answer's bytes in pieces of at most 64 KiB."""
        with self._stream(path, {}, {"accept": "*/*"}, self._timeout()) as response:
            for piece in response.iter_bytes(CHUNK_BYTES):
                yield piece

    def events(
        self, path: str, params: Mapping[str, object], last_event_id: str | None, *, quiet_seconds: float
    ) -> Iterator[ServerEvent]:
        """Server-sent events until the stream ends. Comments come as events without data, so that a caller knows that
        the relay is there; a stream that says nothing for `quiet_seconds` is Unreachable."""
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last_event_id} if last_event_id else {})
        timeout = httpx2.Timeout(quiet_seconds, connect=CONNECT_SECONDS)
        with self._stream(path, params, headers, timeout) as response:
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise not_a_relay(response)
            reader = EventReader()
            for piece in response.iter_bytes():
                for event in reader.take(piece):
                    yield event

    def _request(self, method: str, path: str, **given: Any) -> httpx2.Response:
        try:
            return self._client.request(method, path, **given)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise unreachable(self.url, error) from error

    @contextmanager
    def _stream(
        self, path: str, params: Mapping[str, object], headers: Mapping[str, str], timeout: httpx2.Timeout
    ) -> Iterator[httpx2.Response]:
        try:
            with self._client.stream(
                "GET", path, params=query_of(params), headers=dict(headers), timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    refusal = refusal_of(response)
                    if refusal is not None:
                        raise refusal
                yield response
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise unreachable(self.url, error) from error

    def _before_retry(self, attempt: int, error: ApiError | Unreachable | Unexpected) -> None:
        """Wait before the next try. Raises the error where none can help, or none is left."""
        if attempt >= self._retries or not may_pass(error):
            raise error
        self.pause(pause_before(attempt, error, self.clock.random()))

    def _timeout(self, more_seconds: float = 0) -> httpx2.Timeout:
        return httpx2.Timeout(self._answer_seconds + more_seconds, connect=CONNECT_SECONDS)
