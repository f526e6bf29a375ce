"""Starting and stopping: ports, drains, and what happens to the requests under way."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from starlette.types import Receive, Scope, Send

from relay.clock import SystemClock
from relay.web.server import BIND_AGAIN_SECONDS, Server, Site, connections_allowed, new_event_loop, serve
from tests.support.clock import FakeClock
from tests.support.edge import PATH, Client, Edge, post
from tests.support.stopwatch import Stopwatch


def answering(text: bytes) -> Site:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = text + str(scope["client"][0]).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    return Site(app=app, port=0)


@asynccontextmanager
async def running(*sites: Site) -> AsyncIterator[Server]:
    server = Server(sites, SystemClock())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def ask(port: int, headers: str = "") -> bytes:
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    await client.send(f"GET / HTTP/1.1\r\n{headers}\r\n".encode())
    body = (await client.reply()).body
    client.close()
    await client.writer.wait_closed()
    return body


async def _waits(clock: FakeClock) -> None:
    while not clock.sleepers:  # noqa: ASYNC110  # its look-up of the address has a thread of its own
        await asyncio.sleep(0)


async def test_a_port_that_is_taken_is_asked_for_again_a_while_as_who_was_killed_may_still_hold_it() -> None:
    clock = FakeClock()
    with socket.create_server(("127.0.0.1", 0)) as holder:
        site = replace(answering(b""), port=holder.getsockname()[1])
        starting = asyncio.create_task(Server([site], clock).start())
        for wait in BIND_AGAIN_SECONDS:
            await _waits(clock)
            clock.advance(wait)
        with pytest.raises(OSError, match="in use"):
            await starting
        server = Server([site], clock)
        starting = asyncio.create_task(server.start())
        await _waits(clock)
    clock.advance(BIND_AGAIN_SECONDS[0])
    await starting
    assert server.ports == (site.port,)
    await server.stop()


async def test_a_request_under_way_is_finished_at_stop_and_nothing_new_is_taken(edge: Edge) -> None:
    edge.receiver.hold = asyncio.Event()
    await edge.start()
    port = edge.server.ports[0]
    client = await edge.connect()
    await client.send(post())
    await edge.receiver.until_received()
    stopping = asyncio.create_task(edge.server.stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    edge.receiver.hold.set()
    reply = await client.reply()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    await stopping


async def test_idle_connections_do_not_delay_the_stop(edge: Edge) -> None:
    await edge.start()
    kept, silent = await edge.connect(), await edge.connect()
    await kept.send(post())
    await kept.reply()
    watch = Stopwatch()
    await edge.server.stop()
    assert watch.own_seconds < 1  # and not the two seconds that requests under way would have
    assert await kept.ended() == await silent.ended() == b""


async def test_a_body_still_coming_at_stop_is_taken_in_full(edge: Edge) -> None:
    await edge.start()
    client = await edge.connect()
    await client.send(f"POST {PATH} HTTP/1.1\r\ncontent-length: 4\r\n\r\nab".encode())
    await asyncio.sleep(0.05)
    stopping = asyncio.create_task(edge.server.stop())
    await asyncio.sleep(0.05)
    await client.send(b"cd")
    assert (await client.reply()).status == 200
    await stopping
    assert edge.receiver.received[0].body == b"abcd"


async def test_what_outlasts_the_grace_period_is_cut_off(edge: Edge) -> None:
    edge.receiver.hold = asyncio.Event()
    await edge.start(shutdown_seconds=0.2)
    client = await edge.connect()
    await client.send(post())
    await edge.receiver.until_received()
    watch = Stopwatch()
    await edge.server.stop()
    assert watch.seconds > 0.15 and watch.own_seconds < 1
    assert await client.ended() == b""


async def test_a_client_that_drips_does_not_outlast_the_grace_period(edge: Edge) -> None:
    await edge.start(shutdown_seconds=0.2)
    client = await edge.connect()
    await client.send(f"POST {PATH} HTTP/1.1\r\ncontent-length: 4\r\n\r\nab".encode())
    await asyncio.sleep(0.05)
    await edge.server.stop()
    assert b"200" not in await client.ended()


async def test_two_sites_serve_two_applications_until_told_to_stop() -> None:
    stop, ports = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve([answering(b"public"), answering(b"management")], SystemClock(), stop=stop, ready=ports.set_result)
    )
    public, management = await ports
    assert await ask(public) == b"public127.0.0.1"
    assert await ask(management) == b"management127.0.0.1"
    stop.set()
    await serving


async def test_a_socket_that_is_bound_already_is_used() -> None:
    bound = socket.create_server(("127.0.0.1", 0))
    site = Site(app=answering(b"here").app, bound=bound)
    async with running(site) as server:
        assert server.ports == (bound.getsockname()[1],)
        assert await ask(server.ports[0]) == b"here127.0.0.1"


async def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_open() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    first = answering(b"first")
    server = Server([first, Site(app=first.app, port=taken.getsockname()[1])], SystemClock())
    with pytest.raises(OSError, match="address already in use"):
        await server.start()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.listeners[0].port)
    taken.close()


async def test_forwarded_addresses_are_believed_from_configured_proxies_only() -> None:
    app = answering(b"").app
    for trusted, expected in (((), b"127.0.0.1"), (("127.0.0.1",), b"203.0.113.9"), (("10.0.0.1",), b"127.0.0.1")):
        async with running(Site(app=app, port=0, trusted_proxies=trusted)) as server:
            assert await ask(server.ports[0], "x-forwarded-for: 203.0.113.9\r\n") == expected


async def test_answers_say_the_date_and_not_what_serves_them(edge: Edge) -> None:
    await edge.start()
    reply = await edge.ask(post())
    assert reply.headers["date"].endswith(" GMT")
    assert "server" not in reply.headers


def test_the_fastest_loop_at_hand_is_used() -> None:
    loop = new_event_loop()
    assert type(loop).__module__.startswith("uvloop")
    loop.close()


def test_connections_are_bounded_by_the_limit_on_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (600, hard))
        assert connections_allowed(300) == 300
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 812
        if hard != resource.RLIM_INFINITY:
            assert connections_allowed(hard * 2) == max(hard - 512, hard // 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
