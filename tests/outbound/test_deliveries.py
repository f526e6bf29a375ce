"""The door for deliveries, against servers that send arbitrary bytes."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest

from relay.clock import SystemClock
from relay.outbound import AddressPolicy, DeliveryDoor, Refusal, Reply
from relay.outbound import deliveries as module
from tests.outbound.conftest import Tls, Watch
from tests.outbound.corpus import FORBIDDEN_ADDRESSES
from tests.outbound.test_urls import REFUSED
from tests.support.outbound import (
    RawServer,
    Reader,
    Records,
    Script,
    Writer,
    always,
    drip,
    loopback_zone,
    names_of,
    nameserver,
    raw_server,
    response,
    silent,
)
from tests.support.stopwatch import Stopwatch


@asynccontextmanager
async def door_to(*allow: str, ca_file: str | None = None, max_connections: int = 256) -> AsyncIterator[DeliveryDoor]:
    """A door whose nameserver says 127.0.0.1 to everything."""
    clock = SystemClock()
    async with nameserver(loopback_zone) as fake:
        door = DeliveryDoor(
            AddressPolicy(allow), clock, ca_file=ca_file, max_connections=max_connections, names=names_of(clock, fake)
        )
        try:
            yield door
        finally:
            await door.close()


async def post_to(script: Script, *, timeout_seconds: float = 5.0, body: bytes = b"{}") -> tuple[Reply, RawServer]:
    async with raw_server(script) as server, door_to("127.0.0.1") as door:
        reply = await door.post(f"http://127.0.0.1:{server.port}/hook", body, {}, timeout_seconds=timeout_seconds)
    return reply, server


async def test_the_body_and_headers_arrive_as_given_and_the_answer_comes_back() -> None:
    async with raw_server(always(response(b"thanks"))) as server, door_to("127.0.0.1") as door:
        url = f"http://127.0.0.1:{server.port}/hook//x?a=%2f&b={{c}}"
        reply = await door.post(url, b'{"a":1}', {"webhook-id": "res_1", "Content-Type": "application/json"})
    assert (reply.status, reply.excerpt, reply.error_code, reply.retry_after) == (200, "thanks", None, None)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b'{"a":1}'
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /hook//x?a=%2f&b={c} HTTP/1.1"
    assert {"webhook-id: res_1", "Content-Type: application/json", "Accept-Encoding: identity"} < set(lines)
    assert f"Host: 127.0.0.1:{server.port}" in lines


async def test_connections_are_reused_and_cookies_are_not_carried_over() -> None:
    script = always(response(b"ok", headers=["Set-Cookie: session=secret; Path=/"]))
    async with raw_server(script) as server, door_to("127.0.0.1") as door:
        for _ in range(3):
            await door.post(f"http://a.test:{server.port}/", b"{}", {})
    assert server.connections == 1
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_a_call_that_opens_a_connection_says_what_that_took_and_every_call_when_its_answer_came() -> None:
    async def slowly(server: RawServer, reader: Reader, writer: Writer) -> None:
        for _ in range(2):
            await server.read_request(reader)
            await asyncio.sleep(0.05)
            writer.write(response(b"ok"))

    async with raw_server(slowly) as server, door_to("127.0.0.1") as door:
        first, second = [await door.post(f"http://a.test:{server.port}/", b"{}", {}) for _ in range(2)]
    assert first.timing is not None and second.timing is not None
    assert first.timing.dns_ms is not None and first.timing.connect_ms is not None
    assert (second.timing.dns_ms, second.timing.connect_ms) == (None, None)
    for reply in (first, second):
        assert reply.timing is not None and reply.timing.first_byte_ms is not None
        assert 40 <= reply.timing.first_byte_ms <= reply.duration_ms


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P", "300 C", "304 N"])
@pytest.mark.parametrize(
    "location", ["same", "other port", "/next", "//evil.test/", "", "javascript:alert(1)", "metadata", "long"]
)
async def test_a_redirect_is_a_failure_and_is_not_followed(status: str, location: str, watch: Watch) -> None:
    async with raw_server(always(response(b""))) as canary, door_to("127.0.0.1") as door:
        places = {
            "same": "http://127.0.0.1/",
            "other port": f"http://127.0.0.1:{canary.port}/",
            "metadata": "http://169.254.169.254/latest/meta-data/",
            "long": "/" + "a" * 7000,
        }
        script = always(response(b"", status=status, headers=[f"Location: {places.get(location, location)}"]))
        async with raw_server(script) as server:
            reply = await door.post(f"http://127.0.0.1:{server.port}/", b"{}", {"authorization": "secret"})
    assert (reply.status, reply.error_code) == (int(status[:3]), None)
    assert (len(server.requests), server.connections, canary.connections) == (1, 1, 0)
    assert watch.connected == [("127.0.0.1", server.port)]


async def test_a_retry_after_is_handed_on_as_bounded_text() -> None:
    reply, _ = await post_to(always(response(b"", status="503 No", headers=["Retry-After: 120"])))
    assert (reply.status, reply.retry_after) == (503, "120")
    reply, _ = await post_to(always(response(b"", status="429 No", headers=["Retry-After: \xe9" + "9" * 500])))
    assert reply.retry_after is not None
    assert len(reply.retry_after) == 64 and reply.retry_after.isascii()


async def test_an_excerpt_is_safe_text_of_the_first_kib() -> None:
    nasty = "a\x1b[2J\x00\u202eb\n\t\u2066é".encode() + b"\xff" + b"x" * 3000
    reply, _ = await post_to(always(response(nasty)))
    assert reply.excerpt is not None
    assert reply.excerpt.startswith("a�[2J��b\n\t�é�xxx")
    assert len(reply.excerpt.encode()) < 1100
    reply, _ = await post_to(always(response("é".encode() * 1000 + b"\n")))
    assert reply.excerpt == "é" * 512
    reply, _ = await post_to(always(response(b"x" * 1023 + "é".encode())))
    assert reply.excerpt == "x" * 1023


async def test_a_large_answer_is_read_to_sixteen_kib_and_the_connection_closed() -> None:
    taken = 0

    async def endless(server: RawServer, reader: Reader, writer: Writer) -> None:
        nonlocal taken
        await server.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            taken += 65536

    watch = Stopwatch()
    reply, server = await post_to(endless)
    assert (reply.status, reply.error_code) == (200, None)
    assert watch.own_seconds < 2
    assert server.connections == 1


async def test_a_dripping_body_does_not_hold_the_delivery_once_the_status_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)
    watch = Stopwatch()
    reply, _ = await post_to(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nfirst", b"x", every=0.05))
    assert (reply.status, reply.error_code) == (200, None)
    assert reply.excerpt is not None and reply.excerpt.startswith("first")
    assert watch.own_seconds < 1


@pytest.mark.parametrize(
    "script",
    [
        silent,
        drip(b"", b"H", every=0.05),
        drip(b"HTTP/1.1 200 OK\r\nX: ", b"x", every=0.05),
        drip(b"", b"", every=0.05),
    ],
    ids=["silence", "status line", "header", "nothing"],
)
async def test_a_subscriber_that_does_not_answer_is_left_at_the_deadline(script: Script) -> None:
    watch = Stopwatch()
    reply, _ = await post_to(script, timeout_seconds=0.3)
    assert (reply.status, reply.error_code) in ((None, "timed_out"), (None, "interrupted"))
    assert watch.own_seconds < 1
    assert reply.duration_ms <= watch.seconds * 1000


async def test_a_subscriber_that_does_not_read_is_left_at_the_deadline() -> None:
    async def deaf(server: RawServer, reader: Reader, writer: Writer) -> None:
        await asyncio.sleep(30)

    watch = Stopwatch()
    reply, _ = await post_to(deaf, timeout_seconds=0.3, body=b"x" * 20_000_000)
    assert reply.error_code == "timed_out"
    assert watch.own_seconds < 1


CONTINUE = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
BROKEN = {
    "nothing": b"",
    "not http": b"SSH-2.0-OpenSSH_9\r\n\r\n",
    "http 0.9": b"<html>hello</html>\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "letters as length": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    "10 MB header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000_000 + b"\r\n\r\n",
    "100,000 headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "header without colon": b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "only early hints": CONTINUE * 100,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_is_not_http_is_interrupted(data: bytes) -> None:
    reply, server = await post_to(always(data, close=True))
    assert (reply.status, reply.error_code) == (None, "interrupted")
    assert len(server.requests) == 1


async def test_early_hints_before_the_answer_are_passed_over() -> None:
    reply, _ = await post_to(always(CONTINUE * 100 + response(b"ok")))
    assert (reply.status, reply.excerpt) == (200, "ok")


@pytest.mark.parametrize(
    "framing, rest",
    [
        ("Content-Length: 100", b"short"),
        ("Transfer-Encoding: chunked", b"5\r\nshort\r\n"),
        ("Transfer-Encoding: chunked", b"5\r\nshort\r\nffffffffffffffffff\r\n"),
        ("Transfer-Encoding: chunked", b"5\r\nshort\r\nnonsense\r\n"),
    ],
)
async def test_a_body_that_breaks_off_does_not_unsay_the_status(framing: str, rest: bytes) -> None:
    async def breaking(server: RawServer, reader: Reader, writer: Writer) -> None:
        await server.read_request(reader)
        writer.write(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        await asyncio.sleep(0.05)
        writer.write(rest)
        await writer.drain()
        await asyncio.sleep(0.05)

    reply, _ = await post_to(breaking)
    assert (reply.status, reply.error_code) == (200, None)


async def test_bytes_that_come_unasked_are_not_taken_for_the_next_answer() -> None:
    async def eager(server: RawServer, reader: Reader, writer: Writer) -> None:
        await server.read_request(reader)
        writer.write(response(b"first"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(response(b"forged"))
        await reader.read()

    async with raw_server(eager) as server, door_to("127.0.0.1") as door:
        url = f"http://127.0.0.1:{server.port}/"
        assert (await door.post(url, b"{}", {})).excerpt == "first"
        await asyncio.sleep(0.15)
        assert (await door.post(url, b"{}", {})).excerpt == "first"


async def test_nobody_listening_is_a_failed_connection() -> None:
    async with door_to("127.0.0.1") as door:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            reply = await door.post(f"http://127.0.0.1:{unused.getsockname()[1]}/", b"", {})
    assert (reply.status, reply.error_code) == (None, "connect_failed")


async def test_a_header_that_would_split_the_request_is_not_sent() -> None:
    async with raw_server(always(response(b"ok"))) as server, door_to("127.0.0.1") as door:
        url = f"http://127.0.0.1:{server.port}/"
        for value in ("a\r\nX: b", "a\nX: b", "a\0"):
            assert (await door.post(url, b"{}", {"x-a": value})).error_code == "interrupted"
        assert (await door.post(url, b"{}", {"x-a": "fine"})).status == 200
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", REFUSED)
async def test_an_odd_url_is_refused_before_anything_happens(url: str, watch: Watch) -> None:
    async with door_to() as door:
        assert (await door.post(url, b"{}", {})).error_code == "url_refused"
        refusal = await door.check(url)
    assert refusal is not None
    if url not in ("https://localhost/", "http://api.good.test/"):
        assert (refusal.code, refusal.setting) == ("url_refused", None)
    assert (watch.connected, watch.resolved) == ([], [])


@pytest.mark.parametrize("address", [address for address in FORBIDDEN_ADDRESSES if "%" not in address])
@pytest.mark.parametrize("allow", [(), ("203.0.114.0/24",)])
async def test_a_forbidden_address_in_a_url_is_never_dialled(
    address: str, allow: tuple[str, ...], watch: Watch
) -> None:
    host = f"[{address}]" if ":" in address else address
    async with door_to(*allow) as door:
        for scheme in ("https", "http"):
            reply = await door.post(f"{scheme}://{host}/", b"{}", {})
            assert reply.error_code in ("address_refused", "url_refused")
    assert watch.connected == []


async def test_a_name_that_leads_to_loopback_is_not_dialled(watch: Watch) -> None:
    async with raw_server(always(response(b""))) as canary, door_to("127.0.0.1/32:1") as door:
        for scheme in ("https", "http"):
            reply = await door.post(f"{scheme}://a.test:{canary.port}/", b"{}", {})
            assert reply.error_code == "address_refused"
        assert canary.connections == 0
    assert watch.connected == []


async def test_plain_http_goes_to_listed_addresses_only(watch: Watch) -> None:
    async with door_to("10.0.0.0/8") as door:
        assert (await door.post("http://8.8.8.8/", b"{}", {})).error_code == "address_refused"
    async with door_to() as door:
        assert (await door.post("http://8.8.8.8/", b"{}", {})).error_code == "url_refused"
    assert watch.connected == []


async def test_tls_is_verified_against_the_name_in_the_url(tls: Tls) -> None:
    async with (
        raw_server(always(response(b"ok")), tls=tls.server("api.good.test")) as server,
        door_to("127.0.0.1", ca_file=tls.ca_file) as door,
        door_to("127.0.0.1") as stranger,
    ):
        good = await door.post(f"https://api.good.test:{server.port}/", b"{}", {})
        assert (good.status, good.excerpt) == (200, "ok")
        assert f"Host: api.good.test:{server.port}".encode() in server.requests[0]
        for sender, host in ((door, "other.test"), (door, "127.0.0.1"), (stranger, "api.good.test")):
            reply = await sender.post(f"https://{host}:{server.port}/", b"{}", {})
            assert (reply.status, reply.error_code) == (None, "connect_failed")
        assert len(server.requests) == 1


async def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(always(response(b"proxied"))) as proxy, raw_server(always(response(b"direct"))) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with door_to("127.0.0.1") as door:
            reply = await door.post(f"http://127.0.0.1:{server.port}/", b"{}", {})
        assert (reply.excerpt, proxy.connections) == ("direct", 0)


@pytest.mark.parametrize(
    "url, refusal",
    [
        ("https://8.8.8.8/", None),
        ("http://127.0.0.1:9000/hook", "127.0.0.1/32:9000"),
        ("https://[::1]/", "[::1/128]:443"),
        ("http://localhost:9000/", "127.0.0.1/32:9000"),
        ("http://a.test/", "127.0.0.1/32:80"),
        ("https://billing/", "127.0.0.1/32:443"),
    ],
)
async def test_a_refusal_says_which_entry_to_add_and_the_entry_helps(url: str, refusal: str | None) -> None:
    async with door_to() as door:
        found = await door.check(url)
        assert (found.setting if found else None) == refusal
        assert found is None or found.code == "address_refused"
    if refusal is not None:
        async with door_to(refusal) as door:
            assert await door.check(url) is None


async def test_a_name_that_does_not_resolve_is_not_refused() -> None:
    clock = SystemClock()
    async with nameserver(lambda name, kind, before: "NXDOMAIN") as fake:
        door = DeliveryDoor(AddressPolicy(), clock, names=names_of(clock, fake))
        assert await door.check("https://later.test/") is None
        assert (await door.post("https://later.test/", b"{}", {})).error_code == "resolve_failed"
        await door.close()


async def test_subscribers_whose_names_stall_do_not_delay_a_healthy_one() -> None:
    def zone(name: str, kind: str, before: int) -> Records | str:
        return [("A", "127.0.0.1")] if name == "healthy.test" else "SILENCE"

    clock = SystemClock()
    async with raw_server(always(response(b"ok"))) as server, nameserver(zone) as fake:
        door = DeliveryDoor(AddressPolicy(["127.0.0.1"]), clock, names=names_of(clock, fake))
        stalled = [
            asyncio.ensure_future(door.post(f"https://stalled{at}.test/", b"{}", {}, timeout_seconds=1))
            for at in range(40)
        ]
        await asyncio.sleep(0.05)
        watch = Stopwatch()
        reply = await door.post(f"http://healthy.test:{server.port}/", b"{}", {})
        assert reply.status == 200
        assert watch.own_seconds < 0.5
        assert {late.error_code for late in await asyncio.gather(*stalled)} == {"timed_out"}
        await door.close()


async def test_every_forbidden_address_of_a_name_is_in_the_suggestion() -> None:
    clock = SystemClock()
    async with nameserver(
        lambda name, kind, before: [("A", "10.0.0.1"), ("A", "8.8.8.8"), ("AAAA", "fd00::1")]
    ) as fake:
        door = DeliveryDoor(AddressPolicy(), clock, names=names_of(clock, fake))
        assert await door.check("https://a.test:8443/") == Refusal(
            "address_refused", "the URL leads to an address that is not public", "10.0.0.1/32:8443,[fd00::1/128]:8443"
        )
        await door.close()


async def test_thousands_of_cancelled_deliveries_leave_the_pool_healthy() -> None:
    async def choosy(server: RawServer, reader: Reader, writer: Writer) -> None:
        if b"good" in await server.read_request(reader):
            writer.write(response(b"ok"))
        await reader.read()

    async with raw_server(choosy) as server, door_to("127.0.0.1", max_connections=10) as door:
        url = f"http://127.0.0.1:{server.port}/"
        for wave in range(40):
            tasks = [asyncio.ensure_future(door.post(url, b"bad", {})) for _ in range(50)]
            await asyncio.sleep(0.005 * (wave % 3))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        good = await asyncio.wait_for(door.post(url, b"good", {}), 2)
        assert good.status == 200
        await asyncio.sleep(0.1)
        ours = [c for c in psutil.Process(os.getpid()).net_connections("tcp") if c.raddr and c.raddr[1] == server.port]
        assert len(ours) <= 2


async def test_nothing_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    async with raw_server(always(response(b"ok"))) as server, door_to("127.0.0.1") as door:
        await door.post(f"http://127.0.0.1:{server.port}/tok_secret", b"body_secret", {"x-key": "key_secret"})
        await door.post("http://127.0.0.1:1/tok_secret", b"body_secret", {"x-key": "key_secret"})
    assert "secret" not in caplog.text
