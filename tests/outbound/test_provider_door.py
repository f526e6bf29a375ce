"""The door to providers, against servers that send arbitrary bytes."""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from relay.clock import SystemClock
from relay.errors import (
    AddressRefused,
    BodyTooLarge,
    ConnectFailed,
    DecodeFailed,
    ForeignOrigin,
    Interrupted,
    OutboundError,
    ResolveFailed,
    TimedOut,
    UrlRefused,
)
from relay.model import Secret
from relay.outbound import AddressPolicy, Authorization, ProviderDoor, ProviderRequest
from tests.outbound.conftest import Tls, Watch
from tests.support.outbound import (
    RawServer,
    Reader,
    Script,
    Writer,
    always,
    bursts,
    drip,
    loopback_zone,
    names_of,
    nameserver,
    raw_server,
    response,
    silent,
)
from tests.support.stopwatch import Stopwatch

MIB = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def door_to(*allow: str, **options: Any) -> AsyncIterator[ProviderDoor]:
    """A door whose nameserver says 127.0.0.1 to everything."""
    clock = SystemClock()
    async with nameserver(loopback_zone) as fake:
        door = ProviderDoor(AddressPolicy(allow), clock, names=names_of(clock, fake), **options)
        try:
            yield door
        finally:
            await door.close()


def request_to(url: str, **changes: Any) -> ProviderRequest:
    given: dict[str, Any] = {
        "method": "GET",
        "authorization": None,
        "allowed_origins": frozenset(),
        "timeout_seconds": 5.0,
        "max_bytes": MIB,
        "max_decoded_bytes": 4 * MIB,
    }
    return ProviderRequest(url=url, **(given | changes))


def basic(*origins: str) -> Authorization:
    return Authorization(frozenset(origins), {"Authorization": Secret("Basic dXNlcjpwYXNz")})


async def fetch(door: ProviderDoor, request: ProviderRequest) -> tuple[int, bytes]:
    async with door.stream(request) as answer:
        return answer.status, b"".join([piece async for piece in answer.iter_bytes()])


async def fetch_from(script: Script, **changes: Any) -> tuple[int, bytes]:
    async with raw_server(script) as server, door_to("127.0.0.1") as door:
        return await fetch(door, request_to(f"http://127.0.0.1:{server.port}/", **changes))


async def test_credentials_reach_their_origin_and_the_answer_streams_back() -> None:
    async with raw_server(always(response(b'{"ok":1}', headers=["X-Job: 7", "X-Job: 8"]))) as server:
        origin = f"http://127.0.0.1:{server.port}"
        async with door_to("127.0.0.1") as door:
            request = request_to(
                f"{origin}/v1//jobs/a%2Fb?x={{y}}", authorization=basic(origin), allowed_origins=frozenset({origin})
            )
            async with door.stream(request) as answer:
                assert (answer.status, answer.headers["x-job"]) == (200, "7, 8")
                assert [piece async for piece in answer.iter_bytes()] == [b'{"ok":1}']
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /v1//jobs/a%2Fb?x={y} HTTP/1.1"
    lower = [line.lower() for line in lines]
    assert "authorization: basic dxnlcjpwyxnz" in lower
    assert "accept-encoding: gzip" in lower
    assert sum(line.startswith("host:") for line in lower) == 1


async def test_a_body_and_headers_are_sent_with_a_post() -> None:
    async with raw_server(always(response(b"", status="202 Accepted"))) as server, door_to("127.0.0.1") as door:
        request = request_to(
            f"http://127.0.0.1:{server.port}/jobs",
            method="POST",
            headers={"Content-Type": "application/json", "X-Trace": "1"},
            content=b'{"a":1}',
        )
        assert await fetch(door, request) == (202, b"")
        assert await fetch(door, request_to(request.url, method="POST", content=b"x" * 3 * MIB)) == (202, b"")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b'{"a":1}'
    assert head.lower().count(b"content-length") == head.lower().count(b"content-type") == 1
    assert b"x-trace: 1" in head.lower()
    assert len(server.requests[1]) > 3 * MIB


async def test_credentials_for_another_origin_are_refused_before_any_connection(watch: Watch) -> None:
    async with raw_server(always(response(b""))) as canary, door_to("127.0.0.1") as door:
        own = f"http://127.0.0.1:{canary.port}"
        foreign = [
            f"http://localhost:{canary.port}",
            f"https://127.0.0.1:{canary.port}",
            "http://127.0.0.1",
            f"http://127.0.0.1:{canary.port}.evil.test",
        ]
        for request in (
            request_to(f"{own}/", authorization=basic(*foreign)),
            request_to(f"{own}/", authorization=basic(*foreign), allowed_origins=frozenset({own})),
            request_to(f"{own}/", authorization=basic(own), allowed_origins=frozenset(foreign)),
            request_to(f"{own}/", allowed_origins=frozenset(foreign)),
            request_to(f"{own}/", headers={"Authorization": "Basic x"}),
            request_to(f"{own}/", headers={"Cookie": "x=y"}),
        ):
            with pytest.raises(ForeignOrigin):
                await fetch(door, request)
        assert (canary.connections, watch.connected) == (0, [])


