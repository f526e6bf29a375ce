"""A node whose clock is hours ahead, among others: it does nothing by that clock."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from relay.clock import Instant, SystemClock, after
from relay.store import payloads, schema
from relay.store.database import open_database
from tests.support.journey import running, settings_of
from tests.support.store import a_job, count, job_of, put_jobs

HOURS_AHEAD = 2 * 3600.0
A_WHILE_SECONDS = 1.0  # all duties have run once


class AheadClock(SystemClock):
    """As one that was set to another time zone."""

    def now(self) -> Instant:
        return after(super().now(), HOURS_AHEAD)


async def test_it_takes_no_job_of_the_others_and_collects_no_payload_that_they_are_writing(
    stage_postgres_url: str, tmp_path: Path
) -> None:
    now = SystemClock().now()
    job = a_job(due_at=now, lease_until=after(now, 30), claims=1)
    database = await open_database(stage_postgres_url)
    await put_jobs(database, job)
    await database.write(partial(payloads.spill, payload_id="pay_1", seq=0, data=b"x", now=now))
    async with running(settings_of(stage_postgres_url, tmp_path), AheadClock(), serves=False):
        await asyncio.sleep(A_WHILE_SECONDS)
    assert (await job_of(database, job.id)).claims == 1, "somebody is working on it"
    assert await count(database, schema.spills) == 1, "somebody is writing it"
    await database.close()
