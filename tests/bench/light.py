"""A provider and a subscriber that cost next to nothing, as processes of their own.

They parse with httptools inside an asyncio Protocol, so that on two shared cores the figures show the relay and not
its neighbours. Every notification, result and delivery carries `bench-` and ten digits; the subscriber finds them in
whatever it is sent and notes when that number came first. Times are CLOCK_MONOTONIC, one clock for all processes.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import httptools
import orjson
import uvloop

MARK: Final = b"bench-"
DIGITS: Final = 10
CHUNK: Final = b"x" * 262_144


def response(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole HTTP/1.1 answer."""
    head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


OK: Final = response(b"{}")


class Light(asyncio.Protocol):
    """One connection; subclasses say how a whole request is answered."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.parts: list[bytes] = []
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports share no base with asyncio's

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    def on_message_begin(self) -> None:
        self.url, self.parts = b"", []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.answer(self.url, self.parts[0] if len(self.parts) == 1 else b"".join(self.parts))

    def answer(self, url: bytes, body: bytes) -> None:
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)


class Provider(Light):
    """`GET /results/bench-0000000001` answers `size` bytes, at once or spread over `seconds`.

    `GET /pending/bench-0000000001` answers 202 and notes the time; `GET /asked` tells all such numbers and times.
    """

    def __init__(self, size: int, seconds: float, asked: array[float]) -> None:
        super().__init__()
        self.size, self.seconds = size, seconds
        self.asked = asked

    def answer(self, url: bytes, body: bytes) -> None:
        name = url.rpartition(b"/")[2]
        if url == b"/asked":
            return self.write(response(self.asked.tobytes()))
        if url.startswith(b"/pending/"):
            self.asked.extend((float(name.removeprefix(MARK)), time.monotonic()))
            return self.write(response(b'{"status":"processing"}', b"202 Accepted"))
        head = b'{"traceID":"%b","model":"perplexity","response":{"prompt":"coffee","text":"' % name
        tail = b'"}}'
        padding = max(0, self.size - len(head) - len(tail))
        if self.seconds == 0:
            return self.write(response(head + b"x" * padding + tail))
        whole = len(head) + padding + len(tail)
        self.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % whole + head)
        self.drip(padding, tail, self.seconds / max(1, padding / len(CHUNK)))

    def drip(self, left: int, tail: bytes, wait: float) -> None:
        """Send the next chunk and come back for the rest."""
        piece = CHUNK[:left]
        self.write(piece if left > len(piece) else piece + tail)
        if left > len(piece) and not self.transport.is_closing():
            asyncio.get_running_loop().call_later(wait, self.drip, left - len(piece), tail, wait)


@dataclass
class Seen:
    """What the subscriber has been sent, by path."""

    arrivals: dict[bytes, array[float]] = field(default_factory=dict)  # by number; 0.0 = not yet
    counts: dict[bytes, int] = field(default_factory=dict)  # of different numbers
    repeats: int = 0
    unmarked: int = 0

    def note(self, path: bytes, body: bytes) -> None:
        at = body.find(MARK)
        if at < 0:
            self.unmarked += 1
            return
        number = int(body[at + len(MARK) : at + len(MARK) + DIGITS])
        times = self.arrivals.setdefault(path, array("d"))
        if number >= len(times):
            times.extend([0.0] * (max(1024, number) * 2 - len(times)))
        if times[number]:
            self.repeats += 1
            return
        times[number] = time.monotonic()
        self.counts[path] = self.counts.get(path, 0) + 1


class Subscriber(Light):
    """`POST /ok…` is answered at once, `/slow/29` after 29 s, `/hang…` never; `GET /report` and `/times?path` tell."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self.seen = seen

    def answer(self, url: bytes, body: bytes) -> None:
        if url == b"/report":
            counts = {path.decode(): count for path, count in self.seen.counts.items()}
            report = {"counts": counts, "repeats": self.seen.repeats, "unmarked": self.seen.unmarked}
            return self.write(response(orjson.dumps(report)))
        if url.startswith(b"/times?"):
            return self.write(response(self.seen.arrivals.get(url.partition(b"?")[2], array("d")).tobytes()))
        self.seen.note(url, body)
        if url.startswith(b"/slow/"):
            asyncio.get_running_loop().call_later(float(url.rpartition(b"/")[2]), self.write, OK)
        elif not url.startswith(b"/hang"):
            self.write(OK)


async def serve(protocol: Callable[[], asyncio.Protocol]) -> None:
    """Listen on a free port of 127.0.0.1, print it, and end at SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=4096)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["provider", "subscriber"])
    parser.add_argument("--size", type=int, default=2048, help="bytes of a result")
    parser.add_argument("--seconds", type=float, default=0.0, help="time over which a result is sent")
    options = parser.parse_args()
    if options.role == "provider":
        factory: Callable[[], asyncio.Protocol] = partial(Provider, options.size, options.seconds, array("d"))
    else:
        factory = partial(Subscriber, Seen())
    uvloop.run(serve(factory))


if __name__ == "__main__":
    main()
