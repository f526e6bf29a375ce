from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import update

from relay.clock import Instant
from relay.errors import NotFound
from relay.model import Job, JobStatus, NotificationStatus
from relay.store import payloads, results
from relay.store.database import Database
from relay.store.intake import ACCEPT, FOREIGN_JOB, JOB_CONFLICT, UNTRACKED, Accept, Accepted, Stale
from relay.store.schema import job_keys, jobs, notifications, payload_chunks, spills
from tests.support.store import (
    HOUR,
    LATER,
    NOW,
    OTHER_WEBHOOK_ID,
    a_job,
    a_notification,
    an_accept,
    bump,
    count,
    job_of,
    put_jobs,
    rows_of,
)


async def _accept(database: Database, item: Accept) -> Accepted:
    outcome = await database.submit(ACCEPT, item)
    assert isinstance(outcome, Accepted)
    return outcome


async def _together(database: Database, *items: Accept) -> list[Accepted]:
    """One batch, whatever else happens: they are handed over in one turn of the loop."""
    outcomes = await database.write(lambda connection: ACCEPT.apply(connection, list(items)))
    assert not any(isinstance(outcome, Stale) for outcome in outcomes)
    return [outcome for outcome in outcomes if isinstance(outcome, Accepted)]


async def _keys(database: Database) -> set[tuple[str, str, str]]:
    return {(row["kind"], row["value"], row["job_id"]) for row in await rows_of(database, job_keys)}


async def _settle(database: Database, job_id: str, **values: Any) -> None:
    await database.write(lambda c: c.execute(update(jobs).where(jobs.c.id == job_id).values(values)))


async def test_a_first_notification_makes_the_job_and_its_key(database: Database) -> None:
    item = an_accept("p-1", body=b'{"id":"p-1"}')
    outcome = await _accept(database, item)
    assert item.new_job is not None
    assert outcome == Accepted(
        status=NotificationStatus.ACCEPTED,
        notification_id=item.notification.id,
        job_id=item.new_job.id,
        job=item.new_job,
    )
    assert await job_of(database, item.new_job.id) == item.new_job
    assert await _keys(database) == {("id", "p-1", item.new_job.id)}
    (row,) = await rows_of(database, notifications)
    assert (row["id"], row["job_id"], bytes(row["body"])) == (item.notification.id, item.new_job.id, b'{"id":"p-1"}')


async def test_a_duplicate_is_answered_with_the_first_ones_ids_across_batches(database: Database) -> None:
    first = await _accept(database, an_accept("p-1", dedupe_key=b"d"))
    again = await _accept(database, an_accept("p-1", dedupe_key=b"d", at=LATER))
    assert again == Accepted(
        status=NotificationStatus.DUPLICATE, notification_id=first.notification_id, job_id=first.job_id
    )
    assert await count(database, notifications) == await count(database, jobs) == 1
    assert (await job_of(database, first.job_id or "")).notified_at == NOW


async def test_a_duplicate_is_recognised_within_its_batch(database: Database) -> None:
    first, again = await _together(database, an_accept("p-1", dedupe_key=b"d"), an_accept("p-1", dedupe_key=b"d"))
    assert again == Accepted(
        status=NotificationStatus.DUPLICATE, notification_id=first.notification_id, job_id=first.job_id
    )
    assert await count(database, notifications) == await count(database, jobs) == 1


async def test_two_notifications_that_name_one_job_in_one_batch_make_one_job(database: Database) -> None:
    first, second = await _together(database, an_accept("p-1"), an_accept("p-1", at=LATER))
    assert first.job_id == second.job_id is not None
    assert await count(database, jobs) == 1 and await count(database, notifications) == 2
    assert (await job_of(database, first.job_id or "")).notified_at == LATER


async def test_every_key_that_is_learnt_finds_the_job(database: Database) -> None:
    first = await _accept(database, an_accept("p-1"))
    url = "https://provider.example/r/1"
    changes = a_job(provider_job_id="p-1", response_url=url)
    both = an_accept("p-1", keys=(("id", "p-1"), ("url", url)), changes=changes)
    assert (await _accept(database, both)).job_id == first.job_id
    only_url = an_accept("unused", keys=(("url", url),))
    assert (await _accept(database, only_url)).job_id == first.job_id
    assert await _keys(database) == {("id", "p-1", first.job_id), ("url", url, first.job_id)}
    assert (await job_of(database, first.job_id or "")).response_url == url
    assert await count(database, jobs) == 1


async def test_keys_of_two_jobs_are_a_stored_conflict_and_never_merged(database: Database) -> None:
    url = "https://provider.example/r/2"
    one = await _accept(database, an_accept("p-1"))
    two = await _accept(database, an_accept("p-2", keys=(("id", "p-2"), ("url", url))))
    before = await _keys(database)
    meeting = an_accept("p-1", keys=(("id", "p-1"), ("url", url)), at=LATER)
    outcome = await _accept(database, meeting)
    assert (outcome.status, outcome.reason, outcome.job_id) == (NotificationStatus.UNPROCESSABLE, JOB_CONFLICT, None)
    assert await _keys(database) == before
    for job_id in (one.job_id, two.job_id):
        assert (await job_of(database, job_id or "")).notified_at == NOW
    row = [row for row in await rows_of(database, notifications) if row["id"] == meeting.notification.id][0]
    assert (row["status"], row["reason"], row["job_id"]) == ("unprocessable", JOB_CONFLICT, None)


