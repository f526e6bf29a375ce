"""The way past ASGI: what takes it, what does not, and that it ends as it should. How it answers, the tests of the
callback endpoint show, which go both ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.web import direct
from relay.web.callback import CallbackEndpoint
from relay.web.direct import MAX_BODY_BYTES
from tests.support.edge import PATH, Edge, post

SHORT = post(b'{"status":"completed"}')


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    made = Edge(direct=True)
    yield made
    await made.close()


def _head(start: str, *headers: str) -> bytes:
    return "\r\n".join([start, "host: relay", *headers, "", ""]).encode()


def _no_asgi(endpoint: CallbackEndpoint, scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("not this way")


def _not_directly(endpoint: CallbackEndpoint, url: bytes, headers: Any, length: int) -> None:
    if length > 0 and b"forged" not in url:  # that is looked at, and not taken
        raise AssertionError("not this way")


async def test_a_short_announced_post_passes_by_asgi(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallbackEndpoint, "__call__", _no_asgi)
    await edge.start()
    client = await edge.connect()
    for _ in range(3):
        await client.send(SHORT)
        reply = await client.reply()
        assert (reply.status, reply.headers.get("connection")) == (200, None)
        assert "date" in reply.headers
    assert len(edge.receiver.received) == 3


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (_head(f"POST {PATH} HTTP/1.1", "transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n", 200),
        (post(b"x" * (MAX_BODY_BYTES + 1)), 200),
        (_head(f"POST {PATH} HTTP/1.0", "content-length: 2") + b"{}", 200),
        (_head(f"POST {PATH} HTTP/1.1", "content-length: 2", "connection: close") + b"{}", 200),
        (_head(f"PUT {PATH} HTTP/1.1", "content-length: 2") + b"{}", 405),
        (_head("POST /in/forged HTTP/1.1", "content-length: 2") + b"{}", 404),
    ],
    ids=["chunked", "long", "HTTP/1.0", "the last one", "another method", "forged"],
)
async def test_everything_else_takes_the_ordinary_way(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, request_bytes: bytes, status: int
) -> None:
    monkeypatch.setattr(CallbackEndpoint, "admit", _not_directly)
    await edge.start()
    assert (await edge.ask(request_bytes)).status == status


async def test_requests_sent_at_once_are_answered_in_their_order(edge: Edge) -> None:
    edge.receiver.hold = asyncio.Event()
    await edge.start()
    client = await edge.connect()
    await client.send(SHORT + _head(f"GET {PATH} HTTP/1.1") + SHORT)
    await edge.receiver.until_received()
    edge.receiver.hold.set()
    assert [(await client.reply()).status for _ in range(3)] == [200, 405, 200]


async def test_a_body_in_many_pieces_is_put_together(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    await client.send(_head(f"POST {PATH} HTTP/1.1", "content-length: 6"))
    for piece in (b"ab", b"cd", b"ef"):
        await client.send(piece)
        await asyncio.sleep(0)
    assert (await client.reply()).status == 200
    assert [inbound.body for inbound in edge.receiver.received] == [b"abcdef"]


async def test_a_request_under_way_is_answered_before_the_server_is_gone(edge: Edge) -> None:
    edge.receiver.hold = asyncio.Event()
    await edge.start()
    client = await edge.connect()
    await client.send(SHORT)
    await edge.receiver.until_received()
    stopping = asyncio.create_task(edge.server.stop())
    await asyncio.sleep(0)
    edge.receiver.hold.set()
    reply = await client.reply()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    await asyncio.wait_for(stopping, 5)


async def test_whoever_leaves_before_the_answer_costs_nothing_and_the_notification_is_stored(edge: Edge) -> None:
    edge.receiver.hold = asyncio.Event()
    endpoint = await edge.start()
    client = await edge.connect()
    await client.send(SHORT)
    await edge.receiver.until_received()
    assert endpoint.budget.used > 0
    client.close()
    while edge.open:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    edge.receiver.hold.set()
    while endpoint.budget.used:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert len(edge.receiver.received) == 1


@pytest.mark.parametrize("where", ["answering", "writing"])
async def test_a_mistake_over_one_request_costs_no_other_caller_an_answer(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    await edge.start()
    clients = [await edge.connect() for _ in range(3)]
    answer, write = CallbackEndpoint.answer, direct._write

    def mistaken_answer(endpoint: CallbackEndpoint, admitted: Any, body: bytes, respond: Any) -> Any:
        if body == b"bad":
            raise RuntimeError("a mistake")
        return answer(endpoint, admitted, body, respond)

    def mistaken_write(cycle: Any, connection: Any, reply: Any) -> None:
        if cycle.body() == b"bad":
            raise RuntimeError("a mistake")
        write(cycle, connection, reply)

    if where == "answering":
        monkeypatch.setattr(CallbackEndpoint, "answer", mistaken_answer)
    else:
        monkeypatch.setattr(direct, "_write", mistaken_write)
    edge.receiver.hold = asyncio.Event()
    for client, body in zip(clients, (b"{}", b"bad", b"{}"), strict=True):
        await client.send(post(body))
    await edge.receiver.until_received(2 if where == "answering" else 3)
    edge.receiver.hold.set()
    assert [(await clients[number].reply()).status for number in (0, 2)] == [200, 200]
    assert await clients[1].ended() == b""  # closed, instead of waiting for ever
