"""Leases of work in flight, on the real store."""

from __future__ import annotations

from relay.clock import after
from relay.store.queue import void_leases
from relay.store.schema import jobs
from tests.support.doors import Page, answer_with
from tests.support.stage import URL, Stage
from tests.support.store import a_job, job_of, put_jobs

THIN = {"response_url": URL}


async def hanging(stage: Stage) -> str:
    """A job whose fetch has begun and does not end; its id."""
    stage.provider.answering = stage.never
    answer = await stage.accept(await stage.add_webhook(), THIN)
    await stage.work_until_idle()
    assert answer.job_id is not None and answer.job_id in stage.fetching.crew
    return answer.job_id


async def test_a_lease_is_extended_while_the_work_goes_on(stage: Stage) -> None:
    job_id = await hanging(stage)
    stage.clock.advance(20)
    assert await stage.fetching.leases.run_once() == 0
    assert (await stage.job(job_id)).lease_until == after(stage.clock.now(), 30)
    other = await stage.another()
    stage.clock.advance(20)
    await other.work_until_idle()
    assert other.provider.requests == [], "it is still ours"


async def test_a_lease_that_is_not_extended_goes_to_somebody_else_whose_work_counts(stage: Stage) -> None:
    job_id = await hanging(stage)
    other = await stage.another()
    stage.clock.advance(31)
    await other.work_until_idle()
    assert (await stage.job(job_id)).status == "completed"
    await stage.fetching.leases.run_once()
    await stage.database.quiet()
    assert job_id not in stage.fetching.crew, "what was lost is no longer worked on"
    assert stage.fetching.crew.slots.taken == 0


async def test_work_that_takes_too_long_is_left_to_somebody_else(stage: Stage) -> None:
    job_id = await hanging(stage)
    for _ in range(20):
        stage.clock.advance(10)
        await stage.fetching.leases.run_once()
    lease_until = (await stage.job(job_id)).lease_until
    assert lease_until is not None and lease_until < stage.clock.now()


async def test_what_is_cancelled_at_the_end_is_free_for_others_at_once(stage: Stage) -> None:
    job_id = await hanging(stage)
    await stage.fetching.drain(0)
    job = await stage.job(job_id)
    assert (job.lease_until, job.status) == (None, "fetching") and job.due_at is not None
    other = await stage.another()
    other.provider.answering = answer_with(Page())
    await other.work_until_idle()
    assert (await stage.job(job_id)).status == "completed"


async def test_after_draining_nothing_new_is_taken(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    await stage.fetching.drain(0)
    await stage.accept(webhook, THIN)
    await stage.work_until_idle()
    assert stage.provider.requests == []


async def test_nothing_under_way_asks_nothing(sqlite_stage: Stage) -> None:
    before = sqlite_stage.database.asked
    assert await sqlite_stage.fetching.leases.run_once() == 0
    await sqlite_stage.fetching.leases.give_back([])
    assert sqlite_stage.database.asked == before
    assert sqlite_stage.fetching.leases.every_seconds == 10


async def test_at_the_start_of_the_only_process_all_leases_are_void(sqlite_stage: Stage) -> None:
    held = a_job(lease_until=after(sqlite_stage.clock.now(), 30), claims=4)
    await put_jobs(sqlite_stage.database, held)
    await sqlite_stage.fetching.void_leases()
    freed = await job_of(sqlite_stage.database, held.id)
    assert (freed.lease_until, freed.claims) == (None, 5), "whoever held it can settle nothing"
    assert await sqlite_stage.database.write(lambda c: void_leases(c, jobs)) == 0
