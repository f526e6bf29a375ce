"""The load generator: raw keep-alive connections and a fixed schedule, in a process of its own.

Open model: request n is due at `start + n / rate` whether or not earlier ones were answered, and its latency counts
from when it was due, so a server that stalls cannot hide it. Without a rate it floods: every connection always has
a request in flight, which shows capacity.
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import orjson
import uvloop

HEAD_END: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length:"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to send. `template` is a whole request in which every `@@@@@@@@@@` stands for the number of ten digits;
    with `others` request n takes the n-th of all templates, over and over."""

    port: int
    template: str
    count: int
    first: int = 0
    rate: float | None = None  # None = flood
    connections: int = 64
    seconds: float = 30.0  # give up after this long
    times_file: str | None = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of it. Times are CLOCK_MONOTONIC seconds.

    `per_second` is taken while every connection had a request in flight: the first ones are sent while others are still
    being opened, and of the last ones a server that answers many together has ever fewer to answer.
    """

    answered: int
    statuses: dict[str, int]
    started: float
    ended: float
    per_second: float


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.templates = [
            text.encode().replace(b"%", b"%%").replace(b"@" * 10, b"%(n)010d") for text in (plan.template, *plan.others)
        ]
        self.due = array("d", bytes(8 * plan.count))
        self.answered = array("d", bytes(8 * plan.count))
        self.statuses: dict[int, int] = {}
        self.sent = self.done = 0
        self.free: list[Connection] = []
        self.backlog: deque[int] = deque()
        self.opened = 0
        self.connections: set[Connection] = set()
        self.finished = asyncio.Event()

    def request(self, index: int) -> bytes:
        return self.templates[index % len(self.templates)] % {b"n": self.plan.first + index}

    def settle(self, index: int, status: int) -> None:
        """The request was answered, or lost (status 0)."""
        self.answered[index] = time.monotonic()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.done += 1
        if self.done == self.plan.count:
            self.finished.set()

    def idle(self, connection: Connection) -> None:
        """A connection has nothing to do: give it the oldest waiting request, or keep it."""
        if self.backlog:
            connection.send(self.backlog.popleft())
        elif self.plan.rate is None and self.sent < self.plan.count:
            self.due[self.sent] = time.monotonic()
            self.sent += 1
            connection.send(self.sent - 1)
        else:
            self.free.append(connection)

    async def open(self) -> None:
        """One connection more."""
        self.opened += 1
        await asyncio.get_running_loop().create_connection(lambda: Connection(self), "127.0.0.1", self.plan.port)

    async def run(self) -> Summary:
        """Send everything; return when all is answered or the time is over."""
        started = time.monotonic()
        for _ in range(min(self.plan.connections, self.plan.count)):
            await self.open()
        try:
            async with asyncio.timeout(self.plan.seconds):
                if self.plan.rate is not None:
                    started = await self.follow_schedule(self.plan.rate)
                await self.finished.wait()
        except TimeoutError:
            pass
        self.finished.set()
        for connection in list(self.connections):
            connection.transport.close()
        await asyncio.sleep(0)
        statuses = {str(status): count for status, count in sorted(self.statuses.items())}
        good = sum(count for status, count in self.statuses.items() if 200 <= status < 300)
        ended = max([started, *self.answered])
        return Summary(
            answered=good, statuses=statuses, started=started, ended=ended, per_second=self.per_second(started, ended)
        )

    def per_second(self, started: float, ended: float) -> float:
        """See `Summary`; with a schedule, or with hardly more requests than connections, of the whole run."""
        first, last = self.plan.connections, self.sent - 1
        if self.plan.rate is None and last > 2 * first:
            return (last - first) / max(1e-9, self.due[last] - self.due[first])  # each was sent when one was answered
        return self.done / max(1e-9, ended - started)

    async def follow_schedule(self, rate: float) -> float:
        start = time.monotonic() + 0.01
        while self.sent < self.plan.count:
            now = time.monotonic()
            while self.sent < self.plan.count and (due := start + self.sent / rate) <= now:
                self.due[self.sent] = due
                self.backlog.append(self.sent)
                self.sent += 1
            while self.free and self.backlog:
                self.free.pop().send(self.backlog.popleft())
            await asyncio.sleep(max(0.0, start + self.sent / rate - time.monotonic()))
        return start


class Connection(asyncio.Protocol):
    """Keep-alive, one request at a time. A lost connection counts its request as status 0 and is replaced."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.index = -1
        self.buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports share no base with asyncio's
        self.load.connections.add(self)
        self.load.idle(self)

    def send(self, index: int) -> None:
        self.index = index
        self.transport.write(self.load.request(index))

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data
        end = data.find(HEAD_END)
        if end >= 0 and len(data) >= end + 4 + body_length(data[:end]):
            status, index = int(data[9:12]), self.index
            self.buffer, self.index = b"", -1
            self.load.settle(index, status)
            self.load.idle(self)
        else:
            self.buffer = data

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.connections.discard(self)
        if self in self.load.free:
            self.load.free.remove(self)
        if self.index >= 0 and not self.load.finished.is_set():
            self.load.settle(self.index, 0)
        # A server that refuses everybody must not turn this into an endless loop of connecting.
        if not self.load.finished.is_set() and self.load.opened < 10 * self.load.plan.connections:
            opening = asyncio.ensure_future(self.load.open())
            opening.add_done_callback(lambda task: task.cancelled() or task.exception())


def body_length(head: bytes) -> int:
    """The content-length of an answer; 0 when it names none."""
    lowered = head.lower()
    at = lowered.find(LENGTH)
    return int(lowered[at + len(LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def notification(path: str, response_url: str) -> str:
    """A NetNut completion notification as a template: the number stands in the trace id and in the URL."""
    number = "bench-" + "@" * 10
    url = f"{response_url}/{number}"
    body = f'{{"message":"Request completed","traceID":"{number}","status":"completed","response_url":"{url}"}}'
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"user-agent: bench\r\naccept: */*\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    )


async def measure(plan: Plan) -> Summary:
    """Run a plan in this process; due and answered times go to its file, one array of doubles after the other."""
    load = Load(plan)
    summary = await load.run()
    if plan.times_file is not None:
        data = load.due.tobytes() + load.answered.tobytes()
        await asyncio.to_thread(Path(plan.times_file).write_bytes, data)
    return summary


def main() -> None:
    plan = Plan(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(asdict(uvloop.run(measure(plan)))))


if __name__ == "__main__":
    main()
