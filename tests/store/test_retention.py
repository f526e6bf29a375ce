"""Deleting what is old or too much while others do the same, and erasing for good."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Connection, insert, select

from relay.clock import Instant, after
from relay.ids import new_id
from relay.model import RESULT, DeliveryStatus, JobStatus, NotificationStatus, Replay, ReplayStatus, Result
from relay.store import deliveries, replays, results, retention, schema, usage
from relay.store.bulk import insert_many
from relay.store.database import Database, open_database
from relay.store.intake import ACCEPT, Accept, Accepted
from relay.store.settlement import SETTLE_FETCH, Ended, FetchSettlement, Settled
from tests.support.postgres import in_thread
from tests.support.store import (
    NOW,
    WEBHOOK_ID,
    a_delivery,
    a_job,
    a_notification,
    a_result,
    an_accept,
    an_attempt,
    hold_until,
    job_of,
    put_deliveries,
    put_jobs,
    rows_of,
)

LATER = after(NOW, 3600)


async def _counted(database: Database, number: int) -> list[Result]:
    """So many results of 100 bytes of one webhook, all of them counted."""
    made = [a_result(a_job(webhook_id="wh_1"), size_bytes=100, id=new_id(RESULT, NOW)) for _ in range(number)]
    rows = [results.to_row(item) for item in made]
    await database.write(lambda c: insert_many(c, schema.results, results.COLUMNS, rows))
    assert await database.write(partial(usage.count_some, webhook_id="wh_1", now=LATER)) == number
    return sorted(made, key=lambda item: item.id)


async def _during(url: str, first: Callable[[Connection], object], second: Callable[[Connection], object]) -> None:
    """`second` begins before `first` is committed, each on a node of its own."""
    one, two = await open_database(url), await open_database(url)
    begun, released, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def work_and_wait(connection: Connection) -> None:
        first(connection)
        loop.call_soon(begun.set)
        hold_until(connection, released)

    working = asyncio.ensure_future(one.write(work_and_wait))
    await begun.wait()
    following = asyncio.ensure_future(two.write(second))
    await asyncio.wait([following], timeout=0.2)
    released.set()
    await asyncio.gather(working, following)
    await one.close()
    await two.close()


@pytest.mark.parametrize("name", ["excess", "old", "erased"])
async def test_two_nodes_that_delete_the_same_subtract_it_once(migrated_postgres_url: str, name: str) -> None:
    """Each subtracted what both had read: the count fell behind, and a webhook could keep more than it may."""
    one = await open_database(migrated_postgres_url)
    made = await _counted(one, 6)
    ids = [item.id for item in made]
    works: dict[str, Callable[[Connection], object]] = {
        "excess": partial(retention.drop_excess, webhook_id="wh_1", ids=ids, most_bytes=400),
        "old": partial(retention.drop_results, webhook_id="wh_1", ids=ids),
        "erased": partial(results.erase, id=made[0].id, now=LATER),
    }
    await _during(migrated_postgres_url, works[name], works[name])
    [counted] = await rows_of(one, schema.usage)
    assert counted["bytes"] == sum(row["size_bytes"] or 0 for row in await rows_of(one, schema.results))
    assert counted["bytes"] == {"excess": 400, "old": 0, "erased": 500}[name]
    await one.close()


@pytest.mark.parametrize("much", [False, True], ids=["old", "excess"])
async def test_a_result_that_somebody_has_retried_this_moment_is_kept(migrated_postgres_url: str, much: bool) -> None:
    """It was looked at a moment too early, and deleted with the delivery that had just been asked for."""
    database = await open_database(migrated_postgres_url)
    [result] = await _counted(database, 1)
    delivery = a_delivery(result_id=result.id, status=DeliveryStatus.EXHAUSTED, due_at=None)
    await put_deliveries(database, delivery)
    drop = partial(retention.drop_excess, most_bytes=0) if much else retention.drop_results
    await _during(
        migrated_postgres_url,
        partial(deliveries.retry, id=delivery.id, now=LATER),
        partial(drop, webhook_id="wh_1", ids=[result.id]),
    )
    assert [row["id"] for row in await rows_of(database, schema.results)] == [result.id]
    assert [row["status"] for row in await rows_of(database, schema.deliveries)] == ["pending"]
    await database.close()


async def test_a_notification_that_is_read_anew_this_moment_is_kept(migrated_postgres_url: str) -> None:
    """The job that came of it would have been left without its payload."""
    database = await open_database(migrated_postgres_url)
    given = a_notification(status=NotificationStatus.UNPROCESSABLE)
    await database.submit(ACCEPT, Accept(config_version=1, notification=given, body=b"{}"))
    again = an_accept("p-1", notification=a_notification(id=given.id), stored_before=True, inline=True)
    await _during(
        migrated_postgres_url,
        lambda connection: ACCEPT.apply(connection, [again]),
        partial(retention.drop_notifications, webhook_id=WEBHOOK_ID, ids=[given.id]),
    )
    [row] = await rows_of(database, schema.notifications)
    [job] = await rows_of(database, schema.jobs)
    assert (row["id"], row["job_id"], job["inline_notification_id"]) == (given.id, job["id"], given.id)
    await database.close()


async def test_what_is_erased_stands_in_no_error_and_no_excerpt(database: Database) -> None:
    """The provider's words about the end of a job are part of its answer; a subscriber may answer with what it got."""
    job = a_job(last_error="card 4111 1111", provider_status="failed")
    result = a_result(job, error="card 4111 1111")
    delivery = a_delivery(result_id=result.id, status=DeliveryStatus.DELIVERED, due_at=None)
    await put_jobs(database, job)
    await put_deliveries(database, delivery)
    attempts = [an_attempt(owner, response_excerpt="card 4111 1111") for owner in (job, delivery)]

    def write(connection: Connection) -> None:
        insert_many(connection, schema.results, results.COLUMNS, [results.to_row(result)])
        for attempt in attempts:
            row = {name: getattr(attempt, name) for name in ("id", "owner_id", "number", "trigger", "started_at")}
            connection.execute(
                insert(schema.attempts).values(**row, duration_ms=1, response_excerpt=attempt.response_excerpt)
            )

    await database.write(write)
    assert await database.write(partial(results.erase, id=result.id, now=LATER))
    for table in (schema.jobs, schema.results, schema.deliveries, schema.attempts):
        assert "4111" not in str(await rows_of(database, table)), table.name


