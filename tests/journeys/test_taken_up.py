"""What a process had leased when it died, and the only process that can have the file now."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.support.journey import World, running, settings_of, stand_ins

FAR: int = 2**53  # no lease ends by itself in the time of a test


async def test_a_relay_that_starts_on_its_file_waits_for_no_lease_of_the_process_before_it(
    sqlite_stage_url: str, tmp_path: Path
) -> None:
    settings = settings_of(sqlite_stage_url, tmp_path)
    async with stand_ins() as (netnut, sink, session):
        world = World(session, settings.public_url, netnut, sink)
        async with running(settings):
            webhook = await world.webhook()
            await world.subscribe()
            netnut.knobs.pending_answers = 1
            trace = netnut.open()
            sent = {"traceID": trace.id, "response_url": netnut.response_url(trace.id)}
            job_id = (await world.notify(webhook["callback_url"], sent)).body["job_id"]
            await world.until(f"/v1/jobs/{job_id}", lambda job: job["attempts"] == 1)
        with closing(sqlite3.connect(sqlite_stage_url.removeprefix("sqlite:///"))) as file, file:
            assert file.execute("UPDATE jobs SET lease_until = ?, due_at = 1", (FAR,)).rowcount == 1
        async with running(settings):
            await world.ended(job_id)
            assert (await sink.wait_for(1))[0].verified
