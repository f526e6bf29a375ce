"""Relays in processes of their own: stopped half-way and started again, and several of them on one PostgreSQL."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.crash.rig import free_port, relay_command
from tests.support.journey import World, process_environment, processes, stand_ins

WORK = 12


async def test_a_relay_that_is_stopped_half_way_and_started_again_loses_nothing(stage_url: str, tmp_path: Path) -> None:
    port = free_port()
    env = process_environment(stage_url, tmp_path, port, RELAY_DELIVERY_SCHEDULE_SECONDS="0,1,1,1,1,1,1,1")
    command = relay_command("serve")
    async with stand_ins() as (netnut, sink, session):
        world = World(session, f"http://127.0.0.1:{port}", netnut, sink)
        sink.knobs.status = 503
        async with processes(tmp_path, relay=(command, env)) as (relay,):
            webhook = await world.webhook()
            await world.subscribe("billing")
            await world.finished_trace(webhook)
            await sink.wait_for(1)  # one result that its subscriber does not take yet
            netnut.knobs.answer_seconds = None
            traces = [await world.finished_trace(webhook) for _ in range(WORK)]
            await netnut.held.wait()  # and fetches whose answers never come
            assert await asyncio.to_thread(relay.stop) == 0
            assert "Traceback" not in relay.said()
        netnut.knobs.answer_seconds = 0
        sink.knobs.status = 200
        async with processes(tmp_path, relay=(command, env)) as (relay,):
            for trace in traces:
                await world.ended((await world.job_of(trace))["id"])
            page = await world.until("/v1/deliveries", lambda page: _all_are(page["data"], "delivered", WORK + 1))
            assert {delivery["message_id"] for delivery in page["data"]} == {
                message.message_id for message in sink.messages if message.answered == 200
            }
            assert sink.counts["forged"] == 0
            assert await asyncio.to_thread(relay.stop) == 0


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
