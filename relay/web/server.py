"""Listening sockets and their life: bind, accept, drain, close. Signals are the caller's business."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

import structlog
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import ServerState

from relay.clock import Clock
from relay.ids import new_id
from relay.web.connections import ConnectionLimits, Connections
from relay.web.direct import Desk, Direct
from relay.web.protocol import GuardedProtocol

BIND_AGAIN_SECONDS: Final = (0.1, 0.2, 0.4, 0.8)  # a process that was killed may hold its port longer than it lives
RESERVED_FILES: Final = 512  # for the database, fetches and deliveries


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One application at one address. `port` 0 lets the system choose; `bound` is a socket that is bound already."""

    app: ASGIApp
    direct: Direct | None = None  # asked before `app`
    host: str = "127.0.0.1"
    port: int = 8000
    bound: socket.socket | None = None
    limits: ConnectionLimits = ConnectionLimits()
    trusted_proxies: tuple[str, ...] = ()  # addresses or networks whose X-Forwarded-* headers are believed


class Listener:
    """One site, listening."""

    def __init__(self, site: Site, clock: Clock) -> None:
        self.site = site
        self._clock = clock
        self.connections = Connections(site.limits, lambda: new_id("req", clock.now()))
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._port: int | None = None
        self._next_sweep: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """The port it listens on; only after `start`, but also after `stop`."""
        if self._port is None:
            raise RuntimeError("not listening")
        return self._port

    async def start(self) -> None:
        """Bind and accept. Raises OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        config = _config(self.site)
        desk = None if self.site.direct is None else Desk(self.site.direct)

        def protocol() -> GuardedProtocol:
            return GuardedProtocol(config, self._state, self.connections, loop, {}, desk)

        if self.site.bound is not None:
            self._server = await loop.create_server(protocol, sock=self.site.bound, backlog=config.backlog)
        else:
            self._server = await self._bind(protocol, config.backlog)
        self._port = int(self._server.sockets[0].getsockname()[1])
        self._sweep()

    async def _bind(self, protocol: Callable[[], GuardedProtocol], backlog: int) -> asyncio.Server:
        loop, waits = asyncio.get_running_loop(), iter(BIND_AGAIN_SECONDS)
        while True:
            try:
                return await loop.create_server(protocol, self.site.host, self.site.port, backlog=backlog)
            except OSError as error:
                wait = next(waits, None)
                if wait is None or error.errno != errno.EADDRINUSE:
                    raise
            await self._clock.sleep(wait)

    async def stop(self, seconds: float) -> None:
        """Accept nothing new, let requests under way finish for up to `seconds`, then drop the rest."""
        if self._server is None:
            return
        self._server.close()
        if not await self.connections.drain(seconds):
            structlog.get_logger("relay.web").warning("server.requests_cut_off", open=len(self.connections.open))
            self.connections.abort_all()
            for task in list(self._state.tasks):
                task.cancel()
        if self._next_sweep is not None:
            self._next_sweep.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._state.default_headers = [(b"date", formatdate(self._clock.now() / 1000, usegmt=True).encode())]
        self.connections.sweep(loop.time())
        self._next_sweep = loop.call_later(self.site.limits.sweep_seconds, self._sweep)


class Server:
    """All sites of this process, started and stopped together."""

    def __init__(self, sites: Sequence[Site], clock: Clock, *, shutdown_seconds: float = 10.0) -> None:
        self.listeners = [Listener(site, clock) for site in sites]
        self._shutdown_seconds = shutdown_seconds

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports, in the order of the sites."""
        return tuple(listener.port for listener in self.listeners)

    async def start(self) -> None:
        """Listen on every site, or on none. Raises OSError."""
        try:
            for listener in self.listeners:
                await listener.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Drain and close every site. May be called twice."""
        await asyncio.gather(*(listener.stop(self._shutdown_seconds) for listener in self.listeners))


async def serve(
    sites: Sequence[Site],
    clock: Clock,
    *,
    stop: asyncio.Event,
    ready: Callable[[tuple[int, ...]], None],
    shutdown_seconds: float = 10.0,
) -> None:
    """Serve until `stop` is set. `ready` is called with the ports once every site accepts. Raises OSError."""
    server = Server(sites, clock, shutdown_seconds=shutdown_seconds)
    await server.start()
    try:
        ready(server.ports)
        await stop.wait()
    finally:
        await server.stop()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop at hand: `asyncio.Runner(loop_factory=new_event_loop)`."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def connections_allowed(wanted: int) -> int:
    """How many inbound connections fit into the limit on open files, which is raised for them as far as it goes.

    A process that has no descriptor left cannot accept, and cannot open its database either.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = wanted + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < target:
        soft = target if hard == resource.RLIM_INFINITY else min(target, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(soft - RESERVED_FILES, soft // 2))


def _config(site: Site) -> Config:
    config = Config(
        site.app,
        http=GuardedProtocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(site.trusted_proxies),
        forwarded_allow_ips=list(site.trusted_proxies),
        workers=1,
    )
    config.load()
    return config