async def test_a_replay_that_is_not_over_is_kept_however_old(database: Database) -> None:
    """One that was paused before anything of it was planned would be gone without a word."""
    statuses = (ReplayStatus.PAUSED, ReplayStatus.RUNNING, ReplayStatus.DONE)
    for number, status in enumerate(statuses):
        replay = Replay(
            id=f"rpl_{number}", status=status, filter={}, subscription_ids=None, mode="all", new_message_id=False,
            rate_per_second=None, created_at=NOW, cursor=None, upper_id="", total=0, planned=False,
        )  # fmt: skip
        await database.write(partial(replays.insert, replay=replay))
    assert await database.write(partial(retention.drop_replays, before=Instant(NOW + 1))) == 1
    left = await database.read(lambda c: list(c.execute(select(schema.replays.c.id)).scalars()))
    assert sorted(left) == ["rpl_0", "rpl_1"]


async def test_what_makes_room_leaves_the_notifications_of_a_job_that_is_to_be_fetched_once_more(
    database: Database,
) -> None:
    """Its first notification said that it failed, the second one brings the payload and nobody has read it so far."""
    first, second = an_accept("p-1", inline=True), an_accept("p-1", inline=True, at=after(NOW, 1))
    made = await database.submit(ACCEPT, first)
    assert isinstance(made, Accepted) and made.job_id is not None
    job = await job_of(database, made.job_id)
    failed = a_result(job, status=JobStatus.FAILED, size_bytes=100)
    ended = FetchSettlement(
        job_id=job.id, claims=job.claims, notified_at=job.notified_at, now=NOW, attempt=None, config_version=1,
        outcome=Ended(result=failed, deliveries=()),
    )  # fmt: skip
    assert await database.submit(SETTLE_FETCH, ended) is Settled.DONE
    await database.submit(ACCEPT, second)
    await database.write(partial(usage.count_some, webhook_id=WEBHOOK_ID, now=LATER))
    drop = partial(retention.drop_excess, webhook_id=WEBHOOK_ID, ids=[failed.id], most_bytes=0)
    assert await database.write(drop) == 1
    waiting = await job_of(database, job.id)
    assert waiting.due_at is not None
    kept = {row["id"] for row in await rows_of(database, schema.notifications)}
    assert waiting.inline_notification_id in kept


async def test_a_payload_that_is_erased_while_it_is_looked_at_is_no_empty_one(migrated_postgres_url: str) -> None:
    """Between two statements: an envelope went out with nothing in it."""
    one = await open_database(migrated_postgres_url)
    result = a_result(a_job(), payload_id="pay_1", size_bytes=2, sha256="0" * 64)
    chunk = ("pay_1", 0, b"{}")

    def write(connection: Connection) -> None:
        insert_many(connection, schema.results, results.COLUMNS, [results.to_row(result)])
        insert_many(connection, schema.payload_chunks, ("payload_id", "seq", "data"), [chunk])

    async def erase() -> None:
        two = await open_database(migrated_postgres_url)
        await two.write(partial(results.erase, id=result.id, now=LATER))
        await two.close()

    def erased_now(_: Result) -> bool:
        in_thread(lambda: asyncio.run(erase()))
        return True

    await one.write(write)
    look = partial(results.get_with_payload, id=result.id)
    assert await one.read(partial(look, wants=lambda _: True)) == (result, b"{}")
    assert await one.read(partial(look, wants=erased_now)) is None
    found = await one.read(partial(look, wants=lambda _: True))
    assert found is not None and found[1] is None, "it is there, without a payload"
    await one.close()
