"""Who has to go when there are too many connections, over real sockets."""

from __future__ import annotations

import asyncio
import dataclasses

from relay.web.connections import ConnectionLimits
from tests.support.edge import HURRIED, PATH, PATIENT, Edge, drip, post
from tests.support.stopwatch import Stopwatch

HEAD = f"POST {PATH} HTTP/1.1\r\nhost: relay\r\ncontent-length: 1000\r\n".encode()


def test_nobody_holds_a_connection_for_fifteen_seconds_with_a_request_that_does_not_come() -> None:
    limits = ConnectionLimits()
    slowest = max(limits.idle_seconds, limits.request_seconds + limits.linger_seconds)
    assert slowest + limits.sweep_seconds <= 15
    assert (limits.max_head_bytes, limits.max_connections) == (64 * 1024, 4096)


async def test_silent_and_dripping_connections_cannot_starve_a_caller(edge: Edge) -> None:
    await edge.start(dataclasses.replace(HURRIED, max_connections=100, max_unproven_per_peer=60))
    silent = [await edge.connect() for _ in range(300)]
    dripping = [await edge.connect() for _ in range(25)]
    tasks = [asyncio.create_task(drip(client, HEAD * 10)) for client in dripping]
    bodies = [await edge.connect() for _ in range(25)]
    for client in bodies:
        await client.send(HEAD + b"\r\n")
        tasks.append(asyncio.create_task(drip(client, b"x" * 900)))
    for _ in range(20):
        watch = Stopwatch()
        assert (await edge.ask(post())).status == 200
        assert watch.own_seconds < 0.5
    assert edge.open <= 100
    for client in [*silent, *dripping, *bodies]:
        await client.ended()
    for task in tasks:
        task.cancel()


async def test_when_full_the_oldest_waiting_connection_goes(edge: Edge) -> None:
    await edge.start(dataclasses.replace(PATIENT, max_connections=3))
    oldest, middle, youngest = [await edge.connect() for _ in range(3)]
    for client in (middle, youngest):
        await client.send(post())
        await client.reply()
    newcomer = await edge.connect()
    assert await oldest.ended() == b""
    for client in (middle, youngest, newcomer):
        await client.send(post())
        assert (await client.reply()).status == 200
    assert edge.counts["evicted"] == 1


async def test_when_nobody_waits_the_oldest_unfinished_body_goes(edge: Edge) -> None:
    await edge.start(dataclasses.replace(PATIENT, max_connections=2))
    oldest, younger = [await edge.connect() for _ in range(2)]
    for client in (oldest, younger):
        await client.send(HEAD + b"\r\nxx")
        await asyncio.sleep(0.02)
    assert (await edge.ask(post())).status == 200
    assert await oldest.ended() == b""
    await younger.send(b"x" * 998)
    assert (await younger.reply()).status == 200
    assert [len(inbound.body) for inbound in edge.receiver.received] == [2, 1000]


async def test_when_every_place_is_at_work_a_newcomer_gets_503(edge: Edge) -> None:
    edge.receiver.hold = asyncio.Event()
    await edge.start(dataclasses.replace(PATIENT, max_connections=2))
    working = [await edge.connect() for _ in range(2)]
    for client in working:
        await client.send(post())
    await edge.receiver.until_received(2)
    newcomer = await edge.connect()
    said = await newcomer.ended()
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in said
    edge.receiver.hold.set()
    for client in working:
        assert (await client.reply()).status == 200


async def test_one_peer_holds_only_so_many_connections_without_a_request(edge: Edge) -> None:
    await edge.start(dataclasses.replace(PATIENT, max_unproven_per_peer=5, grace_seconds=0.1))
    proven = await edge.connect()
    await proven.send(post())
    await proven.reply()
    silent = [await edge.connect() for _ in range(12)]
    for client in silent[:7]:
        assert await client.ended() == b""
    assert edge.open == 6
    await proven.send(post())
    assert (await proven.reply()).status == 200


async def test_a_burst_from_one_peer_within_the_grace_is_served(edge: Edge) -> None:
    await edge.start(dataclasses.replace(PATIENT, max_unproven_per_peer=5))
    clients = [await edge.connect() for _ in range(40)]
    for client in clients:
        await client.send(post())
    for client in clients:
        assert (await client.reply()).status == 200
