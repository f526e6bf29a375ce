"""Run one ASGI application on a port of 127.0.0.1 inside this process, and end it at once when asked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

import uvicorn
from starlette.types import ASGIApp

GRACE_SECONDS: Final = 1.0
TURNS_TO_CLOSE: Final = 100


class LocalServer:
    """A small HTTP server for stand-ins; an asynchronous context manager.

    `uvicorn.Server.serve` would take over the signals of the process and look only ten times a second whether to
    stop, so its start is called directly; its stop would wait a tenth of a second each time, so that is done here.
    """

    def __init__(self, app: ASGIApp, *, port: int = 0) -> None:
        self._config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
        )
        self._wanted_port = port
        self._server: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self._closing = asyncio.Event()
        self.port = 0
        self.held = asyncio.Event()  # set once an answer is being held back

    @property
    def url(self) -> str:
        """`http://127.0.0.1:{port}`, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen. Raises OSError when the wanted port is taken."""
        # asyncio sets TCP_NODELAY only where the protocol is named; without it every kept-alive answer waits 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(("127.0.0.1", self._wanted_port))
        except OSError:
            self._socket.close()
            raise
        self.port = self._socket.getsockname()[1]
        self._config.load()
        self._server = uvicorn.Server(self._config)
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[self._socket])

    async def stop(self) -> None:
        """Close every connection; answers that hang are cut short. Harmless when it never started."""
        self._closing.set()
        server, self._server = self._server, None
        if server is None or self._socket is None:
            return
        for listening in server.servers:
            listening.close()
        self._socket.close()
        state = server.server_state
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            _, hanging = await asyncio.wait(list(state.tasks), timeout=GRACE_SECONDS)
            for task in hanging:
                task.cancel()
        for _ in range(TURNS_TO_CLOSE):  # closed connections leave the set in one of the next turns of the loop
            if not state.connections:
                return
            await asyncio.sleep(0)
        for connection in list(state.connections):
            connection.transport.abort()

    async def pause(self, seconds: float | None) -> None:
        """Wait that long inside an answer (None = for ever), but never past the end of the server."""
        self.held.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)

    async def __aenter__(self) -> LocalServer:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()
