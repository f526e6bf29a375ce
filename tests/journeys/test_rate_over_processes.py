"""`rate_per_second` is a cap over all processes: two workers on one PostgreSQL, and the wire is watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.rig import relay_command
from tests.support.journey import World, process_environment, processes, stand_ins
from tests.support.ports import free_port

RATE = 8
RESULTS = 64


@pytest.mark.slow
async def test_two_workers_together_never_exceed_the_rate_in_any_second(
    stage_postgres_url: str, tmp_path: Path
) -> None:
    port = free_port()
    front = (relay_command("serve", "--no-worker"), process_environment(stage_postgres_url, tmp_path, port))
    workers = [
        (relay_command("worker"), process_environment(stage_postgres_url, tmp_path, free_port())) for _ in range(2)
    ]
    async with (
        stand_ins() as (netnut, sink, session),
        processes(tmp_path, front=front, one=workers[0], other=workers[1]),
    ):
        world = World(session, f"http://127.0.0.1:{port}", netnut, sink)
        webhook = await world.webhook()
        await world.subscribe("billing", rate_per_second=RATE, max_in_flight=100)
        for _ in range(RESULTS):
            await world.finished_trace(webhook)
        messages = await sink.wait_for(RESULTS, seconds=90)
    moments = [message.at for message in messages]
    assert len({message.message_id for message in messages}) == RESULTS
    assert max(sum(at <= other < at + 1000 for other in moments) for at in moments) <= RATE
