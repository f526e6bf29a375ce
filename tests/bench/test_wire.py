"""The generator keeps its schedule whatever the server does, and counts what it gets."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from tests.bench.wire import Load, Plan, body_length, measure, notification

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Start = Callable[[Handler], Awaitable[int]]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[asyncio.Server] = []

    async def started(handler: Handler) -> int:
        servers.append(await asyncio.start_server(handler, "127.0.0.1", 0))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield started
    for server in servers:
        server.close()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(body_length(head))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = ANSWER) -> None:
    try:
        while True:
            await read_request(reader)
            writer.write(answer)
    except asyncio.IncompleteReadError:
        writer.close()


async def test_every_request_is_different_and_as_long_as_it_says(start: Start) -> None:
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            seen.append(await read_request(reader))
            writer.write(ANSWER)
        writer.close()

    template = notification("/in/100%25", "http://127.0.0.1:9/results")
    plan = Plan(port=await start(handler), template=template, count=3, first=40, connections=1)
    summary = await measure(plan)
    assert summary.statuses == {"200": 3}
    assert [b"bench-%010d" % number in request for number, request in zip(range(40, 43), seen, strict=True)] == [
        True
    ] * 3
    assert all(request.startswith(b"POST /in/100%25 ") for request in seen)


async def test_a_stall_is_seen_by_every_request_that_was_due_in_it(start: Start) -> None:
    released = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        await serve(reader, writer)

    plan = Plan(port=await start(handler), template=notification("/", "x"), count=20, rate=1000.0, connections=2)
    load = Load(plan)
    running = asyncio.create_task(load.run())
    while load.sent < plan.count:  # noqa: ASYNC110  # the schedule's progress is only to be seen here
        await asyncio.sleep(0.005)
    over = time.monotonic()
    released.set()
    await running
    assert [round((b - a) * 1000) for a, b in zip(load.due, load.due[1:], strict=False)] == [1] * 19
    assert all(due < over < answered for due, answered in zip(load.due, load.answered, strict=True))


async def test_refusals_and_lost_connections_are_counted_and_the_rest_still_sent(start: Start) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
        await read_request(reader)
        writer.close()

    plan = Plan(port=await start(handler), template=notification("/", "x"), count=6, connections=1, seconds=5)
    summary = await measure(plan)
    assert (summary.answered, summary.statuses) == (0, {"0": 3, "503": 3})


def test_a_flood_is_measured_while_every_connection_has_a_request_in_flight() -> None:
    load = Load(Plan(port=9, template=notification("/", "x"), count=104, connections=4))
    load.sent = load.done = 104
    for index in range(104):
        load.due[index] = 10.0 + max(0, index - 4) / 200  # the first four as fast as they can connect

    assert load.per_second(started=8.0, ended=12.0) == pytest.approx(200)

    load.plan = replace(load.plan, rate=26.0)
    assert load.per_second(started=8.0, ended=12.0) == 26


async def test_a_server_that_never_answers_ends_the_run_in_time(start: Start) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    plan = Plan(port=await start(handler), template=notification("/", "x"), count=2, rate=100.0, seconds=0.2)
    assert (await measure(plan)).statuses == {}
