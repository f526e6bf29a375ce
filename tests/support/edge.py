"""The inbound edge on real sockets, with a receiver that the test directs and a client that sends raw bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from relay.clock import Instant, SystemClock
from relay.model import Webhook, WebhookStatus
from relay.pipeline.admission import Admitted, TurnedAway
from relay.pipeline.prepare import Inbound
from relay.pipeline.receive import Answer, Then
from relay.web.callback import CallbackEndpoint
from relay.web.connections import ConnectionLimits
from relay.web.server import Server, Site

GOOD = "good-token"
PATH = f"/in/{GOOD}"
PATIENCE_SECONDS = 30.0  # only what fails takes so long
PATIENT = ConnectionLimits(sweep_seconds=0.05)  # a caller whom a busy machine delays is no slow caller
HURRIED = ConnectionLimits(
    grace_seconds=0.05,
    idle_seconds=0.3,
    request_seconds=0.4,
    keep_alive_seconds=0.4,
    write_seconds=0.3,
    linger_seconds=0.2,
    sweep_seconds=0.05,
)


def webhook() -> Webhook:
    """A registration as the receiver would find it."""
    now = Instant(1_795_287_600_000)
    return Webhook(
        id="wh_" + "1" * 32,
        name="test",
        provider="netnut",
        credentials={},
        verification={},
        origins=(),
        base_url=None,
        parameters={},
        retention_seconds=None,
        poll_seconds=None,
        fetch_max_in_flight=8,
        fetch_rate_per_second=None,
        untracked="accept",
        metadata={},
        status=WebhookStatus.ACTIVE,
        generation=1,
        previous_valid_until=None,
        created_at=now,
        updated_at=now,
    )


@dataclass
class FakeReceiver:
    """Admits `GOOD` for POST, keeps what it is given, answers what it is told."""

    answer: Answer = field(default_factory=lambda: accepted())
    refusals: dict[str, TurnedAway] = field(default_factory=dict)
    error: Exception | None = None
    admit_error: Exception | None = None
    hold: asyncio.Event | None = None
    received: list[Inbound] = field(default_factory=list)
    admitted: int = 0
    methods: tuple[str, ...] = ("POST",)
    soon: bool = True  # it needs no task for what can be stored at once
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_received(self, count: int = 1) -> None:
        """Return when so many notifications have been handed over."""
        while len(self.received) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def admit(self, token: str, method: str) -> Admitted | TurnedAway:
        self.admitted += 1
        if self.admit_error is not None:
            raise self.admit_error
        if token in self.refusals:
            return self.refusals[token]
        if token != GOOD:
            return TurnedAway(404, None, None)
        if method not in self.methods:
            return TurnedAway(405, None, ", ".join(self.methods))
        return Admitted(webhook(), None)

    def admit_now(self, token: str, method: str) -> Admitted | None:
        """As the real one: None for everything that is not plainly good."""
        if self.admit_error is not None:
            raise self.admit_error
        if token in self.refusals or token != GOOD or method not in self.methods:
            return None
        self.admitted += 1
        return Admitted(webhook(), None)

    def receive_soon(self, admitted: Admitted, inbound: Inbound, then: Then) -> bool:
        if not self.soon:
            return False
        kept = asyncio.ensure_future(self.receive(admitted, inbound))
        kept.add_done_callback(lambda done: then(None if done.exception() else done.result(), _error_of(done)))
        return True

    async def receive(self, admitted: Admitted, inbound: Inbound) -> Answer:
        self.received.append(inbound)
        self._arrived.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return self.answer


def _error_of(done: asyncio.Future[Answer]) -> Exception | None:
    error = done.exception()
    return error if isinstance(error, Exception) else None


def accepted() -> Answer:
    """What the receiver says of a notification that it stored."""
    return Answer(200, "accepted", "ntf_" + "2" * 32, "job_" + "3" * 32, None, None)


@dataclass
class Reply:
    """One HTTP answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A socket that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, *, head: bool = False, within: float = PATIENCE_SECONDS) -> Reply:
        """The next answer. Raises IncompleteReadError when the connection ends first."""
        async with asyncio.timeout(within):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {}
            for line in lines[1:]:
                if line:
                    name, _, value = line.partition(": ")
                    headers[name] = value
            status = int(lines[0].split()[1])
            if status == 100:
                return Reply(status, headers, b"")
            size = 0 if head else int(headers.get("content-length", "0"))
            return Reply(status, headers, await self.reader.readexactly(size))

    async def ended(self, within: float = PATIENCE_SECONDS) -> bytes:
        """Wait until the server closes; what it said until then."""
        async with asyncio.timeout(within):
            said = b""
            try:
                while chunk := await self.reader.read(65536):
                    said += chunk
            except ConnectionError:
                pass
            return said

    def close(self) -> None:
        self.writer.close()


def post(body: bytes = b"{}", *, path: str = PATH, headers: str = "", version: str = "1.1") -> bytes:
    """A whole POST request."""
    head = f"POST {path} HTTP/{version}\r\nhost: relay\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode("latin-1") + body


async def drip(client: Client, data: bytes, every: float = 0.05) -> None:
    """Send one byte at a time until the other side has had enough."""
    with suppress(ConnectionError):
        for at in range(len(data)):
            await client.send(data[at : at + 1])
            await asyncio.sleep(every)


class Edge:
    """Starts servers for one test and closes them, and its clients, afterwards."""

    def __init__(self, *, direct: bool = True, soon: bool = True) -> None:
        self._direct = direct  # as in the product; without it every request goes through ASGI
        self.receiver = FakeReceiver(soon=soon)
        self._servers: list[Server] = []
        self._clients: list[Client] = []

    async def start(
        self,
        limits: ConnectionLimits = PATIENT,
        *,
        maximum: int = 1_000_000,
        budget: int = 4_000_000,
        app: Callable[..., Awaitable[None]] | None = None,
        log: Any = None,
        shutdown_seconds: float = 2.0,
    ) -> CallbackEndpoint:
        """Listen on a free port with this endpoint (or `app`)."""
        endpoint = CallbackEndpoint(
            self.receiver,
            SystemClock(),
            max_notification_bytes=maximum,
            intake_budget_bytes=budget,
            log=log or SilentLog(),
        )
        direct = endpoint if self._direct and app is None else None
        site = Site(app=app or endpoint, direct=direct, port=0, limits=limits)
        server = Server([site], SystemClock(), shutdown_seconds=shutdown_seconds)
        await server.start()
        self._servers.append(server)
        return endpoint

    @property
    def running(self) -> bool:
        return bool(self._servers)

    @property
    def server(self) -> Server:
        return self._servers[-1]

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.server.listeners[0].connections.counts)

    @property
    def open(self) -> int:
        return len(self.server.listeners[0].connections.open)

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.server.ports[0]))
        self._clients.append(client)
        return client

    async def ask(self, data: bytes, **options: Any) -> Reply:
        """One request on a connection of its own."""
        client = await self.connect()
        await client.send(data)
        reply = await client.reply(**options)
        client.close()
        return reply

    async def close(self) -> None:
        for client in self._clients:
            client.close()
        for server in self._servers:
            await server.stop()
        for client in self._clients:
            try:
                await client.writer.wait_closed()
            except (ConnectionError, OSError):
                pass


class SilentLog:
    """Keeps log lines instead of writing them."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def bind(self) -> SilentLog:
        return self

    def is_enabled_for(self, level: int) -> bool:
        return True

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    exception = error = info
