"""`rate_per_second` is a cap over all processes: two workers on one PostgreSQL, and the wire is watched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from relay.clock import parse_rfc3339
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
        done = await world.until("/v1/deliveries?limit=200&status=delivered", lambda page: len(page["data"]) == RESULTS)
        shown = [await world.get(f"/v1/deliveries/{item['id']}") for item in done["data"]]
    started = [parse_rfc3339(attempt["started_at"]) for item in shown for attempt in item["attempts"]]
    assert len({message.message_id for message in messages}) == len(started) == RESULTS
    assert _fullest(started) <= RATE
    assert _fullest([message.at for message in messages]) <= RATE + 1  # the sink shares its cores with all the others


def _fullest(moments: Sequence[int]) -> int:
    return max(sum(at <= other < at + 1000 for other in moments) for at in moments)
