"""Due rows become work, on the real store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection, text, update

from relay.clock import Instant, after
from relay.errors import StoreUnavailable
from relay.ids import new_id, replayed_id
from relay.model import DELIVERY, JOB, SUBSCRIPTION, Job, SubscriptionStatus
from relay.store import schema
from relay.store.database import open_database
from relay.workers.scheduler import LOCKED_SECONDS, TAKEN_SECONDS
from relay.workers.shares import Share
from tests.support.doors import Page, answer_with
from tests.support.stage import ORIGIN, Plan, Stage
from tests.support.stage_fixtures import SQLITE_FIRST, Opening
from tests.support.store import (
    a_delivery,
    a_job,
    bulk_deliveries,
    delivery_of,
    hold_until,
    job_of,
    put_deliveries,
    put_jobs,
    rows_of,
)


@pytest.fixture
async def postgres_stage(stage_postgres_url: str) -> AsyncIterator[Stage]:
    """For what only happens between nodes."""
    opened = await Stage.open(stage_postgres_url)
    yield opened
    await opened.close()


async def due_jobs(stage: Stage, count: int, **changes: Any) -> list[Job]:
    """So many of a webhook's jobs; the one that has been due longest has the latest deadline."""
    webhook = await stage.add_webhook(**changes)
    now = stage.clock.now()
    made = []
    for number in range(count):
        row_id = new_id(JOB, now)
        deadline = after(now, 7200 - number)
        url = f"{ORIGIN}/{row_id}"
        made.append(a_job(id=row_id, webhook_id=webhook.id, deadline=deadline, response_url=url))
        made[-1] = replace(made[-1], due_at=Instant(now - count + number))
    await put_jobs(stage.database, *made)
    return made


def asked(stage: Stage) -> list[str]:
    """The jobs that the provider was asked for, in order."""
    return [request.url.rpartition("/")[2] for request in stage.provider.requests]


@SQLITE_FIRST
async def test_the_earliest_deadline_goes_first_in_a_large_backlog(open_stage: Opening) -> None:
    stage = await open_stage(Plan(fetch_slots=1))
    jobs = await due_jobs(stage, 1500)
    for _ in range(150):
        stage.clock.advance(0.3)
        await stage.fetching.scheduler.run_once()
        await stage.database.quiet()
    expected = [job.id for job in reversed(jobs)]
    assert asked(stage) == expected[: len(asked(stage))] and len(asked(stage)) >= 140


@SQLITE_FIRST
async def test_what_comes_in_later_and_is_more_urgent_goes_first(open_stage: Opening) -> None:
    stage = await open_stage(Plan(fetch_slots=1))
    jobs = await due_jobs(stage, 1500)
    await stage.fetching.scheduler.run_once()
    await stage.database.quiet()
    urgent = replace(jobs[0], id=new_id(JOB, stage.clock.now()), deadline=after(stage.clock.now(), 60))
    await put_jobs(stage.database, replace(urgent, response_url=f"{ORIGIN}/urgent"))
    before = len(asked(stage))
    stage.clock.advance(1.1)
    await stage.fetching.scheduler.run_once()
    await stage.database.quiet()
    assert asked(stage)[before:] == ["urgent"]


@pytest.mark.parametrize("count", [300, 1500])
async def test_a_deadline_that_can_be_met_goes_before_those_that_have_passed(open_stage: Opening, count: int) -> None:
    stage = await open_stage(Plan(fetch_slots=1))
    jobs = await due_jobs(stage, count)
    stage.clock.advance(7200 - count / 2)  # half of the deadlines have passed
    await stage.fetching.scheduler.run_once()
    await stage.database.quiet()
    [first] = asked(stage)
    ahead = [job.id for job in reversed(jobs) if job.deadline > stage.clock.now()]
    assert first == ahead[0]


