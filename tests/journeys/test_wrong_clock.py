"""A node whose clock is hours off, among others: it does nothing by that clock."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from relay.clock import Instant, SystemClock, after, parse_rfc3339
from relay.store import breakers, payloads, results, schema
from relay.store.breakers import Breaker
from relay.store.bulk import insert_many
from relay.store.database import open_database
from tests.support.journey import World, running, settings_of, stand_ins
from tests.support.store import a_delivery, a_job, a_result, count, job_of, put_deliveries, put_jobs, rows_of

HOURS = 2 * 3600.0
SOON_SECONDS = 10.0
A_WHILE_SECONDS = 1.0  # all duties have run once


class OtherZone(SystemClock):
    """As one that was set to another time zone."""

    def __init__(self, ahead_seconds: float) -> None:
        self._ahead_seconds = ahead_seconds

    def now(self) -> Instant:
        return after(super().now(), self._ahead_seconds)


async def test_it_takes_no_job_of_the_others_and_collects_no_payload_that_they_are_writing(
    stage_postgres_url: str, tmp_path: Path
) -> None:
    now = SystemClock().now()
    job = a_job(due_at=now, lease_until=after(now, 30), claims=1)
    database = await open_database(stage_postgres_url)
    await put_jobs(database, job)
    await database.write(partial(payloads.spill, payload_id="pay_1", seq=0, data=b"x", now=now))
    async with running(settings_of(stage_postgres_url, tmp_path), OtherZone(HOURS), serves=False):
        await asyncio.sleep(A_WHILE_SECONDS)
    assert (await job_of(database, job.id)).claims == 1, "somebody is working on it"
    assert await count(database, schema.spills) == 1, "somebody is writing it"
    await database.close()


@pytest.mark.parametrize("ahead_seconds", [HOURS, -HOURS])
async def test_what_it_takes_in_is_fetched_by_the_others_as_soon_as_ever(
    stage_postgres_url: str, tmp_path: Path, ahead_seconds: float
) -> None:
    """They waited for hours until its job was due, and the provider keeps a result for ten minutes."""
    serving, working = (settings_of(stage_postgres_url, tmp_path / name) for name in ("serving", "working"))
    async with (
        stand_ins() as (netnut, sink, session),
        running(serving, OtherZone(ahead_seconds), works=False),
        running(working, serves=False),
    ):
        world = World(session, serving.public_url, netnut, sink)
        webhook = await world.webhook()
        job = await world.job_of(await world.finished_trace(webhook))
        done = await world.until(
            f"/v1/jobs/{job['id']}", lambda job: job["status"] == "completed", seconds=SOON_SECONDS
        )
        assert done["created_at"] <= done["completed_at"]


async def test_what_people_ask_it_for_is_done_by_the_others_as_soon_as_ever(
    stage_postgres_url: str, tmp_path: Path
) -> None:
    """A job that was tracked there, or a delivery that was retried, waited for hours."""
    serving, working = (settings_of(stage_postgres_url, tmp_path / name) for name in ("serving", "working"))
    async with stand_ins() as (netnut, sink, session), running(serving, OtherZone(HOURS), works=False):
        world = World(session, serving.public_url, netnut, sink)
        webhook = await world.webhook()
        await world.subscribe()
        trace = netnut.open()
        url = f"{netnut.url}/results/{trace.id}"
        wanted = {"webhook_id": webhook["id"], "provider_job_id": trace.id, "response_url": url}
        job = await world.post("/v1/jobs", wanted)
        assert abs(parse_rfc3339(job["created_at"]) - SystemClock().now()) < HOURS * 100
        async with running(working, serves=False):
            path = f"/v1/deliveries?job_id={job['id']}"
            page = await world.until(path, lambda page: _are(page, "delivered"), seconds=SOON_SECONDS)
            [delivery] = page["data"]
            await world.post(f"/v1/deliveries/{delivery['id']}/retry")
            await world.until(path, lambda page: _are(page, "delivered"), seconds=SOON_SECONDS)
    assert len(sink.messages) == 2


def _are(page: dict[str, Any], status: str) -> bool:
    return [delivery["status"] for delivery in page["data"]] == [status]


async def test_it_takes_no_probe_that_it_will_not_make(stage_postgres_url: str, tmp_path: Path) -> None:
    """By its clock it was always the first, and kept it from the others: a breaker that nobody could close."""
    serving, working = (settings_of(stage_postgres_url, tmp_path / name) for name in ("serving", "working"))
    async with stand_ins() as (netnut, sink, session), running(serving, works=False) as relay:
        subscription = await World(session, serving.public_url, netnut, sink).subscribe()
        now = SystemClock().now()
        opened = Breaker(subscription_id=subscription["id"], failing_since=now, opened_at=now, next_probe_at=now)
        await relay.database.write(partial(breakers.put, breaker=opened))
        await put_deliveries(relay.database, a_delivery(subscription_id=subscription["id"], due_at=now))
        async with running(working, OtherZone(HOURS), serves=False):
            await asyncio.sleep(A_WHILE_SECONDS)
        assert [row["probe_until"] for row in await rows_of(relay.database, schema.breakers)] == [None]


async def test_it_plans_no_replay_for_hours_later(stage_postgres_url: str, tmp_path: Path) -> None:
    serving, working = (settings_of(stage_postgres_url, tmp_path / name) for name in ("serving", "working"))
    async with stand_ins() as (netnut, sink, session), running(serving, works=False) as relay:
        world = World(session, serving.public_url, netnut, sink)
        await world.subscribe()
        stored = [results.to_row(a_result(a_job()))]
        await relay.database.write(lambda c: insert_many(c, schema.results, results.COLUMNS, stored))
        await world.post("/v1/replays", {"filter": {"types": ["result.completed"]}, "mode": "all"})
        async with running(working, OtherZone(HOURS), serves=False):
            await asyncio.sleep(A_WHILE_SECONDS)
        assert await count(relay.database, schema.deliveries) == 0
        async with running(working, serves=False):
            await sink.wait_for(1)
