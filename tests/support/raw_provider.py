"""A provider that is a socket: it keeps every byte that it is sent and says exactly what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Heard:
    """One request as it came over the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for given, value in self.headers if given == name]

    @property
    def everything(self) -> str:
        """All of it as text, to search through."""
        head = "\n".join([self.line, *(f"{name}: {value}" for name, value in self.headers)])
        return head + "\n\n" + self.body.decode("latin-1")


def answer(status: int = 200, body: bytes = b'{"id": "p-1"}', **headers: str) -> bytes:
    """A whole answer; `content_type` and the like become headers."""
    named = {"content-type": "application/json", "content-length": str(len(body))}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


Saying = Callable[[Heard], Awaitable[bytes | None]]


@dataclass
class RawProvider:
    """On 127.0.0.1; an asynchronous context manager. `saying` makes the answer; None closes the connection."""

    says: bytes | None = field(default_factory=answer)
    saying: Saying | None = None
    heard: list[Heard] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None  # answers wait for it
    hangs_up: bool = False  # after each answer, whole or not

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self.hold is not None:
            self.hold.set()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while (said := await self._one(reader)) is not None:
                writer.write(said)
                await writer.drain()
                if self.hangs_up:
                    break
        writer.close()

    async def _one(self, reader: asyncio.StreamReader) -> bytes | None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = [(n.lower(), v.strip()) for n, _, v in (line.partition(":") for line in head[1:] if line)]
        length = int(dict(headers).get("content-length", "0"))
        heard = Heard(head[0], headers, await reader.readexactly(length))
        self.heard.append(heard)
        self.arrived.set()
        if self.hold is not None:
            await self.hold.wait()
        return self.says if self.saying is None else await self.saying(heard)
