"""What a relay that is about to stop leaves to the others."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from relay.clock import SystemClock
from relay.store import breakers, schema
from relay.store.breakers import Breaker
from tests.support.journey import World, running, settings_of, stand_ins
from tests.support.store import a_delivery, put_deliveries, rows_of


async def test_a_relay_that_is_stopping_takes_no_probe(stage_postgres_url: str, tmp_path: Path) -> None:
    """Nobody made it, and the other nodes left the subscription alone for a minute."""
    settings = settings_of(stage_postgres_url, tmp_path, shutdown_seconds=4)
    async with stand_ins() as (netnut, sink, session), running(settings) as relay:
        world = World(session, settings.public_url, netnut, sink)
        await world.subscribe("slow")
        sink.knobs.answer_seconds = None  # what keeps it from stopping at once
        await world.finished_trace(await world.webhook())
        down = await world.subscribe("down")
        await world.until("/v1/results", lambda page: len(page["data"]) == 1)
        stopping = asyncio.create_task(relay.stop())
        await relay.stopping.wait()
        now = SystemClock().now()
        opened = Breaker(subscription_id=down["id"], failing_since=now, opened_at=now, next_probe_at=now)
        await relay.database.write(partial(breakers.put, breaker=opened))
        await put_deliveries(relay.database, a_delivery(subscription_id=down["id"], due_at=now))
        await relay.breakers.refresh()
        await asyncio.sleep(1.0)
        assert not stopping.done()
        assert [row["probe_until"] for row in await rows_of(relay.database, schema.breakers)] == [None]
        await stopping
