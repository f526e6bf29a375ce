"""The door to providers: credentials leave only for their own origins, answers come in under a deadline and two caps.

Every call is bounded as a whole: one deadline over resolving, connecting, sending and the last byte of the body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx2

from relay.clock import Clock
from relay.errors import BodyTooLarge, TimedOut, UrlRefused
from relay.outbound.addresses import AddressPolicy
from relay.outbound.decoding import BodyDecoder
from relay.outbound.engine import Engine
from relay.outbound.resolver import NameResolver
from relay.outbound.transport import PASS, Authorization, EngineTransport, Pass
from relay.outbound.urls import Target, parse_url

ACCEPT_ENCODING: Final = "gzip"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRequest:
    """One call to a provider.

    With `authorization`, the URL's origin must be one of its origins. `allowed_origins` binds either way when it is not
    empty; empty and without `authorization` (the hop to a presigned URL) any origin may be called that the address
    policy permits.
    """

    method: str
    url: str = field(repr=False)
    authorization: Authorization | None
    allowed_origins: frozenset[str]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = field(default=None, repr=False)
    timeout_seconds: float
    max_bytes: int  # as sent
    max_decoded_bytes: int


class ProviderAnswer:
    """An answer whose body is still to come. Good inside `ProviderDoor.stream` only."""

    __slots__ = ("_max_decoded_bytes", "_response", "headers", "status")

    def __init__(self, response: httpx2.Response, max_decoded_bytes: int) -> None:
        self._response = response
        self._max_decoded_bytes = max_decoded_bytes
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = _readable(response.headers)

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """The body, its codings undone, in pieces. Raises OutboundError; what was given before that is not whole."""
        decoder = BodyDecoder(self.headers.get("content-encoding", ""))
        size = 0
        async with aclosing(self._response.aiter_raw()) as raw:
            async for data in raw:
                for piece in decoder.decode(data):
                    size += len(piece)
                    if size > self._max_decoded_bytes:
                        raise BodyTooLarge(f"the body decodes to more than {self._max_decoded_bytes} bytes")
                    yield piece
        decoder.finish()


class ProviderDoor:
    """Calls providers. Public https everywhere; plain http, private addresses and short names where listed."""

    def __init__(
        self,
        policy: AddressPolicy,
        clock: Clock,
        *,
        ca_file: str | None = None,
        max_connections: int = 64,
        names: NameResolver | None = None,
    ) -> None:
        self._policy = policy
        self._transport = EngineTransport(
            Engine(policy, names or NameResolver(clock), ca_file=ca_file, max_connections=max_connections)
        )

    @asynccontextmanager
    async def stream(self, request: ProviderRequest) -> AsyncIterator[ProviderAnswer]:
        """Send `request`; the answer's head is there on entry. Redirects are answers, never followed.

        Raises OutboundError: UrlRefused, ForeignOrigin, AddressRefused, ResolveFailed, ConnectFailed, TimedOut,
        Interrupted; reading the body also BodyTooLarge and DecodeFailed. The deadline covers the whole `async with`.
        """
        target = self._read_url(request.url)
        deadline = asyncio.timeout(request.timeout_seconds)
        try:
            async with deadline:
                response = await self._transport.handle_async_request(_build(request, target))
                try:
                    yield ProviderAnswer(response, request.max_decoded_bytes)
                finally:
                    await response.aclose()
        except TimeoutError:
            if not deadline.expired():
                raise  # the caller's own, from inside the block
            raise TimedOut(f"no complete answer within {request.timeout_seconds:g} s") from None

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    def _read_url(self, url: str) -> Target:
        listing = self._policy.lists_anything
        return parse_url(url, allow_http=listing, allow_short=listing)


def _build(request: ProviderRequest, target: Target) -> httpx2.Request:
    ticket = Pass(target, request.authorization, request.allowed_origins, request.max_bytes)
    headers = {
        "accept": "*/*",
        "accept-encoding": ACCEPT_ENCODING,
        **{k.lower(): v for k, v in request.headers.items()},
    }
    try:
        return httpx2.Request(
            request.method, target.text, headers=headers, content=request.content, extensions={PASS: ticket}
        )
    except (httpx2.InvalidURL, ValueError):
        raise UrlRefused("the HTTP library does not take the URL") from None


def _readable(headers: httpx2.Headers) -> Mapping[str, str]:
    """Header values as text that can be stored: bytes that are not UTF-8 become replacement characters."""
    found: dict[str, str] = {}
    for name, value in headers.raw:
        key, text = name.decode("ascii", "replace").lower(), value.decode("utf-8", "replace")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found