async def test_credentials_that_would_split_the_request_are_not_sent_nor_told() -> None:
    async with raw_server(always(response(b"ok"))) as server, door_to("127.0.0.1") as door:
        origin = f"http://127.0.0.1:{server.port}"
        for value in ("hush\n", "hush\r\nX: y"):
            authorization = Authorization(frozenset({origin}), {"X-Api-Key": Secret(value)})
            with pytest.raises(Interrupted) as caught:
                await fetch(door, request_to(f"{origin}/", authorization=authorization))
            assert "hush" not in str(caught.value)
    assert server.requests == []


async def test_a_presigned_hop_carries_no_credentials() -> None:
    async with raw_server(always(response(b"payload"))) as server, door_to("127.0.0.1") as door:
        assert await fetch(door, request_to(f"http://files.test:{server.port}/x?sig=%2B")) == (200, b"payload")
    assert b"authorization" not in server.requests[0].lower()


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
@pytest.mark.parametrize(
    "location", ["/next", "//evil.test/", "http://169.254.169.254/", "CANARY", "", "javascript:alert(1)"]
)
async def test_a_redirect_is_an_answer_and_is_not_followed(status: str, location: str, watch: Watch) -> None:
    async with raw_server(always(response(b""))) as canary, door_to("127.0.0.1") as door:
        place = location.replace("CANARY", f"http://127.0.0.1:{canary.port}/")
        async with raw_server(always(response(b"moved", status=status, headers=[f"Location: {place}"]))) as server:
            origin = f"http://127.0.0.1:{server.port}"
            assert await fetch(door, request_to(f"{origin}/", authorization=basic(origin))) == (
                int(status[:3]),
                b"moved",
            )
    assert (len(server.requests), canary.connections) == (1, 0)
    assert watch.connected == [("127.0.0.1", server.port)]


async def test_an_internationalised_name_is_called_by_its_a_label() -> None:
    async with raw_server(always(response(b"ok"))) as server, door_to("127.0.0.1") as door:
        assert await fetch(door, request_to(f"http://xn--bcher-kva.test:{server.port}/")) == (200, b"ok")
    assert f"Host: xn--bcher-kva.test:{server.port}".encode() in server.requests[0]


async def test_connections_are_reused_and_cookies_are_not_carried_over() -> None:
    script = always(response(b"ok", headers=["Set-Cookie: session=secret; Path=/"]))
    async with raw_server(script) as server, door_to("127.0.0.1") as door:
        for _ in range(3):
            await fetch(door, request_to(f"http://a.test:{server.port}/"))
    assert server.connections == 1
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_unread_answers_do_not_poison_the_pool() -> None:
    async with raw_server(always(response(b"x" * 500_000))) as server, door_to("127.0.0.1", max_connections=2) as door:
        for _ in range(10):
            async with door.stream(request_to(f"http://127.0.0.1:{server.port}/")) as answer:
                assert answer.status == 200
        assert await fetch(door, request_to(f"http://127.0.0.1:{server.port}/")) == (200, b"x" * 500_000)


async def test_tls_is_verified_against_the_name_in_the_url(tls: Tls) -> None:
    async with (
        raw_server(always(response(b"ok")), tls=tls.server("api.good.test")) as server,
        door_to("127.0.0.1", ca_file=tls.ca_file) as door,
    ):
        origin = f"https://api.good.test:{server.port}"
        assert await fetch(door, request_to(f"{origin}/", authorization=basic(origin))) == (200, b"ok")
        wrong = f"https://api.evil.test:{server.port}"
        with pytest.raises(ConnectFailed):
            await fetch(door, request_to(f"{wrong}/", authorization=basic(wrong)))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "url, error",
    [
        ("https://127.0.0.1:1/", AddressRefused),
        ("https://[::ffff:7f00:1]:1/", AddressRefused),
        ("https://rebound.test/", AddressRefused),
        ("https://127.1/", UrlRefused),
        ("http://8.8.8.8/", UrlRefused),
        ("https://localhost/", UrlRefused),
    ],
)
async def test_without_a_list_only_public_https_is_called(url: str, error: type[OutboundError], watch: Watch) -> None:
    async with door_to() as door:
        with pytest.raises(error) as caught:
            await fetch(door, request_to(url))
    assert watch.connected == []
    assert "127" not in str(caught.value) and "://" not in str(caught.value)


