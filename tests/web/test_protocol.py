"""What a connection may cost, over real sockets and with short deadlines."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from relay.web.protocol import GuardedProtocol
from tests.support.edge import HURRIED, PATH, PATIENT, Edge, drip, post
from tests.support.stopwatch import Stopwatch

HEAD = f"POST {PATH} HTTP/1.1\r\nhost: relay\r\ncontent-length: 1000\r\n".encode()


async def test_a_silent_connection_is_closed_without_a_word(edge: Edge) -> None:
    await edge.start(HURRIED)
    client = await edge.connect()
    assert await client.ended() == b""


@pytest.mark.parametrize("earlier", [0, 1])
async def test_a_dripping_head_gets_408_when_the_deadline_passes(edge: Edge, earlier: int) -> None:
    await edge.start(dataclasses.replace(HURRIED, idle_seconds=30, keep_alive_seconds=30))
    client = await edge.connect()
    for _ in range(earlier):
        await client.send(post())
        await client.reply()
    watch = Stopwatch()
    dripping = asyncio.create_task(drip(client, HEAD * 10))
    said = await client.ended()
    dripping.cancel()
    assert said.startswith(b"HTTP/1.1 408 ")
    assert watch.seconds > 0.3 and watch.own_seconds < 1.5


async def test_a_dripping_body_gets_408_and_stores_nothing(edge: Edge) -> None:
    await edge.start(HURRIED)
    client = await edge.connect()
    await client.send(HEAD + b"\r\n")
    dripping = asyncio.create_task(drip(client, b"x" * 900))
    said = await client.ended()
    dripping.cancel()
    assert said.startswith(b"HTTP/1.1 408 ")
    assert edge.receiver.received == []


async def test_a_large_body_that_keeps_coming_outlives_the_deadline(edge: Edge) -> None:
    await edge.start(dataclasses.replace(HURRIED, body_bytes_per_second=2_000))
    client = await edge.connect()
    await client.send(b"POST %s HTTP/1.1\r\ncontent-length: 30000\r\n\r\n" % PATH.encode())
    for _ in range(12):
        await client.send(b"x" * 2500)
        await asyncio.sleep(0.08)
    assert (await client.reply()).status == 200


async def test_bytes_between_requests_do_not_extend_the_wait(edge: Edge) -> None:
    await edge.start(HURRIED)
    client = await edge.connect()
    dripping = asyncio.create_task(drip(client, b"\r\n" * 100))
    assert await client.ended() == b""
    dripping.cancel()


async def test_an_idle_keep_alive_connection_is_closed(edge: Edge) -> None:
    await edge.start(dataclasses.replace(PATIENT, keep_alive_seconds=0.4))
    client = await edge.connect()
    await client.send(post())
    assert (await client.reply()).status == 200
    watch = Stopwatch()
    assert await client.ended() == b""
    assert watch.seconds > 0.25


async def test_a_connection_serves_many_requests(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    for number in range(20):
        await client.send(post(b"%d" % number))
        assert (await client.reply()).status == 200
    assert [inbound.body for inbound in edge.receiver.received] == [b"%d" % number for number in range(20)]


async def test_pipelined_requests_are_answered_in_order(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    await client.send(b"".join(post(b"%d" % number) for number in range(30)) + post(b"last")[:-2])
    for _ in range(30):
        assert (await client.reply()).status == 200
    await client.send(b"st")
    assert (await client.reply()).status == 200
    assert edge.receiver.received[-1].body == b"last"


async def test_a_pipelined_request_that_never_ends_is_cut_off(edge: Edge) -> None:
    await edge.start(HURRIED)
    client = await edge.connect()
    await client.send(post() + HEAD + b"\r\nxx")
    assert (await client.reply()).status == 200
    assert (await client.ended()).startswith(b"HTTP/1.1 408 ")
    assert len(edge.receiver.received) == 1


@pytest.mark.parametrize(
    "head",
    [
        "".join(f"x-{number}: y\r\n" for number in range(200)),
        "x-big: " + "y" * 70_000 + "\r\n",
        "".join(f"x-{number}: {'y' * 1000}\r\n" for number in range(100)),
    ],
    ids=["many", "one big", "many big"],
)
async def test_too_large_a_head_gets_431(edge: Edge, head: str) -> None:
    await edge.start()
    reply = await edge.ask(post(headers=head))
    assert reply.status == 431
    assert reply.json()["code"] == "headers_too_large"
    assert reply.json()["request_id"].startswith("req_")
    assert edge.receiver.admitted == 0


async def test_an_endless_header_gets_431_long_before_it_ends(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    await client.send(f"POST {PATH} HTTP/1.1\r\nx: ".encode() + b"y" * 80_000)
    assert (await client.reply()).status == 431


async def test_an_endless_url_gets_431(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    await client.send(f"POST {PATH}/".encode() + b"y" * 80_000)
    assert (await client.reply()).status == 431


async def test_a_large_body_in_one_piece_with_its_head_is_no_large_head(edge: Edge) -> None:
    await edge.start()
    assert (await edge.ask(post(b"x" * 200_000))).status == 200
    assert edge.receiver.received[0].body == b"x" * 200_000


async def test_trailers_are_no_headers_and_have_a_bound(edge: Edge) -> None:
    await edge.start()
    chunked = f"POST {PATH} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n".encode()
    assert (await edge.ask(chunked + b"webhook-id: forged\r\n\r\n")).status == 200
    assert "webhook-id" not in dict(edge.receiver.received[0].headers)
    client = await edge.connect()
    await client.send(chunked)
    with suppress(ConnectionError):
        for _ in range(20):
            await client.send(b"x: " + b"y" * 10_000 + b"\r\n")
            await asyncio.sleep(0.01)
    assert (await client.reply()).status == 431
    assert len(edge.receiver.received) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"POST /in/x HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"POST /in/x HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /in/x HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /in/x HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /in/x HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n",
        b"POST /in/\xff HTTP/1.1\r\n\r\n",
        b"POST /in/x HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /in/x HTTP/1.1\r\na\x00b: c\r\n\r\n",
        b"POST http://[ HTTP/1.1\r\n\r\n",
        b"CONNECT relay:80 HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /in/x HTTP/9.9\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_400(edge: Edge, data: bytes) -> None:
    await edge.start()
    reply = await edge.ask(data)
    assert reply.status == 400
    assert reply.json()["code"] == "malformed_request"
    assert edge.receiver.received == []


async def test_a_body_that_turns_into_garbage_gets_400_and_stores_nothing(edge: Edge) -> None:
    endpoint = await edge.start()
    client = await edge.connect()
    await client.send(f"POST {PATH} HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n".encode())
    await asyncio.sleep(0.05)
    assert endpoint.budget.used == 2
    await client.send(b"zz\r\n")
    assert (await client.reply()).status == 400
    await asyncio.sleep(0.05)
    assert endpoint.budget.used == 0  # although the connection is still open on our side
    await client.ended()
    assert edge.receiver.received == []


async def test_garbage_after_an_early_answer_gets_no_second_one(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    await client.send(b"POST /in/forged HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
    assert (await client.reply()).status == 404
    await client.send(b"zz\r\n")
    assert await client.ended() == b""


async def test_garbage_behind_a_request_does_not_take_that_requests_answer(edge: Edge) -> None:
    edge.receiver.hold = asyncio.Event()
    await edge.start()
    client = await edge.connect()
    await client.send(post(b"sound") + b"garbage\r\n\r\n")
    await edge.receiver.until_received()
    edge.receiver.hold.set()
    reply = await client.reply()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert await client.ended() == b""


async def test_the_body_of_a_request_that_wants_to_upgrade_is_read(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    upgrade = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    for body in (b"first", b"second"):
        await client.send(post(body, headers=upgrade))
        assert (await client.reply()).status == 200
    await client.send(post(b"x" * 1000, headers=upgrade)[:-900])
    await asyncio.sleep(0.02)
    await client.send(b"x" * 900)
    assert (await client.reply()).status == 200
    assert [inbound.body for inbound in edge.receiver.received] == [b"first", b"second", b"x" * 1000]


async def test_a_peer_that_does_not_read_is_cut_off(edge: Edge) -> None:
    gone = asyncio.Event()

    async def flood(scope: object, receive: object, send: object) -> None:
        assert callable(send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        gone.set()

    await edge.start(HURRIED, app=flood)
    client = await edge.connect()
    await client.send(b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(20):
        await gone.wait()
    assert edge.open == 0


async def test_an_endless_answer_ends_with_its_caller_also_when_another_request_waits_behind_it(edge: Edge) -> None:
    left, receives = asyncio.Event(), []

    async def endless(scope: object, receive: Callable[[], Awaitable[dict[str, object]]], send: object) -> None:
        async def until_left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()

        assert callable(send)
        receives.append(asyncio.create_task(until_left()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not left.is_set():
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0.01)

    await edge.start(app=endless)
    client = await edge.connect()
    await client.send(b"GET /first HTTP/1.1\r\n\r\n")
    await client.reply()
    await client.send(b"GET /second HTTP/1.1\r\n\r\n")
    (connection,) = edge.server.listeners[0].connections.open
    assert isinstance(connection, GuardedProtocol)
    while not connection.pipeline:  # noqa: ASYNC110  # nobody is told that one waits
        await asyncio.sleep(0)
    client.close()
    try:
        async with asyncio.timeout(5):
            await left.wait()
    finally:
        left.set()
        for task in receives:
            task.cancel()
    assert len(receives) == 1, "who left is not answered any more"


async def test_an_early_answer_reaches_a_caller_that_sends_everything_before_it_reads(edge: Edge) -> None:
    await edge.start(maximum=1000)
    loop, size = asyncio.get_running_loop(), 8_000_000
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", edge.server.ports[0]))
        head = f"POST {PATH} HTTP/1.1\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
        await loop.sock_sendall(client, head.encode() + b"x" * size)
        assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 413 ")


async def test_after_an_early_answer_the_rest_is_discarded_and_the_connection_goes_on(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    await client.send(post(b"x" * 300_000, path="/in/unknown"))
    assert (await client.reply()).status == 404
    await client.send(post())
    assert (await client.reply()).status == 200


async def test_after_an_early_answer_a_drip_is_not_suffered_for_long(edge: Edge) -> None:
    await edge.start(dataclasses.replace(PATIENT, linger_seconds=0.2))
    client = await edge.connect()
    await client.send(post(b"x" * 1000, path="/in/unknown")[:-900])
    assert (await client.reply()).status == 404
    dripping = asyncio.create_task(drip(client, b"x" * 900))
    watch = Stopwatch()
    assert await client.ended() == b""
    dripping.cancel()
    assert watch.own_seconds < 1


async def test_refusals_name_a_request(edge: Edge) -> None:
    await edge.start()
    first, second = [json.loads((await edge.ask(b"garbage\r\n\r\n")).body) for _ in range(2)]
    assert first.pop("request_id") != second.pop("request_id")
    assert first == second
