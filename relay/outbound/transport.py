"""An httpx2 transport on the engine: it checks the origin, attaches the credentials, and sends what was vetted.

It is called directly, never through an httpx2 client: those keep cookies, log URLs and follow what they are told.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp
import httpx2

from relay.errors import BodyTooLarge, ForeignOrigin, Interrupted, UrlRefused
from relay.model import Secret
from relay.outbound.engine import MAX_HEAD_BYTES, Engine, as_outbound_error, ended_with_connection, wire_body, wire_url
from relay.outbound.urls import Target

PASS: Final = "relay.pass"
"""The key of a request's `Pass` in its extensions."""
CREDENTIAL_HEADERS: Final = frozenset({"authorization", "proxy-authorization", "cookie"})


@dataclass(frozen=True, slots=True)
class Authorization:
    """Credentials and the only origins they may go to. Shows neither in its repr."""

    origins: frozenset[str]  # canonical, as `canonical_origin` gives them
    headers: Mapping[str, Secret]

    def __repr__(self) -> str:
        return "Authorization(***)"


@dataclass(frozen=True, slots=True)
class Pass:
    """What one request may do: where it goes, where it may go, with which credentials, how much may come back."""

    target: Target
    authorization: Authorization | None
    allowed_origins: frozenset[str]  # empty = any; never opens an origin to credentials
    max_bytes: int


class EngineTransport(httpx2.AsyncBaseTransport):
    """Sends requests that carry a `Pass`. Raises OutboundError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it. The body of the response is raw and must be closed."""
        ticket: Pass = request.extensions[PASS]
        target = ticket.target
        _check_origin(ticket)
        if (request.url.scheme, request.url.raw_host) != (target.scheme, target.host.encode()):
            raise UrlRefused("two parsers read the URL differently")
        headers = _headers(request, ticket)
        content = wire_body(await request.aread()) or None
        try:
            answer = await self._engine.session(target.scheme).request(
                request.method, wire_url(target), data=content, headers=headers, allow_redirects=False
            )
        except (aiohttp.ClientError, OSError) as error:
            # From None: the connector's exceptions hold the request with its headers.
            raise as_outbound_error(error) from None
        except ValueError:
            raise Interrupted("the request was not sent: a header value or the method is not valid HTTP") from None
        try:
            _check_head(answer, ticket)
        except BaseException:
            answer.close()
            raise
        raw = [(name, value) for name, value in answer.raw_headers]
        return httpx2.Response(answer.status, headers=raw, stream=_RawBody(answer, ticket.max_bytes))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._engine.close()


class _RawBody(httpx2.AsyncByteStream):
    def __init__(self, answer: aiohttp.ClientResponse, max_bytes: int) -> None:
        self._answer = answer
        self._max_bytes = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            with ended_with_connection(self._answer):
                async for data in self._answer.content.iter_any():
                    size += len(data)
                    if size > self._max_bytes:
                        raise BodyTooLarge(f"the body is larger than {self._max_bytes} bytes")
                    yield data
        except (aiohttp.ClientError, OSError) as error:
            raise as_outbound_error(error) from None

    async def aclose(self) -> None:
        if self._answer.content.at_eof():
            self._answer.release()
        else:
            self._answer.close()


def _check_origin(ticket: Pass) -> None:
    origin = ticket.target.origin
    if ticket.authorization is not None and origin not in ticket.authorization.origins:
        raise ForeignOrigin("the URL is not on an origin that the credentials belong to")
    if ticket.allowed_origins and origin not in ticket.allowed_origins:
        raise ForeignOrigin("the URL is not on an allowed origin")


def _headers(request: httpx2.Request, ticket: Pass) -> dict[str, str]:
    target = ticket.target
    headers = {
        name: value
        for name, value in request.headers.items()
        if name not in ("host", "content-length", "transfer-encoding", "connection")
    }
    if not CREDENTIAL_HEADERS.isdisjoint(headers):
        raise ForeignOrigin("credentials go through Authorization, which names their origins")
    if ticket.authorization is not None and target.origin in ticket.authorization.origins:
        for name, secret in ticket.authorization.headers.items():
            headers[name.lower()] = secret.reveal()
    return headers


def _check_head(answer: aiohttp.ClientResponse, ticket: Pass) -> None:
    if sum(len(name) + len(value) + 4 for name, value in answer.raw_headers) > MAX_HEAD_BYTES:
        raise Interrupted(f"the header of the answer is larger than {MAX_HEAD_BYTES} bytes")
    if answer.content_length is not None and answer.content_length > ticket.max_bytes:
        raise BodyTooLarge(f"the body is larger than {ticket.max_bytes} bytes")
