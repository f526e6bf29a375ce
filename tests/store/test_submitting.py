"""Jobs that are submitted through Relay, against what notifications and other submits did meanwhile."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from relay.clock import Instant
from relay.model import Job, JobStatus
from relay.store import submitting, tracking
from relay.store.database import Database
from relay.store.intake import ACCEPT, Accepted
from relay.store.queue import claim
from relay.store.schema import job_keys, jobs
from relay.store.submitting import Learnt, Taught
from tests.support.store import HOUR, LATER, NOW, WEBHOOK_ID, a_job, an_accept, count, job_of, put_jobs, rows_of

SIBLING = "wh_" + "9" * 32
FRESH = {"status": JobStatus.WAITING, "notified_at": None, "tracked": True, "due_at": Instant(NOW + HOUR)}


def learnt(job: Job, **changes: Any) -> Learnt:
    """The provider calls it p-1 and says nothing else."""
    said = Learnt(
        job_id=job.id,
        webhook_id=job.webhook_id,
        keys=(("id", "p-1"),),
        sibling_ids=(),
        provider_job_id="p-1",
        response_url=None,
        result_path=None,
        status_url=None,
        cancel_url=None,
        provider_status="queued",
        due_at=Instant(NOW + 2000),
        now=NOW,
    )
    return replace(said, **changes)


async def submitted(database: Database, **changes: Any) -> Job:
    """A job whose request is on its way."""
    job = a_job(**{**FRESH, **changes})
    await database.write(partial(submitting.insert, job=job))
    return job


async def learn(database: Database, what: Learnt) -> Taught:
    return await database.write(partial(submitting.learn, learnt=what))


async def known_as(database: Database, name: str, **changes: Any) -> Job:
    """Another job that has this id."""
    job = a_job(provider_job_id=name, **changes)
    await put_jobs(database, job)
    row = {"webhook_id": job.webhook_id, "kind": "id", "value": name, "job_id": job.id}
    await database.write(lambda connection: connection.execute(job_keys.insert().values(row)))
    return job


async def test_what_the_answer_said_is_written_down_with_its_keys(database: Database) -> None:
    job = await submitted(database)
    urls = {
        "response_url": "https://p.example/r",
        "status_url": "https://p.example/s",
        "cancel_url": "https://p.example/c",
    }
    keys = (("id", "p-1"), ("url", urls["response_url"]))
    said = learnt(job, keys=keys, result_path="/other/p-1", **urls)
    assert await learn(database, said) == Taught(job.id)
    found = await job_of(database, job.id)
    expected = {"provider_job_id": "p-1", "provider_status": "queued", "result_path": "/other/p-1", **urls}
    assert {name: getattr(found, name) for name in expected} == expected
    assert (found.status, found.due_at, found.claims) == (JobStatus.WAITING, NOW + 2000, 0)
    assert {(row["kind"], row["value"], row["job_id"]) for row in await rows_of(database, job_keys)} == {
        (*key, job.id) for key in keys
    }


async def test_a_job_that_was_notified_without_an_id_is_asked_for_now(database: Database) -> None:
    job = await submitted(database, status=JobStatus.FETCHING, notified_at=Instant(NOW - 50))
    await learn(database, learnt(job))
    found = await job_of(database, job.id)
    assert (found.due_at, found.notified_at, found.provider_job_id) == (NOW, NOW, "p-1")


async def test_whoever_fetches_it_keeps_its_claim(database: Database) -> None:
    job = await submitted(database, status=JobStatus.FETCHING, notified_at=NOW, due_at=NOW)
    [row] = await database.write(partial(claim, table=jobs, ids=[job.id], now=NOW, lease_until=LATER))
    await learn(database, learnt(job))
    found = await job_of(database, job.id)
    assert (found.claims, found.lease_until) == (row.claims, LATER)


async def test_a_job_that_has_ended_stays_so_and_is_called_by_its_name(database: Database) -> None:
    job = await submitted(database, status=JobStatus.COMPLETED, due_at=None, notified_at=NOW)
    await learn(database, learnt(job))
    found = await job_of(database, job.id)
    assert (found.status, found.due_at, found.provider_job_id) == (JobStatus.COMPLETED, None, "p-1")


@pytest.mark.parametrize("status", [JobStatus.FETCHING, JobStatus.COMPLETED])
async def test_it_makes_way_for_the_job_of_a_notification_that_was_quicker(
    database: Database, status: JobStatus
) -> None:
    held = Instant(NOW + 3000) if status is JobStatus.FETCHING else None
    other = await known_as(database, "p-1", status=status, due_at=held, metadata={"a": 1})
    job = await submitted(database, metadata={"tenant": "acme", "a": 2})
    assert await learn(database, learnt(job)) == Taught(other.id)
    found = await job_of(database, other.id)
    assert (found.metadata, found.tracked, found.status) == ({"tenant": "acme", "a": 1}, True, status)
    assert found.due_at == (NOW if held else None)
    assert await count(database, jobs) == 1


async def test_two_jobs_with_notifications_of_their_own_stay_two(database: Database) -> None:
    other = await known_as(database, "p-1", status=JobStatus.COMPLETED, due_at=None)
    job = await submitted(database, status=JobStatus.FETCHING, notified_at=NOW)
    assert await learn(database, learnt(job)) == Taught(job.id, tracking.CONFLICT)
    found = await job_of(database, job.id)
    assert (found.last_error, found.provider_job_id) == (tracking.CONFLICT, None)
    assert [row["job_id"] for row in await rows_of(database, job_keys)] == [other.id]


async def test_an_id_that_another_webhook_of_the_account_tracks_is_not_taken(database: Database) -> None:
    other = await known_as(database, "p-1", webhook_id=SIBLING, tracked=True)
    job = await submitted(database)
    assert await learn(database, learnt(job, sibling_ids=(SIBLING,))) == Taught(job.id, tracking.ELSEWHERE)
    found = await job_of(database, job.id)
    assert (found.status, found.due_at, found.last_error) == (JobStatus.FAILED, None, tracking.ELSEWHERE)
    assert [row["job_id"] for row in await rows_of(database, job_keys)] == [other.id]


async def test_a_job_that_the_provider_did_not_take_ends_without_a_result(database: Database) -> None:
    job = await submitted(database)
    await database.write(partial(submitting.end, job_id=job.id, error="submit refused: HTTP 422", now=NOW))
    found = await job_of(database, job.id)
    assert (found.status, found.result_id, found.due_at) == (JobStatus.FAILED, None, None)
    assert (found.completed_at, found.last_error, found.claims) == (NOW, "submit refused: HTTP 422", 1)


async def test_a_job_that_was_notified_after_all_goes_on(database: Database) -> None:
    job = await submitted(database, status=JobStatus.FETCHING, notified_at=NOW, due_at=NOW)
    await database.write(partial(submitting.end, job_id=job.id, error="x", now=NOW))
    await database.write(partial(submitting.leave_waiting, job_id=job.id, error="x", due_at=LATER))
    assert await database.write(partial(submitting.send_again, job_id=job.id, due_at=LATER)) is None
    assert await job_of(database, job.id) == job


async def test_the_same_job_is_sent_again(database: Database) -> None:
    job = await submitted(database, last_error="submit unclear: HTTP 503")
    sent = await database.write(partial(submitting.send_again, job_id=job.id, due_at=LATER))
    assert sent is not None and sent.id == job.id
    assert (await job_of(database, job.id)).due_at == LATER


async def test_a_callback_by_token_and_the_answer_name_one_job(database: Database) -> None:
    job = await submitted(database)
    by_token = an_accept("n-1", keys=(("id", "p-1"),), job_id=job.id, new_job=None)
    outcome = await database.submit(ACCEPT, by_token)
    assert isinstance(outcome, Accepted) and outcome.job_id == job.id
    assert await learn(database, learnt(job)) == Taught(job.id)
    assert [row["job_id"] for row in await rows_of(database, job_keys)] == [job.id]
    assert (await job_of(database, job.id)).webhook_id == WEBHOOK_ID


async def test_taking_a_job_fences_off_whoever_had_it(database: Database) -> None:
    job = await submitted(database, due_at=NOW)
    [row] = await database.write(partial(claim, table=jobs, ids=[job.id], now=NOW, lease_until=LATER))
    taken = await database.write(partial(tracking.take, job_id=job.id, lease_until=LATER))
    assert taken is not None and taken.claims == row.claims + 1
    assert (await job_of(database, job.id)).claims == taken.claims
    ended = await submitted(database, id="job_" + "7" * 32, status=JobStatus.COMPLETED, due_at=None)
    assert await database.write(partial(tracking.take, job_id=ended.id, lease_until=LATER)) == ended


async def test_asking_by_a_time_only_ever_brings_the_next_question_forward(database: Database) -> None:
    job = await submitted(database, due_at=Instant(NOW + 5000))
    for by, due_at in ((NOW + 9000, NOW + 5000), (NOW + 1000, NOW + 1000)):
        found = await database.write(partial(tracking.ask_by, job_id=job.id, due_at=Instant(by)))
        assert found is not None and found.due_at == due_at