async def test_one_lane_with_a_hundred_thousand_due_rows_hides_nobody(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    busy = await stage.add_subscription(max_in_flight=4)
    quiet = [await stage.add_subscription() for _ in range(5)]
    old = Instant(stage.clock.now() - 10_000_000)
    await stage.database.write(partial(_backlog, subscription_id=busy.id, total=100_000, due_at=old))
    mine = [a_delivery(subscription_id=item.id, due_at=stage.clock.now()) for item in quiet]
    await put_deliveries(stage.database, *mine)
    started: list[str] = []
    stage.delivering.crew.start = lambda lane, held, work: started.append(lane)  # type: ignore[method-assign] # a spy
    await stage.delivering.scheduler.run_once()
    assert {item.id for item in quiet} <= set(started)
    assert started.count(busy.id) == 4, "no more than its cap"


async def test_a_backlog_goes_at_the_pace_of_the_slots_and_not_of_the_readings(sqlite_stage: Stage) -> None:
    """A lane was read 64 rows at a time, and no further before everything was read anew: 64 deliveries a second."""
    stage = sqlite_stage
    busy = await stage.add_subscription()
    paused = await stage.add_subscription(status=SubscriptionStatus.PAUSED)
    await stage.database.write(lambda c: bulk_deliveries(c, [busy.id], 900, stage.clock.now()))
    await put_deliveries(stage.database, a_delivery(subscription_id=paused.id, due_at=stage.clock.now()))
    stage.supervise()
    await stage.elapse(1)
    left = [row for row in await rows_of(stage.database, schema.deliveries) if row["status"] == "pending"]
    assert [row["subscription_id"] for row in left] == [paused.id]


async def test_what_waits_for_a_paused_subscription_makes_nobody_late(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    quiet = await stage.add_subscription()
    paused = await stage.add_subscription(status=SubscriptionStatus.PAUSED)
    await put_deliveries(stage.database, a_delivery(subscription_id=paused.id, due_at=stage.clock.now()))
    stage.supervise()
    await stage.elapse(10)
    for number in range(5):
        row = a_delivery(subscription_id=quiet.id, due_at=after(stage.clock.now(), 3.3 + number / 7))
        await put_deliveries(stage.database, row)
        await stage.elapse(5)
        settled_at = (await delivery_of(stage.database, row.id)).settled_at
        assert settled_at is not None and row.due_at is not None and settled_at <= after(row.due_at, 0.3)


async def test_a_lane_that_is_full_costs_no_look_at_each_slot_that_is_freed(sqlite_stage: Stage) -> None:
    stage, rows = sqlite_stage, 200
    narrow = await stage.add_subscription(max_in_flight=1)
    await stage.database.write(lambda c: bulk_deliveries(c, [narrow.id], rows, stage.clock.now()))
    stage.supervise()
    before = stage.database.asked
    await stage.elapse(1)
    assert all(row["status"] == "cancelled" for row in await rows_of(stage.database, schema.deliveries))
    assert stage.database.asked - before <= 3 * rows + 20, "a claim, a look at the result, a settlement"


async def test_a_replay_stands_behind_live_deliveries_in_a_large_backlog_too(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    lane, other = await stage.add_subscription(max_in_flight=2), await stage.add_subscription(max_in_flight=1)
    now = stage.clock.now()
    await stage.database.write(lambda c: bulk_deliveries(c, [other.id], 600, Instant(now - 60_000)))
    replayed = [
        a_delivery(
            id=replayed_id(DELIVERY, now), subscription_id=lane.id, due_at=Instant(now - 5000), replay_id="rpl_1"
        )
        for _ in range(20)
    ]
    live = a_delivery(subscription_id=lane.id, due_at=now)
    await put_deliveries(stage.database, *replayed, live)
    started: list[str] = []
    stage.delivering.crew.start = lambda lane, held, work: started.append(held[0])  # type: ignore[method-assign] # a spy
    await stage.delivering.scheduler.run_once()
    assert live.id in started


def _backlog(connection: Connection, subscription_id: str, total: int, due_at: Instant) -> None:
    """So many due deliveries of one subscription, made by SQLite itself."""
    delivery, result = "printf('dlv_%032x', n)", "printf('res_%032x', n)"
    connection.execute(
        text(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :total) "
            "INSERT INTO deliveries (id, result_id, subscription_id, message_id, status, created_at, due_at, claims) "
            f"SELECT {delivery}, {result}, :lane, {result}, 'pending', :due, :due, 0 FROM numbers"
        ),
        {"total": total, "lane": subscription_id, "due": due_at},
    )


async def test_many_subscriptions_with_backlogs_take_turns(sqlite_stage: Stage) -> None:
    stage = sqlite_stage
    lanes = [(await stage.add_subscription(max_in_flight=100)).id for _ in range(8)]
    await stage.database.write(lambda c: bulk_deliveries(c, lanes, 2000, stage.clock.now()))
    started: list[str] = []
    stage.delivering.crew.start = lambda lane, held, work: started.append(lane)  # type: ignore[method-assign] # a spy
    await stage.delivering.scheduler.run_once()
    assert len(started) == 64
    assert {started.count(lane) for lane in lanes} == {8}


@SQLITE_FIRST
async def test_a_cap_per_webhook_holds(stage: Stage) -> None:
    await due_jobs(stage, 20, fetch_max_in_flight=3)
    stage.provider.answering = stage.never
    await stage.work_until_idle()
    assert len(stage.provider.requests) == 3


async def test_caps_and_rates_are_shared_among_workers(sqlite_stage: Stage) -> None:
    sqlite_stage.share = Share(4)
    await due_jobs(sqlite_stage, 20, fetch_max_in_flight=8)
    sqlite_stage.provider.answering = sqlite_stage.never
    await sqlite_stage.work_until_idle()
    assert len(sqlite_stage.provider.requests) == 2


@SQLITE_FIRST
async def test_a_rate_per_webhook_holds(stage: Stage) -> None:
    await due_jobs(stage, 30, fetch_rate_per_second=2.0)
    stage.supervise()
    await stage.elapse(5)
    assert 10 <= len(stage.provider.requests) <= 12


async def test_two_processes_share_the_work_and_none_is_done_twice(stage: Stage) -> None:
    other = await stage.another()
    jobs = await due_jobs(stage, 100)
    await other.configuration.refresh()
    stage.provider.answering = other.provider.answering = answer_with(Page(body=b'{"response": {"x": 1}}'))
    stage.supervise()
    other.supervise()
    await stage.elapse(5)
    await other.supervisor.stop()
    assert sorted(asked(stage) + asked(other)) == sorted(job.id for job in jobs)
    assert {(await job_of(stage.database, job.id)).status for job in jobs} == {"completed"}


async def test_one_unreadable_row_stops_nobody_and_leaks_no_slot(stage: Stage) -> None:
    jobs = await due_jobs(stage, 5)
    await stage.database.write(
        lambda c: c.execute(update(schema.jobs).where(schema.jobs.c.id == jobs[2].id).values(metadata="{broken"))
    )
    stage.provider.answering = answer_with(Page(body=b'{"response": {"x": 1}}'))
    with structlog.testing.capture_logs() as logs:
        await stage.work_until_idle()
    assert sorted(asked(stage)) == sorted(job.id for job in jobs if job is not jobs[2])
    assert stage.fetching.crew.slots.taken == 0
    assert "work.unreadable" in [entry["event"] for entry in logs]


async def test_a_store_that_is_away_costs_no_slot(sqlite_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await due_jobs(sqlite_stage, 5)

    async def away(*_: object) -> Any:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as broken:
        broken.setattr(sqlite_stage.database, "submit", away)
        with pytest.raises(StoreUnavailable):
            await sqlite_stage.fetching.scheduler.run_once()
    assert sqlite_stage.fetching.crew.slots.taken == 0
    await sqlite_stage.work_until_idle()
    assert len(sqlite_stage.provider.requests) == 5


async def test_a_paused_scheduler_starts_nothing_and_takes_nothing_from_the_hot_path(sqlite_stage: Stage) -> None:
    webhook = await sqlite_stage.add_webhook()
    sqlite_stage.fetching.scheduler.paused = True
    answer = await sqlite_stage.accept(webhook, {"response_url": f"{ORIGIN}/1"})
    await sqlite_stage.work_until_idle()
    assert sqlite_stage.provider.requests == []
    assert (await sqlite_stage.job(answer.job_id)).claims == 0
    sqlite_stage.fetching.scheduler.paused = False
    await sqlite_stage.work_until_idle()
    assert len(sqlite_stage.provider.requests) == 1


async def test_a_job_of_a_webhook_made_by_another_node_is_fetched(stage: Stage) -> None:
    other = await stage.another()
    webhook = await other.add_webhook()
    row = a_job(webhook_id=webhook.id, response_url=f"{ORIGIN}/1")
    await put_jobs(stage.database, row)
    await stage.work_until_idle()
    await stage.configuration.refresh()
    await stage.work_through(120)
    assert (await job_of(stage.database, row.id)).status == "completed"


async def test_deliveries_to_an_unknown_subscription_are_set_aside(stage: Stage) -> None:
    row = a_delivery(subscription_id=new_id(SUBSCRIPTION, stage.clock.now()))
    await put_deliveries(stage.database, row)
    await stage.work_until_idle()
    [delivery] = await stage.deliveries()
    assert (delivery.status, delivery.last_error) == ("cancelled", "subscription_deleted")


async def test_what_somebody_else_holds_is_left_alone_for_a_while(stage: Stage) -> None:
    lease = after(stage.clock.now(), 2)
    webhook = await stage.add_webhook()
    row = a_job(webhook_id=webhook.id, response_url=f"{ORIGIN}/1", lease_until=lease, claims=1)
    await put_jobs(stage.database, row)
    await stage.work_until_idle()
    for wait in (LOCKED_SECONDS + 0.1, 3):  # the lease is over by then
        stage.clock.advance(wait)
        await stage.work_until_idle()
        assert stage.provider.requests == []
    stage.clock.advance(TAKEN_SECONDS - 2.9)
    await stage.work_until_idle()
    assert len(stage.provider.requests) == 1


async def test_what_was_only_locked_for_a_moment_is_fetched_soon_after(
    stage_postgres_url: str, postgres_stage: Stage
) -> None:
    """A notification that came while it was claimed: the only node left the job alone for seconds."""
    stage, other = postgres_stage, await open_database(stage_postgres_url)
    row = a_job(webhook_id=(await stage.add_webhook()).id, response_url=f"{ORIGIN}/1")
    await put_jobs(stage.database, row)
    locked, released, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def notify(connection: Connection) -> None:
        connection.execute(update(schema.jobs).where(schema.jobs.c.id == row.id).values(step=0))
        loop.call_soon(locked.set)
        hold_until(connection, released)

    notifying = asyncio.ensure_future(other.write(notify))
    await locked.wait()
    assert await stage.fetching.scheduler.run_once() == 0
    released.set()
    await notifying
    stage.clock.advance(0.5)
    await stage.work_until_idle()
    assert len(stage.provider.requests) == 1
    await other.close()


async def test_by_itself_it_finds_what_becomes_due_to_the_moment(stage: Stage) -> None:
    webhook = await stage.add_webhook()
    stage.supervise()
    await stage.elapse(10)
    due_at = after(stage.clock.now(), 3.7)
    await put_jobs(stage.database, a_job(webhook_id=webhook.id, response_url=f"{ORIGIN}/1", due_at=due_at))
    moments: list[Instant] = []

    async def answering(request: object) -> Page:
        moments.append(stage.clock.now())
        return Page()

    stage.provider.answering = answering
    await stage.elapse(10)
    assert len(moments) == 1 and due_at <= moments[0] <= after(due_at, 0.6)


async def test_nothing_to_do_costs_little(sqlite_stage: Stage) -> None:
    sqlite_stage.supervise()
    await sqlite_stage.elapse(5)
    before = sqlite_stage.database.asked
    await sqlite_stage.elapse(60)
    assert sqlite_stage.database.asked - before <= 60 * 2 * 3


async def test_what_becomes_due_in_a_moment_is_not_looked_for_at_every_slot_that_is_freed(sqlite_stage: Stage) -> None:
    """A handful of waiting jobs is asked together; when each of their slots comes back, nobody waits for one."""
    stage = sqlite_stage
    webhook = await stage.add_webhook(poll_seconds=(30.0,))
    now, count = stage.clock.now(), 40
    made = [
        a_job(id=new_id(JOB, now), webhook_id=webhook.id, response_url=f"{ORIGIN}/{number}", notified_at=None)
        for number in range(count)
    ]
    await put_jobs(stage.database, *(replace(job, due_at=after(now, 5 + n / 20)) for n, job in enumerate(made)))
    stage.provider.answering = answer_with(Page(202, b"{}"))
    stage.supervise()
    await stage.elapse(5)
    before = stage.database.asked
    await stage.elapse(3)
    assert len(stage.provider.requests) == count
    handfuls = 3 / 0.25 + 2  # one may have begun before, one ends after
    questions = stage.database.asked - before - count  # each settlement is one
    assert questions <= 3 * handfuls, "two reads and a claim for each handful, at most"
