"""An answer of a provider is the same whether it comes in one piece or in many."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol

from relay.errors import BodyTooLarge, DecodeFailed, Interrupted, TimedOut
from relay.outbound import ProviderAnswer
from relay.outbound.provider_door import _whole
from tests.outbound.test_provider_door import HEAD, door_to, fetch, fetch_from, request_to
from tests.support.outbound import RawServer, Reader, Script, Writer, always, bursts, raw_server, response


def chunked(body: bytes, *headers: str) -> bytes:
    """An answer that does not announce its size."""
    lines = b"".join(line.encode() + b"\r\n" for line in ("Transfer-Encoding: chunked", *headers))
    chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
    return HEAD + lines + b"\r\n" + chunk + b"0\r\n\r\n"


def slowly(answer: bytes, *, size: int = 400) -> Script:
    """Send the head and then the rest in pieces, each after the other has had time to arrive."""

    async def script(server: RawServer, reader: Reader, writer: Writer) -> None:
        while True:
            await server.read_request(reader)
            head, mark, rest = answer.partition(b"\r\n\r\n")
            for burst in (head + mark, *bursts(rest, size)):
                writer.write(burst)
                await writer.drain()
                await asyncio.sleep(0.01)

    return script


Travels = Callable[[bytes], Script]
TRAVELS = pytest.mark.parametrize("travels", [always, slowly], ids=["at once", "in pieces"])


@TRAVELS
@pytest.mark.parametrize("frame", [response, chunked])
@pytest.mark.parametrize("body", [b"", b"x", b"y" * 2048])
async def test_a_body_arrives_whole(travels: Travels, frame: Callable[[bytes], bytes], body: bytes) -> None:
    assert await fetch_from(travels(frame(body))) == (200, body)


@TRAVELS
async def test_the_cap_on_what_travels_holds_for_a_size_that_was_not_announced(travels: Travels) -> None:
    script = travels(chunked(b"x" * 1001))
    with pytest.raises(BodyTooLarge, match="is larger than 1000"):
        await fetch_from(script, max_bytes=1000)
    assert await fetch_from(script, max_bytes=1001) == (200, b"x" * 1001)


@TRAVELS
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_the_cap_on_what_is_decoded_holds(travels: Travels, encoding: str) -> None:
    body = os.urandom(1001)
    travelling = gzip.compress(body) if encoding == "gzip" else body
    script = travels(chunked(travelling, f"Content-Encoding: {encoding}"))
    with pytest.raises(BodyTooLarge, match="decodes to more than 1000"):
        await fetch_from(script, max_decoded_bytes=1000)
    assert await fetch_from(script, max_decoded_bytes=1001) == (200, body)


@TRAVELS
async def test_a_coded_body_that_is_cut_short_is_refused(travels: Travels) -> None:
    cut = gzip.compress(os.urandom(1000))[:-5]
    with pytest.raises(DecodeFailed, match="cut short"):
        await fetch_from(travels(chunked(cut, "Content-Encoding: gzip")))


@TRAVELS
async def test_a_body_is_read_once(travels: Travels) -> None:
    async with raw_server(travels(response(b"x" * 1000))) as server, door_to("127.0.0.1") as door:
        async with door.stream(request_to(f"http://127.0.0.1:{server.port}/")) as answer:
            assert b"".join([piece async for piece in answer.iter_bytes()]) == b"x" * 1000
            with pytest.raises(RuntimeError, match="has been read"):
                [piece async for piece in answer.iter_bytes()]


async def test_a_body_that_nobody_reads_on_is_closed_at_once() -> None:
    closed = False

    async def body() -> AsyncGenerator[bytes, None]:
        nonlocal closed
        try:
            yield b"x"
            yield b"y"
        finally:
            closed = True

    async with aclosing(ProviderAnswer(200, {}, body(), 10).iter_bytes()) as pieces:  # type: ignore[type-var]  # it is a generator
        assert await anext(pieces) == b"x"
    assert closed


async def test_a_body_that_broke_after_its_end_is_not_taken_for_whole() -> None:
    loop = asyncio.get_running_loop()
    content = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
    answer = cast(aiohttp.ClientResponse, SimpleNamespace(content=content))
    content.feed_data(b"x")
    content.feed_eof()
    assert _whole(answer, 0) is None
    content.set_exception(aiohttp.ClientPayloadError())
    assert _whole(answer, 1) is None


async def test_no_pieces_are_made_of_an_empty_body() -> None:
    async with raw_server(always(response(b""))) as server, door_to("127.0.0.1") as door:
        async with door.stream(request_to(f"http://127.0.0.1:{server.port}/")) as answer:
            assert [piece async for piece in answer.iter_bytes()] == []


@TRAVELS
@pytest.mark.parametrize("read", [0, 1, 9])
async def test_the_next_call_gets_its_own_answer_however_much_was_read_of_the_last(travels: Travels, read: int) -> None:
    async with raw_server(travels(response(b"x" * 1000))) as server, door_to("127.0.0.1", max_connections=1) as door:
        request = request_to(f"http://127.0.0.1:{server.port}/")
        for _ in range(3):
            async with door.stream(request) as answer:
                pieces = answer.iter_bytes()
                for _ in range(read):
                    await anext(pieces, None)
            await pieces.aclose()  # type: ignore[attr-defined]  # a generator: closed here, not whenever it is collected
        assert await fetch(door, request) == (200, b"x" * 1000)


async def test_a_connection_whose_answer_came_at_once_is_used_again() -> None:
    async with raw_server(always(response(b"x" * 1000))) as server, door_to("127.0.0.1") as door:
        request = request_to(f"http://127.0.0.1:{server.port}/")
        async with door.stream(request):
            pass  # not even read
        await fetch(door, request)
    assert server.connections == 1


async def test_the_deadline_binds_a_reader_that_dawdles_over_an_answer_that_is_all_there() -> None:
    async with raw_server(always(response(b"x" * 1000))) as server, door_to("127.0.0.1") as door:
        with pytest.raises(TimedOut):
            async with door.stream(request_to(f"http://127.0.0.1:{server.port}/", timeout_seconds=0.2)):
                await asyncio.Event().wait()


async def test_a_head_that_is_too_large_is_refused_though_its_body_is_there() -> None:
    lines = [f"X-{at}: {'y' * 7000}" for at in range(10)]
    with pytest.raises(Interrupted, match="header of the answer is larger"):
        await fetch_from(always(response(b"x", headers=lines)))


async def test_headers_are_text_under_names_in_lower_case() -> None:
    answer_bytes = HEAD + b"X-Odd: a\xffb\r\nX-Twice: 1\r\nx-twice: 2\r\nX-Utf: \xc3\xa9\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(always(answer_bytes)) as server, door_to("127.0.0.1") as door:
        async with door.stream(request_to(f"http://127.0.0.1:{server.port}/")) as answer:
            assert dict(answer.headers) == {"x-odd": "a�b", "x-twice": "1, 2", "x-utf": "é", "content-length": "0"}


async def test_headers_that_frame_a_request_cannot_be_given() -> None:
    async with raw_server(always(response(b"ok"))) as server, door_to("127.0.0.1") as door:
        given = {"Host": "evil.test", "Content-Length": "9", "Transfer-Encoding": "chunked", "Connection": "close"}
        request = request_to(f"http://127.0.0.1:{server.port}/", method="POST", content=b"x", headers=given)
        assert await fetch(door, request) == (200, b"ok")
    head = server.requests[0].lower()
    assert b"evil" not in head and b"transfer-encoding" not in head and b"connection: close" not in head
    assert b"content-length: 1\r\n" in head


async def test_an_empty_body_is_none() -> None:
    async with raw_server(always(response(b"ok"))) as server, door_to("127.0.0.1") as door:
        assert await fetch(door, request_to(f"http://127.0.0.1:{server.port}/", content=b"")) == (200, b"ok")
    assert b"content-" not in server.requests[0].lower()


@pytest.mark.parametrize("method", ["GE T", "GET\r\nX: y", "G\0"])
async def test_a_method_that_is_not_one_is_not_sent(method: str) -> None:
    async with raw_server(always(response(b"ok"))) as server, door_to("127.0.0.1") as door:
        with pytest.raises(Interrupted):
            await fetch(door, request_to(f"http://127.0.0.1:{server.port}/", method=method))
    assert server.requests == []