async def test_keys_of_two_jobs_of_one_batch_are_a_conflict_too(database: Database) -> None:
    meeting = an_accept("p-1", keys=(("id", "p-1"), ("id", "p-2")))
    outcomes = await _together(database, an_accept("p-1"), an_accept("p-2"), meeting)
    assert [outcome.reason for outcome in outcomes] == [None, None, JOB_CONFLICT]


async def test_the_same_id_at_two_webhooks_is_two_jobs(database: Database) -> None:
    one, two = await _together(database, an_accept("p-1"), an_accept("p-1", webhook_id=OTHER_WEBHOOK_ID))
    assert one.job_id != two.job_id
    assert await count(database, jobs) == 2


@pytest.mark.parametrize("tracked", [True, False])
async def test_only_a_tracked_job_of_a_sibling_webhook_is_refused(database: Database, tracked: bool) -> None:
    theirs = an_accept("p-1", webhook_id=OTHER_WEBHOOK_ID)
    assert theirs.new_job is not None
    await _accept(database, replace(theirs, new_job=replace(theirs.new_job, tracked=tracked)))
    outcome = await _accept(database, an_accept("p-1", sibling_ids=(OTHER_WEBHOOK_ID,)))
    if tracked:
        assert (outcome.status, outcome.reason) == (NotificationStatus.UNPROCESSABLE, FOREIGN_JOB)
        assert (outcome.job_id, await count(database, jobs)) == (None, 1)
    else:
        assert (outcome.status, await count(database, jobs)) == (NotificationStatus.ACCEPTED, 2)


async def test_the_job_in_the_callback_token_is_woken_and_learns_the_keys(database: Database) -> None:
    job = a_job(status=JobStatus.WAITING, due_at=Instant(NOW + HOUR), tracked=True, notified_at=None)
    await put_jobs(database, job)
    item = an_accept("p-1", job_id=job.id, new_job=None, changes=a_job(provider_job_id="p-1"), at=LATER)
    assert (await _accept(database, item)).job_id == job.id
    woken = await job_of(database, job.id)
    assert (woken.status, woken.due_at, woken.provider_job_id) == (JobStatus.FETCHING, LATER, "p-1")
    assert await _keys(database) == {("id", "p-1", job.id)}


async def test_the_job_in_the_callback_token_needs_no_key(database: Database) -> None:
    job = a_job(status=JobStatus.WAITING)
    await put_jobs(database, job)
    item = an_accept("", keys=(), job_id=job.id, new_job=None)
    assert (await _accept(database, item)).job_id == job.id


async def test_where_only_tracked_jobs_are_taken_an_unknown_one_is_ignored_and_stored(database: Database) -> None:
    outcome = await _accept(database, an_accept("p-1", new_job=None))
    assert (outcome.status, outcome.reason, outcome.job_id) == (NotificationStatus.IGNORED, UNTRACKED, None)
    assert await count(database, notifications) == 1 and await count(database, jobs) == 0
    assert await _keys(database) == set()


async def _known(database: Database, **changes: Any) -> Job:
    first = await _accept(database, an_accept("p-1"))
    await _settle(database, first.job_id or "", **changes)
    return await job_of(database, first.job_id or "")


async def test_a_waiting_job_is_fetched_now(database: Database) -> None:
    waiting = await _known(database, status="waiting", due_at=NOW + HOUR, step=7, claims=3, lease_until=NOW + 5)
    changes = a_job(deadline=Instant(NOW + HOUR), give_up_at=Instant(NOW + 2 * HOUR))
    outcome = await _accept(database, an_accept("p-1", at=LATER, changes=changes))
    woken = await job_of(database, waiting.id)
    assert outcome.job == woken
    assert woken == replace(
        waiting, status=JobStatus.FETCHING, due_at=LATER, step=0, notified_at=LATER, deadline=Instant(NOW + HOUR)
    )
    assert woken.claims == 3  # whoever fetches it right now keeps its claim, and sees that it was notified


async def test_a_completed_job_is_not_woken(database: Database) -> None:
    done = await _known(database, status="completed", due_at=None)
    outcome = await _accept(database, an_accept("p-1", at=LATER))
    assert (outcome.status, outcome.job_id, outcome.job) == (NotificationStatus.ACCEPTED, done.id, None)
    assert await job_of(database, done.id) == done


