"""The door to providers: credentials leave only for their own origins, answers come in under a deadline and two caps.

Every call is bounded as a whole: one deadline over resolving, connecting, sending and the last byte of the body.
It talks to aiohttp directly: its session keeps no cookies, logs no URLs and follows nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from relay.clock import Clock
from relay.errors import BodyTooLarge, Interrupted, TimedOut
from relay.outbound.addresses import AddressPolicy
from relay.outbound.authorization import Authorization, headers_for
from relay.outbound.decoding import BodyDecoder
from relay.outbound.engine import (
    MAX_HEAD_BYTES,
    Engine,
    Timing,
    as_outbound_error,
    ended_with_connection,
    timing_of_call,
    wire_body,
    wire_url,
)
from relay.outbound.resolver import NameResolver
from relay.outbound.urls import LONGEST_URL, parse_url

DEFAULT_HEADERS: Final[Mapping[str, str]] = {"accept": "*/*", "accept-encoding": "gzip"}


@dataclass(slots=True, kw_only=True)  # not frozen: built for every call, and freezing triples what that costs
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
    """An answer whose body is still to be read. Good inside `ProviderDoor.stream` only.

    The names of `headers` are in lower case. `body` is as it travels: whole, if all of it has come, or its pieces.
    """

    __slots__ = ("_body", "_max_decoded_bytes", "headers", "status", "timing")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes | AsyncGenerator[bytes, None],
        max_decoded_bytes: int,
        timing: Timing | None = None,
    ) -> None:
        self.status = status
        self.timing = timing
        self.headers = headers
        self._body: bytes | AsyncGenerator[bytes, None] | None = body
        self._max_decoded_bytes = max_decoded_bytes

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """The body, its codings undone, in pieces. Raises OutboundError; what was given before that is not whole.

        Raises RuntimeError the second time: a body that is gone must not pass for an empty one.
        """
        body, self._body = self._body, None
        if body is None:
            raise RuntimeError("the body has been read")
        decoder = BodyDecoder(self.headers.get("content-encoding", ""), self._max_decoded_bytes)
        if isinstance(body, bytes):
            for piece in decoder.decode(body):
                yield piece
        else:
            async with aclosing(body):
                async for data in body:
                    for piece in decoder.decode(data):
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
        self._engine = Engine(policy, names or NameResolver(clock), ca_file=ca_file, max_connections=max_connections)

    @asynccontextmanager
    async def stream(self, request: ProviderRequest) -> AsyncIterator[ProviderAnswer]:
        """Send `request`; the answer's head is there on entry. Redirects are answers, never followed.

        Raises OutboundError: UrlRefused, ForeignOrigin, AddressRefused, ResolveFailed, ConnectFailed, TimedOut,
        Interrupted; reading the body also BodyTooLarge and DecodeFailed. The deadline covers the whole `async with`.
        """
        deadline = asyncio.timeout(request.timeout_seconds)
        timing, loop = Timing(), asyncio.get_running_loop()
        timing_of_call.set(timing)
        began = loop.time()
        try:
            async with deadline:
                answer = await self._send(request)
                try:
                    timing.first_byte_ms = round((loop.time() - began) * 1000)
                    yield _admitted(answer, request, timing)
                finally:
                    _end(answer)
        except TimeoutError:
            if not deadline.expired():
                raise  # the caller's own, from inside the block
            raise TimedOut(f"no complete answer within {request.timeout_seconds:g} s") from None

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.close()

    async def _send(self, request: ProviderRequest) -> aiohttp.ClientResponse:
        listing = self._policy.lists_anything
        target = parse_url(request.url, allow_http=listing, allow_short=listing, longest=LONGEST_URL)
        wire = wire_url(target)
        headers = headers_for(
            target.origin, {**DEFAULT_HEADERS, **request.headers}, request.authorization, request.allowed_origins
        )
        data = wire_body(request.content) if request.content else None
        session = self._engine.session(target.scheme)
        try:
            return await session.request(request.method, wire, data=data, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError) as error:
            # From None: the connector's exceptions hold the request with its headers.
            raise as_outbound_error(error) from None
        except ValueError:
            raise Interrupted("the request was not sent: a header value or the method is not valid HTTP") from None


def _admitted(answer: aiohttp.ClientResponse, request: ProviderRequest, timing: Timing) -> ProviderAnswer:
    """The answer, if neither its head nor what it announces is too large."""
    headers = _readable_head(answer)
    if (answer.content_length or 0) > request.max_bytes:
        raise BodyTooLarge(f"the body is larger than {request.max_bytes} bytes")
    body: bytes | AsyncGenerator[bytes, None] | None = _whole(answer, request.max_bytes)
    if body is None:
        body = _pieces(answer, request.max_bytes)
    return ProviderAnswer(answer.status, headers, body, request.max_decoded_bytes, timing)


def _whole(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """The body, if it came with the head, as small ones do: then nobody has to wait for it or watch over it."""
    content = answer.content
    if not content.is_eof() or content.exception() is not None or content.total_bytes > max_bytes:
        return None
    return content.read_nowait(-1)


async def _pieces(answer: aiohttp.ClientResponse, max_bytes: int) -> AsyncGenerator[bytes, None]:
    size = 0
    try:
        with ended_with_connection(answer):
            async for data in answer.content.iter_any():
                size += len(data)
                if size > max_bytes:
                    raise BodyTooLarge(f"the body is larger than {max_bytes} bytes")
                yield data
    except (aiohttp.ClientError, OSError) as error:
        raise as_outbound_error(error) from None


def _end(answer: aiohttp.ClientResponse) -> None:
    if not answer.closed:  # at the end of its body it has closed itself and given its connection back
        answer.close()


def _readable_head(answer: aiohttp.ClientResponse) -> Mapping[str, str]:
    """Header values as text that can be stored: bytes that are not UTF-8 become replacement characters."""
    found: dict[str, str] = {}
    size = 0
    for name, value in answer.raw_headers:
        size += len(name) + len(value) + 4
        key, text = name.decode("ascii", "replace").lower(), value.decode("utf-8", "replace")
        found[key] = f"{found[key]}, {text}" if key in found else text
    if size > MAX_HEAD_BYTES:
        raise Interrupted(f"the header of the answer is larger than {MAX_HEAD_BYTES} bytes")
    return found
