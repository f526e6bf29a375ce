"""What the relay is measured against: the same stack doing nothing, and bare outgoing calls.

`empty` and `body` are Starlette routes under uvicorn with httptools and uvloop, as the relay runs; `calls` is one GET
and three POSTs per result through a plain aiohttp session.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import asdict, dataclass
from typing import Final

import aiohttp
import orjson
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

BODY: Final = b'{"type":"result.completed","data":{"payload":"' + b"x" * 2300 + b'"}}'


@dataclass(frozen=True, kw_only=True)
class Calls:
    """How many results' worth of bare calls to make, and where to."""

    provider_port: int
    subscriber_port: int
    count: int
    concurrency: int = 64
    fan_out: int = 3


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Processor time of this process for `count` results' worth of calls."""

    count: int
    cpu_seconds: float
    wall_seconds: float


async def empty(request: Request) -> Response:
    """Does nothing."""
    return Response(b"{}", media_type="application/json")


async def body(request: Request) -> Response:
    """Reads the body and does nothing with it."""
    await request.body()
    return Response(b"{}", media_type="application/json")


def application() -> Starlette:
    """Both floors, at the shape of path that the relay has."""
    return Starlette(
        routes=[
            Route("/empty/{token}", empty, methods=["POST"]),
            Route("/in/{token}", body, methods=["POST"]),
        ]
    )


async def serve() -> None:
    """Listen on a free port of 127.0.0.1, print it, and end at SIGTERM."""
    config = uvicorn.Config(
        application(),
        port=0,
        http="httptools",
        loop="uvloop",
        log_config=None,
        access_log=False,
        ws="none",
        lifespan="off",
    )
    sock = config.bind_socket()
    print(f"ready {sock.getsockname()[1]}", flush=True)
    await uvicorn.Server(config).serve(sockets=[sock])


async def make_calls(calls: Calls) -> Cost:
    """The bare outgoing work of so many results."""
    numbers = iter(range(calls.count))
    provider = f"http://127.0.0.1:{calls.provider_port}/results/bench-"
    subscriber = f"http://127.0.0.1:{calls.subscriber_port}/bare"

    async def worker(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            async with session.get(f"{provider}{number:010d}") as answer:
                await answer.read()
            for _ in range(calls.fan_out):
                async with session.post(subscriber, data=BODY) as answer:
                    await answer.read()

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        cpu, wall = time.process_time(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(calls.concurrency):
                group.create_task(worker(session))
        spent, took = time.process_time() - cpu, time.monotonic() - wall
    return Cost(count=calls.count, cpu_seconds=spent, wall_seconds=took)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["server", "calls"])
    if parser.parse_args().role == "server":
        uvloop.run(serve())
    else:
        calls = Calls(**orjson.loads(sys.stdin.buffer.read()))
        sys.stdout.buffer.write(orjson.dumps(asdict(uvloop.run(make_calls(calls)))))


if __name__ == "__main__":
    main()
