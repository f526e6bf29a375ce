"""Copies of a notification: whatever came between, the second is recognised, and what differs is not taken for one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from relay.ids import ID_LENGTH
from relay.model import NotificationStatus
from relay.store.database import Database
from relay.store.intake import ACCEPT, JOB_CONFLICT, UNTRACKED, Accept, Accepted
from relay.store.schema import job_keys, jobs, notifications
from tests.support.store import LATER, a_job, a_notification, an_accept, count, put_jobs, rows_of

DIGEST = bytes(range(32))
URL = "https://provider.example/r/1"


def _copy(item: Accept, **changes: Any) -> Accept:
    """The same message, come again."""
    fresh = an_accept("p-9", at=LATER)
    return replace(item, notification=fresh.notification, new_job=fresh.new_job, **changes)


async def _accept(database: Database, item: Accept) -> Accepted:
    outcome = await database.submit(ACCEPT, item)
    assert isinstance(outcome, Accepted)
    return outcome


def _is_copy_of(first: Accepted, again: Accepted) -> bool:
    known = (first.notification_id, first.job_id)
    return again.status is NotificationStatus.DUPLICATE and (again.notification_id, again.job_id) == known


@pytest.mark.parametrize("by_content", [True, False], ids=["by_content", "by_delivery_id"])
async def test_a_copy_is_recognised_in_the_next_batch_and_in_its_own(database: Database, by_content: bool) -> None:
    item = an_accept("p-1", dedupe_key=DIGEST, about_one_job=by_content)
    first = await _accept(database, item)
    assert _is_copy_of(first, await _accept(database, _copy(item)))
    item = an_accept("p-2", dedupe_key=DIGEST[::-1], about_one_job=by_content)
    both = await database.write(lambda connection: ACCEPT.apply(connection, [item, _copy(item)]))
    assert isinstance(both[0], Accepted) and isinstance(both[1], Accepted) and _is_copy_of(both[0], both[1])
    assert await count(database, notifications) == await count(database, jobs) == 2


async def test_a_copy_of_the_second_notification_of_a_job_is_recognised(database: Database) -> None:
    first = await _accept(database, an_accept("p-1", dedupe_key=DIGEST, about_one_job=True))
    other = an_accept("p-1", at=LATER, dedupe_key=DIGEST[::-1], about_one_job=True)
    second = await _accept(database, other)
    assert (second.status, second.job_id) == (NotificationStatus.ACCEPTED, first.job_id)
    assert _is_copy_of(second, await _accept(database, _copy(other)))


async def test_one_delivery_id_is_one_notification_whatever_job_it_names(database: Database) -> None:
    first = await _accept(database, an_accept("p-1", dedupe_key=DIGEST))
    assert _is_copy_of(first, await _accept(database, an_accept("p-2", dedupe_key=DIGEST)))


async def test_a_copy_is_recognised_by_whatever_its_job_is_found_by(database: Database) -> None:
    by_url = an_accept("p-1", keys=(("url", URL),), dedupe_key=DIGEST, about_one_job=True)
    first = await _accept(database, by_url)
    await _accept(database, an_accept("p-1", keys=(("id", "p-1"), ("url", URL)), dedupe_key=b"other"))
    assert _is_copy_of(first, await _accept(database, _copy(by_url)))
    job = a_job(provider_job_id="p-7")
    await put_jobs(database, job)
    bound = an_accept("p-7", keys=(), job_id=job.id, new_job=None, dedupe_key=DIGEST, about_one_job=True)
    first = await _accept(database, bound)
    assert first.job_id == job.id
    assert _is_copy_of(first, await _accept(database, replace(bound, notification=a_notification())))


async def test_a_copy_of_what_came_to_no_job_is_recognised_when_there_is_one(database: Database) -> None:
    item = an_accept("p-1", new_job=None, dedupe_key=DIGEST, about_one_job=True)
    first = await _accept(database, item)
    assert (first.status, first.reason, first.job_id) == (NotificationStatus.IGNORED, UNTRACKED, None)
    await _accept(database, an_accept("p-1", dedupe_key=b"other"))
    assert _is_copy_of(first, await _accept(database, _copy(item)))


async def test_a_copy_of_one_that_names_two_jobs_is_recognised(database: Database) -> None:
    await _accept(database, an_accept("p-1"))
    await _accept(database, an_accept("p-2", keys=(("url", URL),)))
    item = an_accept("p-1", keys=(("id", "p-1"), ("url", URL)), dedupe_key=DIGEST, about_one_job=True)
    first = await _accept(database, item)
    assert first.reason == JOB_CONFLICT
    assert _is_copy_of(first, await _accept(database, _copy(item)))


async def test_a_copy_is_recognised_after_another_job_got_one_of_its_names(database: Database) -> None:
    item = an_accept("p-1", keys=(("id", "p-1"), ("url", URL)), dedupe_key=DIGEST, about_one_job=True)
    first = await _accept(database, item)
    other = await _accept(database, an_accept("p-2"))
    await database.write(
        lambda c: c.execute(update(job_keys).where(job_keys.c.kind == "url").values(job_id=other.job_id))
    )
    assert _is_copy_of(first, await _accept(database, _copy(item)))


async def test_a_copy_of_one_stored_by_an_earlier_release_is_recognised(database: Database) -> None:
    item = an_accept("p-1", dedupe_key=DIGEST)  # as those stored it, with a job too
    first = await _accept(database, item)
    assert first.job_id is not None
    assert _is_copy_of(first, await _accept(database, _copy(item, about_one_job=True)))


async def test_keys_of_new_jobs_share_the_end_of_their_index(database: Database) -> None:
    """A hash alone would lie anywhere in it: a page more to sync for each notification."""
    items = [an_accept(f"p-{n}", dedupe_key=bytes([n * 7 % 256]) * 32, about_one_job=True) for n in range(40)]
    for item in items:
        await _accept(database, item)
    rows = sorted(await rows_of(database, notifications), key=lambda row: bytes(row["dedupe_key"]))
    assert [row["job_id"] for row in rows] == sorted(row["job_id"] for row in rows)
    assert all(bytes(row["dedupe_key"])[: ID_LENGTH // 2].hex() == row["job_id"][-ID_LENGTH:] for row in rows)