async def test_a_name_without_an_address_and_a_closed_port_have_errors_of_their_own() -> None:
    clock = SystemClock()
    async with nameserver(lambda name, kind, before: "NXDOMAIN") as fake:
        door = ProviderDoor(AddressPolicy(["127.0.0.1"]), clock, names=names_of(clock, fake))
        with pytest.raises(ResolveFailed):
            await fetch(door, request_to("https://gone.test/"))
        with pytest.raises(ConnectFailed):
            await fetch(door, request_to("http://127.0.0.1:1/"))
        await door.close()


INTERRUPTED = {
    "nothing": b"",
    "not http": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "short body": HEAD + b"Content-Length: 100\r\n\r\nshort",
    "chunks without end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "broken chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n",
    "2^63 chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n8000000000000000\r\nhello",
    "2^64 chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nhello",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "length and chunks": HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    "10 MB header": HEAD + b"X: " + b"x" * 10_000_000 + b"\r\n\r\n",
    "100 kB of headers": HEAD + (b"X: " + b"y" * 1000 + b"\r\n") * 100 + b"Content-Length: 0\r\n\r\n",
    "100,000 headers": HEAD + b"X: y\r\n" * 100_000 + b"\r\n",
    "1 MB trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"x" * MIB + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", INTERRUPTED.values(), ids=INTERRUPTED)
@pytest.mark.parametrize("head_first", [False, True])
async def test_an_answer_that_breaks_off_or_is_not_http_is_interrupted(data: bytes, head_first: bool) -> None:
    async def script(server: RawServer, reader: Reader, writer: Writer) -> None:
        await server.read_request(reader)
        head, mark, body = data.partition(b"\r\n\r\n")
        writer.write(head + mark)
        if head_first:
            await writer.drain()
            await asyncio.sleep(0.03)
        writer.write(body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    watch = Stopwatch()
    with pytest.raises(Interrupted):
        await fetch_from(script)
    assert watch.own_seconds < 2


async def test_a_reset_in_the_body_is_interrupted_and_leaves_no_complaint(caplog: pytest.LogCaptureFixture) -> None:
    async def script(server: RawServer, reader: Reader, writer: Writer) -> None:
        await server.read_request(reader)
        writer.write(HEAD + b"Content-Length: 100\r\n\r\nhello")
        await writer.drain()
        await asyncio.sleep(0.03)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing sends RST
        writer.transport.abort()

    with pytest.raises(Interrupted):
        await fetch_from(script)
    await asyncio.sleep(0)
    gc.collect()
    assert caplog.records == []


ODD_BUT_WHOLE = {
    "until the end": (HEAD + b"\r\nhello", b"hello"),
    "1 MB chunk extension": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;x=" + b"y" * MIB + b"\r\nhello\r\n0\r\n\r\n",
        b"hello",
    ),
    "100 early hints": (b"HTTP/1.1 103 Early\r\n\r\n" * 100 + response(b"hello"), b"hello"),
}


@pytest.mark.parametrize("data, body", ODD_BUT_WHOLE.values(), ids=ODD_BUT_WHOLE)
async def test_an_odd_answer_that_is_whole_is_taken(data: bytes, body: bytes) -> None:
    _, found = await fetch_from(always(data, close=True))
    assert found == body


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello",
        HEAD + b"Content-Length: 5\r\n\r\nhello, and more",
        response(b"first") + response(b"second"),
    ],
)
async def test_more_than_was_announced_never_reaches_the_next_call(data: bytes) -> None:
    async with raw_server(always(data)) as server, door_to("127.0.0.1") as door:
        for _ in range(3):
            try:
                _, body = await fetch(door, request_to(f"http://127.0.0.1:{server.port}/"))
            except Interrupted:
                continue
            assert body == b"first"
    assert server.connections == 3


async def test_switching_protocols_is_an_answer_without_a_body() -> None:
    upgrade = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes"
    try:
        status, body = await fetch_from(always(upgrade, close=True))
    except Interrupted:
        return
    assert (status, body) == (101, b"")


