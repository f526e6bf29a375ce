"""The one who is told: posts thin notifications without pause and writes down every answer that says "stored".

A notification that was refused, or whose answer never came, is sent again, byte for byte, as a provider would: so the
relay must recognise what it had stored before it died.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import uvloop

from tests.crash.stage import name_of

FLUSH_SECONDS: Final = 0.01
AGAIN_SECONDS: Final = 0.05
ANSWER_SECONDS: Final = 15.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where to send and how fast; `acks` is the file for what was acknowledged."""

    ports: tuple[int, ...]
    path: str
    provider: str
    acks: str
    rate: float
    senders: int = 16
    first: int = 0


class Sender:
    """One connection that is opened anew whenever it breaks."""

    def __init__(self, load: Load, turn: int) -> None:
        self.load = load
        self.turn = turn
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Send one notification after the other until there are no more."""
        while (number := await self.load.next_number()) is not None:
            while not await self.send(name_of(number)):
                if self.load.ending.is_set():
                    return self.close()
                await asyncio.sleep(AGAIN_SECONDS)
        self.close()

    async def send(self, name: str) -> bool:
        """One try; whether the notification is acknowledged."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self.connect()
        except (OSError, TimeoutError):
            self.load.answers["refused"] += 1
            self.turn += 1
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, body = await self.ask(name)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            self.load.answers["unanswered"] += 1
            self.turn += 1
            self.close()
            return False
        self.load.answers[str(status)] += 1
        if status == 200:
            self.load.acknowledge(name, body)
        return status == 200

    async def connect(self) -> None:
        if self.writer is None:
            ports = self.load.plan.ports
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", ports[self.turn % len(ports)])

    async def ask(self, name: str) -> tuple[int, bytes]:
        """One request and its answer."""
        assert self.reader is not None and self.writer is not None
        self.writer.write(self.load.request(name))
        head = await self.reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        length = int(lowered.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await self.reader.readexactly(length)
        if b"connection: close" in lowered:
            self.close()
        return int(head[9:12]), body

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class Load:
    """All senders, the pace, and the file of acknowledgements."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.answers: Counter[str] = Counter()  # by status; `unanswered` = cut off, `refused` = nobody listens
        self.ending = asyncio.Event()
        self.sent = 0
        self.began = time.monotonic()
        self.lines: list[bytes] = []

    def request(self, name: str) -> bytes:
        """The notification for this job, as NetNut sends it."""
        body = orjson.dumps({"traceID": name, "status": "completed", "response_url": f"{self.plan.provider}/{name}"})
        head = f"POST {self.plan.path} HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    async def next_number(self) -> int | None:
        """The next one to send, when its time has come; None at the end."""
        if self.ending.is_set():
            return None
        number = self.sent
        self.sent += 1
        wait = self.began + number / self.plan.rate - time.monotonic()
        if wait < -1.0:  # nobody was there for a while: go on at the pace from here
            self.began -= wait
        elif wait > 0:
            await asyncio.sleep(wait)
        return None if self.ending.is_set() else self.plan.first + number

    def acknowledge(self, name: str, body: bytes) -> None:
        """Remember what the relay said is stored, and when."""
        said = orjson.loads(body)
        line = f"{name} {time.monotonic():.6f} {said['notification_id']} {said['job_id']} {said['status']}\n"
        self.lines.append(line.encode())

    async def keep_book(self) -> None:
        """Write what was acknowledged, and sync it."""
        descriptor = os.open(self.plan.acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        ended = False
        while not ended:
            ended = self.ending.is_set()
            lines, self.lines = self.lines, []
            if lines:
                os.write(descriptor, b"".join(lines))
                await asyncio.to_thread(os.fsync, descriptor)
            await asyncio.sleep(FLUSH_SECONDS)
        os.close(descriptor)

    async def run(self) -> Counter[str]:
        """Until SIGTERM."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.ending.set)
        print("ready", flush=True)
        senders = [asyncio.create_task(Sender(self, turn).run()) for turn in range(self.plan.senders)]
        book = asyncio.create_task(self.keep_book())
        await asyncio.gather(*senders)
        self.ending.set()
        await book
        await self.keep_book()
        return self.answers


@dataclass(frozen=True)
class Ack:
    """One answer that said "stored". `at` is CLOCK_MONOTONIC."""

    name: str
    at: float
    notification_id: str
    job_id: str
    status: str


def read_acks(file: Path) -> list[Ack]:
    """What was acknowledged so far, in order."""
    if not file.exists():
        return []
    whole = file.read_text().rpartition("\n")[0]
    acks = (line.split() for line in whole.splitlines())
    return [Ack(name, float(at), notification, job, status) for name, at, notification, job, status in acks]


async def _main() -> None:
    answers = await Load(Plan(**orjson.loads(sys.stdin.buffer.read()))).run()
    sys.stdout.buffer.write(orjson.dumps(dict(answers)))


if __name__ == "__main__":
    uvloop.run(_main())
