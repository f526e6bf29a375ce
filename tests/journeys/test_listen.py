"""`relay listen` loses nothing: over a relay that restarts, a server that is down, a machine that sleeps."""

from __future__ import annotations

import asyncio
import shlex
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

import relay.client.listen
from relay.client.forward import Answered, Forwarder
from relay.client.http import Api
from relay.client.listen import Listener, local_secret
from relay.clock import Instant, SystemClock, after
from relay.model import Secret
from tests.client.test_listen import Told
from tests.crash.rig import Program, relay_command
from tests.journeys.test_readme import texts
from tests.support.journey import ADMIN_KEY, World, process_environment, processes, running, settings_of, stand_ins
from tests.support.ports import free_port

pytestmark = pytest.mark.acceptance

STOP_SECONDS = 3.0


async def _until_said(program: Program, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in program.said():
            assert program.is_running, program.said()
            await asyncio.sleep(0.02)


async def test_listening_survives_a_restart_and_a_server_that_is_down(sqlite_stage_url: str, tmp_path: Path) -> None:
    """The commands are the guide's."""
    port = free_port()
    env = process_environment(sqlite_stage_url, tmp_path, port, RELAY_SHUTDOWN_SECONDS="10")
    serve = relay_command("serve")
    listen, tail = (shlex.split(line) for line in texts("listen")[0].splitlines())
    async with stand_ins() as (netnut, sink, session):
        world = World(session, f"http://127.0.0.1:{port}", netnut, sink)
        sink.trust("/hook", Secret(local_secret(Secret(ADMIN_KEY))))
        asking = {**env, "RELAY_URL": world.url, "RELAY_API_KEY": ADMIN_KEY}
        local = [word.replace("http://localhost:3000", sink.url) for word in listen]
        async with processes(tmp_path, relay=(serve, env)) as (first,):
            webhook = await world.webhook()
            async with processes(
                tmp_path,
                listen=(relay_command(*local[1:]), asking),
                tail=(relay_command(*tail[1:], "--json"), asking),
            ) as (listening, tailing):
                traces = [await world.finished_trace(webhook)]
                await sink.wait_for(1)
                sink.knobs.statuses = [503, 503]
                traces.append(await world.finished_trace(webhook))
                await sink.wait_for(4)
                began = time.monotonic()
                assert await asyncio.to_thread(first.stop) == 0
                assert time.monotonic() - began < STOP_SECONDS  # though a long poll and a stream were open
                await _until_said(listening, "connection lost")
                await _until_said(tailing, "connection lost")
                async with processes(tmp_path, relay=(serve, env)) as (second,):
                    traces += [await world.finished_trace(webhook) for _ in range(3)]
                    await _until_said(listening, "reconnected after")
                    await sink.wait_for(7)
                    for trace in traces:
                        await world.ended((await world.job_of(trace))["id"])
                    page = await world.until("/v1/deliveries", lambda page: _all_delivered(page["data"], 5))
                    for delivery in page["data"]:
                        await _until_said(tailing, f"{delivery['id']}.delivered")
                    taken = {message.message_id for message in sink.messages if message.answered == 200}
                    assert taken == {delivery["message_id"] for delivery in page["data"]}
                    assert sink.counts["forged"] == 0 and sink.counts["verified"] == 7
                    assert await asyncio.to_thread(listening.stop) == 0
                    assert await world.page("/v1/subscriptions") == []
                    lines = [orjson.loads(line) for line in tailing.said().splitlines() if line.startswith("{")]
                    told = [line["id"] for line in lines if line["type"] == "delivery.delivered"]
                    assert len(told) == len(set(told)) == 5
                    for program in (first, second, listening, tailing):
                        assert "Traceback" not in program.said()


def _all_delivered(deliveries: list[dict[str, Any]], count: int) -> bool:
    return len(deliveries) == count and all(delivery["status"] == "delivered" for delivery in deliveries)


class LeapingClock(SystemClock):
    """The machine's time, and the time it slept."""

    leapt = 0.0

    def now(self) -> Instant:
        return after(super().now(), self.leapt)


async def test_listening_survives_ten_minutes_of_sleep(sqlite_stage_url: str, tmp_path: Path, monkeypatch: Any) -> None:
    """Asleep while a server had a message, so that its lease is long lost, and while others came in."""
    monkeypatch.setattr(relay.client.listen, "WAIT_SECONDS", 0.0)
    clock, told = LeapingClock(), Told()
    settings = settings_of(sqlite_stage_url, tmp_path)
    async with stand_ins() as (netnut, sink, session), running(settings, clock):
        world = World(session, settings.public_url, netnut, sink)
        webhook = await world.webhook()
        made = await world.post("/v1/subscriptions", {"name": "laptop", "kind": "pull"})
        with Api(world.url, Secret(ADMIN_KEY)) as api, Forwarder(f"{sink.url}/hook", clock) as forward:

            def handle(headers: Any, body: bytes) -> Answered:
                answered = forward(headers, body)
                if sink.received == 1:
                    clock.leapt += 600.0
                return answered

            listener = Listener(api, made["id"], handle, told, clock, lambda _: None)
            await world.finished_trace(webhook)
            await world.until("/v1/results", lambda page: len(page["data"]) == 1)
            await asyncio.to_thread(listener.step)
            for _ in range(3):
                await world.finished_trace(webhook)
            await world.until("/v1/results", lambda page: len(page["data"]) == 4)
            clock.leapt += 600.0
            for _ in range(5):
                await asyncio.to_thread(listener.step)
        page = await world.get("/v1/deliveries")
        assert _all_delivered(page["data"], 4)
        assert sink.received == 4  # the one whose lease was lost was acknowledged all the same
        assert [said[0] for said in told.said if said[0] != "handled"] == ["woke", "missed"]
        assert told.said[-1] == ("missed", 3)
