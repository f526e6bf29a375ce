"""Relays in processes of their own: stopped half-way and started again, and several of them on one PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

import relay.app.relay
from relay.demo.netnut import NetNut
from relay.model import Secret
from tests.crash.rig import relay_command
from tests.support.journey import World, process_environment, processes, running, settings_of, stand_ins
from tests.support.ports import free_port
from tests.support.stage_fixtures import SQLITE_FIRST

pytestmark = pytest.mark.acceptance

WORK = 12


# On PostgreSQL tests/crash/test_kill.py starts it anew, and tests/workers/test_leases.py gives leases back.
@SQLITE_FIRST
async def test_a_relay_that_is_stopped_half_way_and_started_again_loses_nothing(stage_url: str, tmp_path: Path) -> None:
    port = free_port()
    env = process_environment(stage_url, tmp_path, port, RELAY_DELIVERY_SCHEDULE_SECONDS="0,1,1,1,1,1,1,1")
    command = relay_command("serve")
    async with stand_ins() as (netnut, sink, session):
        world = World(session, f"http://127.0.0.1:{port}", netnut, sink)
        sink.knobs.status = 503
        async with processes(tmp_path, relay=(command, env)) as (program,):
            webhook = await world.webhook()
            await world.subscribe("billing")
            await world.finished_trace(webhook)
            await sink.wait_for(1)  # one result that its subscriber does not take yet
            netnut.knobs.answer_seconds = None
            traces = [await world.finished_trace(webhook) for _ in range(WORK)]
            await netnut.held.wait()  # and fetches whose answers never come
            assert await asyncio.to_thread(program.stop) == 0
            assert "Traceback" not in program.said()
        netnut.knobs.answer_seconds = 0
        sink.knobs.status = 200
        async with processes(tmp_path, relay=(command, env)) as (program,):
            for trace in traces:
                await world.ended((await world.job_of(trace))["id"])
            page = await world.until("/v1/deliveries", lambda page: _all_are(page["data"], "delivered", WORK + 1))
            assert {delivery["message_id"] for delivery in page["data"]} == {
                message.message_id for message in sink.messages if message.answered == 200
            }
            assert sink.counts["forged"] == 0
            assert await asyncio.to_thread(program.stop) == 0


async def test_two_that_serve_and_one_that_works_share_a_postgresql(stage_postgres_url: str, tmp_path: Path) -> None:
    ports = free_port(), free_port()
    front = [
        (relay_command("serve", "--no-worker"), process_environment(stage_postgres_url, tmp_path, port))
        for port in ports
    ]
    worker = (relay_command("worker"), process_environment(stage_postgres_url, tmp_path, free_port()))
    async with (
        stand_ins() as (netnut, sink, session),
        processes(tmp_path, one=front[0], other=front[1], worker=worker) as programs,
    ):
        one, other = (World(session, f"http://127.0.0.1:{port}", netnut, sink) for port in ports)
        webhook = await one.webhook()
        await other.subscribe("billing")
        elsewhere = webhook["callback_url"].replace(one.url, other.url)
        for callback_url in [webhook["callback_url"], elsewhere] * WORK:
            trace = netnut.open()
            assert await netnut.notify(callback_url, trace.id) == 200
        messages = await sink.wait_for(2 * WORK)
        assert len({message.message_id for message in messages}) == 2 * WORK
        assert sink.counts["forged"] == 0
        page = await other.until("/v1/deliveries", lambda page: _all_are(page["data"], "delivered", 2 * WORK))
        assert len(page["data"]) == 2 * WORK
        job = await one.job_of(trace.id)
        assert (await other.get(f"/v1/jobs/{job['id']}"))["status"] == "completed"
        for program in programs:
            assert await asyncio.to_thread(program.stop) == 0
            assert "Traceback" not in program.said()


def _all_are(deliveries: list[dict[str, object]], status: str, count: int) -> bool:
    return len(deliveries) == count and all(delivery["status"] == status for delivery in deliveries)


async def test_workers_that_have_not_heard_of_a_new_webhook_and_subscription_serve_them(
    stage_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay.app.relay, "CONFIGURATION_SECONDS", 3600)
    front, fetches, delivers = (settings_of(stage_postgres_url, tmp_path) for _ in range(3))
    async with (
        stand_ins() as (netnut, sink, session),
        running(front, works=False),
        running(fetches, serves=False) as fetching,
        running(delivers, serves=False) as delivering,
    ):
        assert fetching.delivering is not None
        assert delivering.fetching is not None
        fetching.delivering.scheduler.paused = delivering.fetching.scheduler.paused = True
        world = World(session, front.public_url, netnut, sink)
        webhook = await world.webhook()
        await world.subscribe("billing")
        await world.finished_trace(webhook)
        (message,) = await sink.wait_for(1)
        assert message.verified
        assert orjson.loads(message.body)["data"]["webhook_name"] == webhook["name"]


async def test_credentials_that_were_changed_on_another_node_are_not_taken_for_rejected(
    stage_postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay.app.relay, "CONFIGURATION_SECONDS", 3600)
    front, back = (settings_of(stage_postgres_url, tmp_path) for _ in range(2))
    async with stand_ins() as (netnut, sink, session), running(front, works=False), running(back, serves=False):
        world = World(session, front.public_url, netnut, sink)
        webhook = await world.webhook()
        await world.ended((await world.job_of(await world.finished_trace(webhook)))["id"])  # the worker knows it now
        async with NetNut(username="customer", password=Secret("changed")) as moved:
            origins = [netnut.url, moved.url]
            await world.patch(f"/v1/webhooks/{webhook['id']}", {"origins": origins})
            trace = netnut.open()
            assert await netnut.notify(webhook["callback_url"], trace.id) == 200
            await world.ended((await world.job_of(trace.id))["id"])  # and where else it may fetch
            credentials = {"username": "customer", "password": "changed"}
            await world.patch(f"/v1/webhooks/{webhook['id']}", {"credentials": credentials})
            trace = moved.open()
            assert await moved.notify(webhook["callback_url"], trace.id) == 200
            job = await world.ended((await world.job_of(trace.id))["id"])
            assert [attempt["http_status"] for attempt in await world.attempts(job["id"])] == [401, 200]
            assert (await world.get(f"/v1/webhooks/{webhook['id']}"))["status"] == "active"
