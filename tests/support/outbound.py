"""Real sockets for the outbound tests: a server that sends arbitrary bytes, a nameserver that says arbitrary things."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from relay.clock import Clock
from relay.outbound import LookupLimits, NameResolver

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Script = Callable[["RawServer", Reader, Writer], Awaitable[None]]


@dataclass
class RawServer:
    """What a scripted server saw. `requests` holds the whole bytes of each request."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)

    async def read_request(self, reader: Reader) -> bytes:
        """Read one request, head and body, and remember it. Raises IncompleteReadError when the client goes away."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        request = head + await reader.readexactly(length)
        self.requests.append(request)
        return request


@asynccontextmanager
async def raw_server(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Run `script` for every connection to a port of 127.0.0.1."""
    seen = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: Reader, writer: Writer) -> None:
        seen.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(seen, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, limit=2**20)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def always(answer: bytes, *, close: bool = False) -> Script:
    """Answer every request on a connection with the same bytes; `close` ends the connection after the first."""

    async def script(server: RawServer, reader: Reader, writer: Writer) -> None:
        while True:
            await server.read_request(reader)
            writer.write(answer)
            await writer.drain()
            if close:
                writer.close()
                await writer.wait_closed()
                return

    return script


def drip(first: bytes, then: bytes, *, every: float) -> Script:
    """Answer with `first`, and go on with `then` for ever."""

    async def script(server: RawServer, reader: Reader, writer: Writer) -> None:
        await server.read_request(reader)
        writer.write(first)
        while True:
            writer.write(then)
            await writer.drain()
            await asyncio.sleep(every)

    return script


async def silent(server: RawServer, reader: Reader, writer: Writer) -> None:
    """Read the request and say nothing."""
    await server.read_request(reader)
    await reader.read()


def response(body: bytes, *, status: str = "200 OK", headers: Sequence[str] = ()) -> bytes:
    """A well-formed answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


Records = Sequence[tuple[str, str | bytes]]
"""(kind, value): `("A", "1.2.3.4")`, `("AAAA", "::1")`, `("CNAME", "other.test")`, `("RAW CNAME", b"…")`."""
Zone = Callable[[str, str, int], "Records | str"]
"""(name, kind, how many times this was asked before) → records, or NXDOMAIN, SERVFAIL, SILENCE, WRONG ID, TRUNCATED."""

_KINDS = {"A": 1, "CNAME": 5, "AAAA": 28}
_CODES = {"NXDOMAIN": 3, "SERVFAIL": 2, "REFUSED": 5}


class FakeNameserver(asyncio.DatagramProtocol):
    """A UDP nameserver that answers from a function."""

    def __init__(self, zone: Zone, *, ttl: int = 0) -> None:
        self._zone = zone
        self._ttl = ttl
        self.port = 0
        self.asked: list[tuple[str, str]] = []
        self._transport: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        name, question = _question(data)
        kind = {number: kind for kind, number in _KINDS.items()}.get(struct.unpack(">H", question[-4:-2])[0], "?")
        before = self.asked.count((name, kind))
        self.asked.append((name, kind))
        said = self._zone(name, kind, before)
        if said == "SILENCE":
            return
        assert self._transport is not None
        self._transport.sendto(_answer(data, question, kind, said, self._ttl), peer)


def _question(data: bytes) -> tuple[str, bytes]:
    labels: list[str] = []
    at = 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
        at += data[at] + 1
    return ".".join(labels).lower(), data[12 : at + 5]


def _answer(query: bytes, question: bytes, kind: str, said: Records | str, ttl: int) -> bytes:
    identity = query[:2] if said != "WRONG ID" else bytes([query[0] ^ 1, query[1]])
    flags = 0x8180 | (0x0200 if said == "TRUNCATED" else 0)
    if isinstance(said, str):
        return identity + struct.pack(">HHHHH", flags | _CODES.get(said, 0), 1, 0, 0, 0) + question
    records = [record for record in said if record[0].removeprefix("RAW ") in (kind, "CNAME")]
    body = b"".join(_record(kind, value, ttl) for kind, value in records)
    return identity + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + question + body


def _record(kind: str, value: str | bytes, ttl: int) -> bytes:
    if isinstance(value, bytes):
        data, kind = value, kind.removeprefix("RAW ")
    elif kind == "A":
        data = socket.inet_pton(socket.AF_INET, value)
    elif kind == "AAAA":
        data = socket.inet_pton(socket.AF_INET6, value)
    else:
        data = b"".join(bytes([len(label)]) + label.encode() for label in value.split(".")) + b"\0"
    return b"\xc0\x0c" + struct.pack(">HHIH", _KINDS[kind], 1, ttl, len(data)) + data


@asynccontextmanager
async def nameserver(zone: Zone, *, ttl: int = 0) -> AsyncIterator[FakeNameserver]:
    """Run a fake nameserver on a port of 127.0.0.1."""
    loop = asyncio.get_running_loop()
    transport, fake = await loop.create_datagram_endpoint(
        lambda: FakeNameserver(zone, ttl=ttl), local_addr=("127.0.0.1", 0)
    )
    fake.port = transport.get_extra_info("sockname")[1]
    try:
        yield fake
    finally:
        transport.close()


def names_of(
    clock: Clock,
    fake: FakeNameserver | None = None,
    *,
    hosts: Path = Path("/nonexistent"),
    limits: LookupLimits | None = None,
) -> NameResolver:
    """A resolver that asks `fake` only (nobody, without one) and reads `hosts` instead of the machine's file."""
    servers = [fake.address if fake is not None else "127.0.0.1:9"]
    return NameResolver(clock, nameservers=servers, limits=limits, hosts_file=hosts)


def loopback_zone(name: str, kind: str, before: int) -> Records | str:
    """Every name is at 127.0.0.1."""
    return [("A", "127.0.0.1")]


def bursts(data: bytes, size: int) -> Iterator[bytes]:
    """`data` in pieces of `size`."""
    return (data[at : at + size] for at in range(0, len(data), size))