@pytest.mark.parametrize("status", ["failed", "expired", "cancelled"])
async def test_a_job_that_failed_is_looked_at_again_and_keeps_its_state(database: Database, status: str) -> None:
    ended = await _known(database, status=status, due_at=None)
    await _accept(database, an_accept("p-1", at=LATER))
    again = await job_of(database, ended.id)
    assert (again.status, again.due_at) == (JobStatus(status), LATER)


async def test_a_body_that_is_the_payload_is_noted_where_nothing_can_be_fetched(database: Database) -> None:
    item = an_accept("p-1", inline=True)
    outcome = await _accept(database, item)
    assert (await job_of(database, outcome.job_id or "")).inline_notification_id == item.notification.id
    again = an_accept("p-1", inline=True, at=LATER)
    await _accept(database, again)
    assert (await job_of(database, outcome.job_id or "")).inline_notification_id == again.notification.id
    fetchable = an_accept("p-2", inline=True)
    assert fetchable.new_job is not None
    job = replace(fetchable.new_job, response_url="https://provider.example/r")
    outcome = await _accept(database, replace(fetchable, new_job=job))
    assert (await job_of(database, outcome.job_id or "")).inline_notification_id is None


async def test_an_item_of_an_older_configuration_has_no_effect_and_its_neighbours_have(database: Database) -> None:
    await database.write(bump)
    stale, fresh = an_accept("p-1", payload_id="pay_1"), an_accept("p-2", config_version=2)
    outcomes = await asyncio.gather(database.submit(ACCEPT, stale), database.submit(ACCEPT, fresh))
    assert isinstance(outcomes[0], Stale) and isinstance(outcomes[1], Accepted)
    assert [row["id"] for row in await rows_of(database, notifications)] == [fresh.notification.id]
    assert {value for _, value, _ in await _keys(database)} == {"p-2"}


# --- bodies that are stored in pieces ---


async def _spill(database: Database, payload_id: str) -> None:
    await database.write(partial(payloads.spill, payload_id=payload_id, seq=0, data=b"big", now=NOW))


async def test_a_large_body_gets_an_owner(database: Database) -> None:
    await _spill(database, "pay_1")
    await _accept(database, an_accept("p-1", body=None, payload_id="pay_1"))
    assert await count(database, spills) == 0
    assert await database.write(partial(payloads.drop_orphans, before=Instant(NOW + HOUR))) == 0
    assert await database.read(partial(results.payload, payload_id="pay_1")) == b"big"


async def test_the_large_body_of_a_duplicate_is_collected(database: Database) -> None:
    await _accept(database, an_accept("p-1", dedupe_key=b"d"))
    await _spill(database, "pay_2")
    again = await _accept(database, an_accept("p-1", dedupe_key=b"d", body=None, payload_id="pay_2"))
    assert again.status is NotificationStatus.DUPLICATE
    assert await database.write(partial(payloads.drop_orphans, before=Instant(NOW + HOUR))) == 1
    assert await count(database, payload_chunks) == 0


# --- odd rows ---


async def test_a_key_as_long_as_a_url_may_be_is_stored(database: Database) -> None:
    url = "https://provider.example/" + os.urandom(1500).hex()[: 2048 - 25]
    first = await _accept(database, an_accept("p-1", keys=(("url", url),)))
    again = await _accept(database, an_accept("p-1", keys=(("url", url),)))
    assert first.job_id == again.job_id


async def test_a_token_whose_job_was_deleted_makes_a_new_job_where_that_is_allowed(database: Database) -> None:
    gone = a_job()
    outcome = await _accept(database, an_accept("p-1", job_id=gone.id))
    assert outcome.status is NotificationStatus.ACCEPTED and outcome.job_id not in (None, gone.id)
    refused = await _accept(database, an_accept("p-2", job_id=gone.id, new_job=None))
    assert (refused.status, refused.reason) == (NotificationStatus.IGNORED, UNTRACKED)


async def test_more_keys_than_one_statement_takes_are_looked_up(database: Database) -> None:
    items = [an_accept(f"p-{number}", dedupe_key=f"{number}".encode()) for number in range(1200)]
    made = await _together(database, *items)
    again = await _together(database, *[replace(item, notification=a_notification()) for item in items])
    assert [outcome.job_id for outcome in again] == [outcome.job_id for outcome in made]
    assert {outcome.status for outcome in again} == {NotificationStatus.DUPLICATE}
    assert await count(database, jobs) == 1200


async def test_a_large_body_that_was_collected_meanwhile_is_not_acknowledged(database: Database) -> None:
    """A node whose clock is hours ahead takes it for an orphan: the provider would be told that it is stored."""
    await _spill(database, "pay_1")
    assert await database.write(partial(payloads.drop_orphans, before=Instant(NOW + HOUR))) == 1
    gone, fine = an_accept("p-1", body=None, payload_id="pay_1"), an_accept("p-2")
    outcomes = await asyncio.gather(*(database.submit(ACCEPT, item) for item in (gone, fine)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotFound, Accepted]
    assert [row["id"] for row in await rows_of(database, notifications)] == [fine.notification.id]
