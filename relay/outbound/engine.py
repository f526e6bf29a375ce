"""The engine under both doors: aiohttp's connector, told whom it may dial, one pair of pools per class of traffic.

Two pools, because what may be dialled depends on the scheme: TLS goes to public and listed addresses, plain http only
to listed ones. The judgement falls twice: over all addresses of a name when it is resolved, and again over the very
address of every socket before it is connected (addresses written in a URL never meet a resolver).
"""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import aiohttp
import yarl
from aiohttp.abc import ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from relay.errors import AddressRefused, ConnectFailed, Interrupted, OutboundError, ResolveFailed, UrlRefused
from relay.outbound.addresses import AddressPolicy
from relay.outbound.resolver import NameResolver, VettedResolver
from relay.outbound.urls import Target

CONNECT_SECONDS: Final = 5.0  # TCP and TLS to one address; the look-up before it has limits of its own
KEEPALIVE_SECONDS: Final = 10.0
MAX_LINE_BYTES: Final = 8190
MAX_HEADERS: Final = 128
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_AT_ONCE: Final = 1024 * 1024
USER_AGENT: Final = "relay-webhooks"


class _Forbidden(OSError):
    """Raised where a socket would be made. An OSError, because the connector counts those as failed addresses."""


class Timing:
    """Where the time of one call went, in milliseconds. The first two are those of a connection opened for it."""

    __slots__ = ("connect_ms", "dns_ms", "first_byte_ms")

    def __init__(self) -> None:
        self.dns_ms: int | None = None
        self.connect_ms: int | None = None  # TCP and TLS
        self.first_byte_ms: int | None = None  # since the call began, until the head of the answer was there


timing_of_call: Final[ContextVar[Timing | None]] = ContextVar("timing_of_call", default=None)
"""Set by whoever makes a call. aiohttp's own tracing costs each call; this costs those that open a connection."""


class _Connector(aiohttp.TCPConnector):
    """A pool that does not reuse a connection on which something came while it was idle.

    aiohttp would take those bytes for the answer to the next request: one job's result under another's name.
    """

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        return None

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        timing, loop = timing_of_call.get(), asyncio.get_running_loop()
        if timing is None:
            return await super()._create_connection(req, traces, timeout)
        began = loop.time()
        try:
            return await super()._create_connection(req, traces, timeout)
        finally:
            timing.connect_ms = max(0, round((loop.time() - began) * 1000) - (timing.dns_ms or 0))

    async def _resolve_host(self, host: str, port: int, traces: Sequence[Trace] | None = None) -> list[ResolveResult]:
        timing, loop = timing_of_call.get(), asyncio.get_running_loop()
        began = loop.time()
        try:
            return await super()._resolve_host(host, port, traces)
        finally:
            if timing is not None:
                timing.dns_ms = round((loop.time() - began) * 1000)


class Engine:
    """The sessions of one class of traffic. Opened when first used, so it may be built before a loop runs."""

    def __init__(
        self, policy: AddressPolicy, names: NameResolver, *, ca_file: str | None = None, max_connections: int
    ) -> None:
        self._policy = policy
        self._names = names
        self._max_connections = max_connections
        # A file that cannot be read fails at start-up; the system's authorities take a while, so they load when needed.
        self._tls = None if ca_file is None else _tls_context(ca_file)
        self._resolvers = {
            scheme: VettedResolver(names, policy, listed_only=scheme == "http") for scheme in ("https", "http")
        }
        self._judges: dict[str, Callable[[str, int], bool]] = {"https": policy.permits, "http": policy.listed}
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    def session(self, scheme: str) -> aiohttp.ClientSession:
        """The session for `https` or `http`. It follows nothing, decodes nothing and remembers no cookie."""
        session = self._sessions.get(scheme)
        if session is None:
            session = self._sessions[scheme] = self._open(scheme)
        return session

    async def forbidden(self, target: Target) -> tuple[str, ...]:
        """The addresses because of which `target` would be refused; none if it may be dialled. Raises ResolveFailed."""
        if target.is_literal:
            return () if self._judges[target.scheme](target.host, target.port) else (target.host,)
        _, refused = await self._resolvers[target.scheme].judged(target.host, target.port)
        return refused

    async def close(self) -> None:
        """Close every connection and stop resolving."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        await self._names.close()

    def _open(self, scheme: str) -> aiohttp.ClientSession:
        connector = _Connector(
            ssl=True if scheme == "http" else self._tls or _tls_context(None),
            resolver=self._resolvers[scheme],
            use_dns_cache=False,
            socket_factory=_socket_factory(self._judges[scheme]),
            keepalive_timeout=KEEPALIVE_SECONDS,
            limit=self._max_connections,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT},
            trust_env=False,
            auto_decompress=False,
            requote_redirect_url=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )


def wire_body(body: bytes) -> bytes | io.BytesIO:
    """`body` as the connector wants it: large ones as a file, which it sends in pieces between other work."""
    return body if len(body) <= MAX_BODY_AT_ONCE else io.BytesIO(body)


def wire_url(target: Target) -> yarl.URL:
    """`target` as the connector wants it, checked to send exactly what was vetted. Raises UrlRefused."""
    try:
        url = yarl.URL(target.text, encoded=True)
        sent = (url.scheme, url.raw_host, url.port, url.raw_path_qs)
    except ValueError:
        raise UrlRefused("the HTTP library does not take the URL") from None
    if sent != (target.scheme, target.host, target.port, target.path):
        raise UrlRefused("two parsers read the URL differently")
    return url


@contextmanager
def ended_with_connection(answer: aiohttp.ClientResponse) -> Iterator[None]:
    """While inside, a body ends with an error when its connection does.

    aiohttp closes the connection on broken chunks but does not tell the reader, who would wait for the deadline.
    """
    connection, body = answer.connection, answer.content

    def end(_: object) -> None:
        if not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("the body is not complete"))

    if connection is None or connection.protocol is None:  # the body has come whole
        yield
        return
    closed = connection.protocol.closed
    if closed is None:
        end(None)
        yield
        return
    # Connections are used again and again: neither callback may pile up on the future.
    closed.remove_done_callback(_forget)
    closed.add_done_callback(_forget)
    closed.add_done_callback(end)
    try:
        yield
    finally:
        closed.remove_done_callback(end)


def _forget(closed: asyncio.Future[None]) -> None:
    if not closed.cancelled():
        closed.exception()  # else asyncio logs that nobody looked at it


def as_outbound_error(error: Exception) -> OutboundError:
    """What an exception of the connector means, without its text: that holds URLs and header values."""
    if isinstance(error, OutboundError):
        return error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ResolveFailed("the name could not be resolved")
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, _Forbidden):
            return AddressRefused("the address is not allowed")
        return ConnectFailed(_connect_reason(error))
    if isinstance(error, aiohttp.ClientSSLError):
        return ConnectFailed("TLS did not come up")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ConnectFailed("no connection in time")
    if isinstance(error, aiohttp.InvalidURL):
        return UrlRefused("the HTTP library does not take the URL")
    return Interrupted(f"the connection broke or the answer was not valid HTTP ({type(error).__name__})")


def _connect_reason(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "TLS did not come up"
    return (error.os_error.strerror or "no connection").lower()


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(ca_file)  # in addition to the system's authorities
    return context


def _socket_factory(judge: Callable[[str, int], bool]) -> aiohttp.SocketFactoryType:
    def make(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, peer = info
        if not judge(peer[0], peer[1]):
            raise _Forbidden("the address is not allowed")
        return socket.socket(family, kind, protocol)

    return make
