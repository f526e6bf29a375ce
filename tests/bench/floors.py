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
    rate: float  # results a second: a process that is woken for each call pays more for it than one that never rests
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
    """The bare outgoing work of so many results, each begun when it is due."""
    provider = f"http://127.0.0.1:{calls.provider_port}/results/bench-"
    subscriber = f"http://127.0.0.1:{calls.subscriber_port}/bare"
    loop = asyncio.get_running_loop()

    async def deliver(session: aiohttp.ClientSession) -> None:
        async with session.post(subscriber, data=BODY) as answer:
            await answer.read()

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        async with session.get(f"{provider}{number:010d}") as answer:
            await answer.read()
        await asyncio.gather(*(deliver(session) for _ in range(calls.fan_out)))

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        cpu, began = time.process_time(), loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(calls.count):
                await asyncio.sleep(began + number / calls.rate - loop.time())
                group.create_task(one(session, number))
        spent, took = time.process_time() - cpu, loop.time() - began
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
