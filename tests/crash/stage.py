"""The provider and the subscriber, in one process that outlives every relay.

A result is a function of its name, so that it can be checked without being kept. The subscriber writes a line for
everything it is sent, before it answers.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import signal
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Final

import uvloop

from tests.bench.light import OK, Light, response

DIGITS: Final = 10
MARK: Final = b"crash-"
LARGE_EVERY: Final = 50  # one result in so many is stored in pieces
LARGE_BYTES: Final = 300_000


def name_of(number: int) -> str:
    """What a job is called at the provider."""
    return f"{MARK.decode()}{number:0{DIGITS}d}"


def find_name(data: bytes) -> str | None:
    """The first name in some bytes."""
    at = data.find(MARK)
    return None if at < 0 else data[at : at + len(MARK) + DIGITS].decode("ascii", "replace")


@lru_cache(maxsize=512)
def payload_of(name: str) -> bytes:
    """The result of the job with this name, byte for byte."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    large = int(name[-DIGITS:]) % LARGE_EVERY == LARGE_EVERY - 1
    text = digest * (LARGE_BYTES // len(digest) if large else 1 + int(digest[:2], 16) // 8)
    return b'{"traceID": "%b",  "model":"perplexity","response":{"text":"%b"}}' % (name.encode(), text.encode())


@dataclass(frozen=True)
class Hold:
    """How long answers are kept back, in seconds."""

    result: float
    delivery: float


@dataclass(frozen=True)
class Received:
    """One line of the subscriber: what it was sent."""

    name: str
    path: str
    message_id: str
    delivery_id: str
    intact: bool  # the provider's bytes were in it

    @classmethod
    def read(cls, line: str) -> Received:
        name, path, message_id, delivery_id, intact = line.split()
        return cls(name, path, message_id, delivery_id, intact == "1")


class Stage(Light):
    """`GET /results/{name}` is the provider, every `POST` the subscriber."""

    def __init__(self, hold: Hold, log: int) -> None:
        super().__init__()
        self.hold = hold
        self.log = log
        self.headers: dict[bytes, bytes] = {}

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def answer(self, url: bytes, body: bytes) -> None:
        if self.parser.get_method() == b"POST":
            self.take(url, body)
            self.later(self.hold.delivery, OK)
        else:
            self.later(self.hold.result, response(payload_of(url.rpartition(b"/")[2].decode())))

    def take(self, url: bytes, body: bytes) -> None:
        """Write down what was sent."""
        name = find_name(body) or "-"
        intact = name != "-" and payload_of(name) in body
        message_id, delivery_id = (self.headers.get(key, b"-") for key in (b"webhook-id", b"relay-delivery-id"))
        line = f"{name} {url.decode()} {message_id.decode()} {delivery_id.decode()} {int(intact)}\n"
        os.write(self.log, line.encode())

    def later(self, seconds: float, data: bytes) -> None:
        """Answer, now or after a while."""
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self.write, data)
        else:
            self.write(data)


async def serve(log: Path, hold: Hold) -> None:
    """Listen on a free port of 127.0.0.1, print it, end at SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = await loop.create_server(partial(Stage, hold, descriptor), "127.0.0.1", 0, backlog=4096)
    print(f"ready {server.sockets[0].getsockname()[1]}", flush=True)
    await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("--hold-result", type=float, default=0.0)
    parser.add_argument("--hold-delivery", type=float, default=0.0)
    options = parser.parse_args()
    uvloop.run(serve(options.log, Hold(options.hold_result, options.hold_delivery)))


if __name__ == "__main__":
    main()