async def test_caps_hold_for_the_announced_the_raw_and_the_decoded_size() -> None:
    with pytest.raises(BodyTooLarge):
        await fetch_from(drip(HEAD + b"Content-Length: 1000\r\n\r\n", b"x", every=1), max_bytes=999)
    with pytest.raises(BodyTooLarge):
        await fetch_from(drip(HEAD + b"\r\n", b"x" * 65536, every=0), max_bytes=MIB)
    small = gzip.compress(os.urandom(1000) * 50)
    encoded = always(response(small, headers=["Content-Encoding: gzip"]))
    with pytest.raises(BodyTooLarge):
        await fetch_from(encoded, max_decoded_bytes=49_999)
    assert len((await fetch_from(encoded, max_decoded_bytes=50_000))[1]) == 50_000
    assert await fetch_from(always(response(b"x" * 1000)), max_bytes=1000) == (200, b"x" * 1000)


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
async def test_a_bomb_is_refused_and_memory_stays_flat(encoding: str) -> None:
    data = gzip.compress(b"\0" * (64 * MIB), 6)
    if encoding != "gzip":
        data = gzip.compress(data)
    script = always(response(data, headers=[f"Content-Encoding: {encoding}"]))
    process = psutil.Process(os.getpid())
    async with raw_server(script) as server, door_to("127.0.0.1") as door:
        request = request_to(f"http://127.0.0.1:{server.port}/", max_decoded_bytes=1024 * MIB)
        before = process.memory_info().rss
        with pytest.raises(DecodeFailed):
            async with door.stream(request) as answer:
                async for piece in answer.iter_bytes():
                    assert len(piece) <= MIB
        assert process.memory_info().rss - before < 16 * MIB


async def test_a_body_cut_short_inside_its_coding_is_not_taken_for_whole() -> None:
    cut = gzip.compress(os.urandom(5000))[:-20]
    with pytest.raises(DecodeFailed):
        await fetch_from(always(response(cut, headers=["Content-Encoding: gzip"])))


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip, gzip"])
async def test_a_coding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(DecodeFailed):
        await fetch_from(always(response(b"xxxx", headers=[f"Content-Encoding: {encoding}"])))


async def test_a_coded_body_arrives_whole_in_whatever_pieces_it_travels() -> None:
    payload = os.urandom(30_000) + b"\0" * 100_000

    async def script(server: RawServer, reader: Reader, writer: Writer) -> None:
        await server.read_request(reader)
        writer.write(HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
        for burst in bursts(gzip.compress(payload), 777):
            writer.write(b"%x\r\n%b\r\n" % (len(burst), burst))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    assert await fetch_from(script) == (200, payload)


@pytest.mark.parametrize(
    "script",
    [
        silent,
        drip(b"", b"H", every=0.05),
        drip(HEAD + b"X: ", b"x", every=0.05),
        drip(HEAD + b"Content-Length: 9999\r\n\r\n", b"x", every=0.05),
        drip(HEAD + b"\r\n", b"x", every=0.01),
    ],
    ids=["silence", "status line", "header", "body", "endless body"],
)
async def test_every_call_ends_at_its_deadline(script: Script) -> None:
    watch = Stopwatch()
    with pytest.raises((TimedOut, Interrupted)) as caught:
        await fetch_from(script, timeout_seconds=0.3)
    assert watch.own_seconds < 0.9
    assert isinstance(caught.value, TimedOut) or watch.own_seconds < 0.3


async def test_a_timeout_of_the_reader_is_not_the_doors() -> None:
    async with raw_server(always(response(b"ok"))) as server, door_to("127.0.0.1") as door:
        with pytest.raises(TimeoutError):
            async with door.stream(request_to(f"http://127.0.0.1:{server.port}/")):
                raise TimeoutError


async def test_thousands_of_cancelled_calls_leave_the_pool_healthy() -> None:
    async def choosy(server: RawServer, reader: Reader, writer: Writer) -> None:
        if b"GET /good" in await server.read_request(reader):
            writer.write(response(b"ok"))
        else:
            writer.write(HEAD + b"Content-Length: 10\r\n\r\nhalf")
        await reader.read()

    async with raw_server(choosy) as server, door_to("127.0.0.1", max_connections=10) as door:
        base = f"http://127.0.0.1:{server.port}"
        for wave in range(40):
            tasks = [asyncio.ensure_future(fetch(door, request_to(f"{base}/bad"))) for _ in range(50)]
            await asyncio.sleep(0.005 * (wave % 3))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert await asyncio.wait_for(fetch(door, request_to(f"{base}/good")), 2) == (200, b"ok")
        await asyncio.sleep(0.1)
        ours = [c for c in psutil.Process(os.getpid()).net_connections("tcp") if c.raddr and c.raddr[1] == server.port]
        assert len(ours) <= 2


async def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(always(response(b"proxied"))) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await fetch_from(always(response(b"direct"))) == (200, b"direct")
        assert proxy.connections == 0


async def test_nothing_secret_is_shown_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    authorization = Authorization(frozenset({"http://127.0.0.1:1"}), {"X-Api-Key": Secret("key_secret")})
    request = request_to("http://127.0.0.1:1/tok_secret", authorization=authorization, headers={"X-A": "header_secret"})
    async with raw_server(always(response(b"ok"))) as server, door_to("127.0.0.1") as door:
        await fetch(door, request_to(f"http://127.0.0.1:{server.port}/tok_secret", headers={"X-A": "header_secret"}))
        with pytest.raises(ConnectFailed) as caught:
            await fetch(door, request)
    assert "secret" not in caplog.text + repr(request) + repr(authorization) + str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
