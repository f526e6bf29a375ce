"""HTTP/1.1 as the inbound edge speaks it: uvicorn's protocol, with a bound on everything a caller may cost.

uvicorn waits for ever for a request to arrive and keeps whatever head or trailer is sent; here each request has a
receipt deadline, each head a size, and what is not HTTP gets a 400 that cannot be taken for another request's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from enum import Enum
from math import inf
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from relay.web.connections import Connections
from relay.web.direct import Desk, DirectCycle
from relay.web.refusals import BAD_REQUEST, CODES, HEAD_TOO_LARGE, TIMED_OUT, UNAVAILABLE, LingeringTransport, answer


class Stage(Enum):
    """How far along the current request is."""

    WAITING = 0  # for a whole head
    RECEIVING = 1  # the body
    DISCARDING = 2  # the rest of a body whose answer is already out
    BUSY = 3  # with the answer


class _HeadTooLarge(Exception):
    """Leaves the parser from inside one of its callbacks."""


class GuardedProtocol(HttpToolsProtocol):
    """One inbound connection. All times are the event loop's."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        connections: Connections,
        loop: asyncio.AbstractEventLoop,
        app_state: dict[str, Any],
        desk: Desk | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop=loop)
        self.desk = desk
        self.guard = connections
        self.limits = connections.limits
        self.peer = ""
        self.deadline = inf
        self.stage = Stage.WAITING
        self.in_head = False
        self.proven = False
        self.refused = False
        self.quiet_bytes = 0  # received since the last byte that was of use: no head or trailer grows without end
        self.running: RequestResponseCycle | DirectCycle | None = None

    # the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        now = self.loop.time()
        self.deadline = now + self.limits.idle_seconds
        if not self.guard.admit(self, now):
            self.refused = True
            self._write_refusal(UNAVAILABLE)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.guard.forget(self)
        running = self.running
        if self.desk is not None and type(running) is DirectCycle and running.more_body:
            self.desk.abandon(running)
        self._leave_running()  # uvicorn tells only the last request that came, which may wait behind this one
        super().connection_lost(exc)

    def cut(self) -> None:
        """Close now; a peer that does not read what we wrote is not waited for."""
        self.refused = True
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def abort(self) -> None:
        """Drop the connection with whatever is under way."""
        self.refused = True
        self.transport.abort()

    def expire(self, now: float) -> None:
        """The deadline has passed: say so to a caller who sent part of a request, then close."""
        if self.transport.is_closing() or self.flow.write_paused:
            self.guard.counts["unread"] += 1
            self.transport.abort()
            return
        if not self.refused and (self.in_head or self.stage is Stage.RECEIVING) and self._leave_running():
            self._write_refusal(TIMED_OUT)
        else:
            self.guard.counts["idle"] += 1
        self.refused = True
        self.deadline = now + self.limits.linger_seconds  # for a peer that does not take what is written
        self.transport.close()

    def _leave_running(self) -> bool:
        """Tell the application that its caller is gone. False when part of its answer is out already."""
        running = self.running
        if running is None or running.response_complete:
            return True
        running.disconnected = True
        running.message_event.set()
        return not running.response_started

    def pause_writing(self) -> None:
        super().pause_writing()
        self.deadline = self.loop.time() + self.limits.write_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.stage is Stage.BUSY:
            self.deadline = inf

    # the bytes

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self.quiet_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self.refuse(HEAD_TOO_LARGE if isinstance(error.__context__, _HeadTooLarge) else BAD_REQUEST)
        else:
            if self.quiet_bytes > self.limits.max_head_bytes:
                self.refuse(HEAD_TOO_LARGE)
            elif self.stage is Stage.RECEIVING:
                self.deadline += len(data) / self.limits.body_bytes_per_second
                self.guard.receiving.setdefault(self)

    def refuse(self, status: str) -> None:
        """End the connection over what was just received, after the answer that is under way to an earlier request."""
        self.refused = True
        self.pipeline.clear()
        running = self.running
        if self.stage is Stage.BUSY and running is not None:
            running.keep_alive = False
        elif self.stage is Stage.DISCARDING or not self._leave_running():
            self.transport.close()  # a second answer would pass for that to another request
        else:
            self._write_refusal(status)
            self.linger()

    def _write_refusal(self, status: str) -> None:
        self.guard.counts[CODES[status]] += 1
        self.transport.write(answer(status, self.guard.name_request()))

    def linger(self) -> None:
        """Close in a way that lets the peer read the answer: closing on unread bytes would reset it away."""
        self.refused = True
        self.deadline = self.loop.time() + self.limits.linger_seconds
        self.guard.receiving.pop(self, None)
        self.guard.waiting[self] = None
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        self.flow.resume_reading()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request again without its wish to upgrade, which makes the parser blind for the body.

        RFC 9110, 7.8: a server may ignore it. Some HTTP clients ask for h2c on every plain connection.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.refuse(BAD_REQUEST)
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.quiet_bytes = -sum(map(len, lines))
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    # the parser's callbacks

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.in_head = True
        if self.stage is Stage.WAITING:
            self.deadline = self.loop.time() + self.limits.request_seconds

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:  # a trailer must not pass for a header
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.in_head = False
        if len(self.headers) > self.limits.max_headers or (
            self.quiet_bytes > self.limits.max_head_bytes and self._head_size() > self.limits.max_head_bytes
        ):
            raise _HeadTooLarge
        if self.parser.should_upgrade():
            return
        self.quiet_bytes = 0
        if self.stage is Stage.WAITING:
            self.stage = Stage.RECEIVING
            self.guard.waiting.pop(self, None)
            if not self.proven:
                self.proven = True
                self.guard.prove(self)
        if self._goes_directly():
            return
        self._make_scope()
        super().on_headers_complete()
        if not self.cycle.keep_alive:
            cycle = self.cycle
            cycle.transport = LingeringTransport(self.transport, self.linger, lambda: cycle.more_body)

    def _make_scope(self) -> None:
        """What uvicorn makes of the head when it begins; here only for a request that ASGI gets."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the scope has this list

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self.quiet_bytes = 0
        cycle: Any = self.cycle
        if type(cycle) is DirectCycle:
            cycle.parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self.quiet_bytes = 0
        self.cycle.more_body = False
        if self.stage is Stage.DISCARDING:
            self._rest()
            return
        self.cycle.message_event.set()
        if self.stage is Stage.RECEIVING:
            self.stage = Stage.BUSY
            self.deadline = inf
            self.guard.receiving.pop(self, None)
            if self.desk is not None and type(self.running) is DirectCycle:
                self.desk.answer_soon(self.running, self)

    def keep_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """See `relay.web.direct.Connection`."""
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _goes_directly(self) -> bool:
        """Whether the request whose head is complete is one for the desk."""
        free = self.cycle is None or self.cycle.response_complete
        if self.desk is None or not free or self.stage is not Stage.RECEIVING:
            return False
        cycle = self.desk.offer(self.parser, self.url, self.headers)
        if cycle is None:
            return False
        self.cycle, self.running = cycle, cycle  # type: ignore[assignment]  # as far as uvicorn looks at it
        return True

    def on_response_complete(self) -> None:
        """An answer has been handed to the transport: what comes next on this connection?"""
        self.server_state.total_requests += 1
        now = self.loop.time()
        if self.transport.is_closing():
            self.deadline = now + self.limits.write_seconds
            return
        if self.refused:
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self.stage = Stage.RECEIVING if cycle.more_body else Stage.BUSY
            self.deadline = now + self.limits.request_seconds if cycle.more_body else inf
            self._start_asgi_task(cycle, app)
        elif self.cycle.more_body:
            self.stage = Stage.DISCARDING
            self.deadline = min(self.deadline, now + self.limits.linger_seconds)
            self.guard.receiving.pop(self, None)
            self.guard.waiting[self] = None
        else:
            self._rest()

    def _rest(self) -> None:
        """Nothing is owed on either side."""
        self.stage = Stage.WAITING
        self.guard.waiting[self] = None
        limits = self.limits
        wait = limits.keep_alive_seconds
        if self.flow.write_paused:
            wait = limits.write_seconds
        elif self.in_head:
            wait = limits.request_seconds
        self.deadline = self.loop.time() + wait
