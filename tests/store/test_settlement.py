from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from relay.clock import Instant
from relay.errors import StoreUnavailable
from relay.model import Job, JobStatus
from relay.store import attempts as attempt_rows
from relay.store import payloads, settlement
from relay.store import results as result_rows
from relay.store.database import Database
from relay.store.intake import ACCEPT
from relay.store.queue import claim
from relay.store.schema import attempts, deliveries, job_keys, jobs, payload_chunks, results, spills
from relay.store.settlement import (
    SETTLE_FETCH,
    Ended,
    FetchSettlement,
    Postponed,
    Settled,
)
from tests.support.store import (
    HOUR,
    LATER,
    NOW,
    WEBHOOK_ID,
    a_delivery,
    a_job,
    a_result,
    an_accept,
    an_attempt,
    bump,
    count,
    delivery_of,
    job_of,
    put_jobs,
    rows_of,
)

WRITTEN = (results, deliveries, attempts, payload_chunks, job_keys)


async def _claimed(database: Database, **changes: Any) -> Job:
    job = a_job(**changes)
    await put_jobs(database, job)
    await database.write(partial(claim, table=jobs, ids=[job.id], now=NOW, lease_until=LATER))
    return await job_of(database, job.id)


def _ended(job: Job, **changes: Any) -> FetchSettlement:
    """A payload and two deliveries."""
    result = a_result(job, content_type="application/json", size_bytes=2, sha256="0" * 64, payload_id=f"pay{job.id}")
    made = tuple(a_delivery(result_id=result.id, message_id=result.id) for _ in range(2))
    given: dict[str, Any] = {
        "job_id": job.id,
        "claims": job.claims,
        "notified_at": job.notified_at,
        "now": Instant(NOW + 1000),
        "outcome": Ended(result=result, deliveries=made, payload=b"{}", provider_status="DONE"),
        "attempt": an_attempt(job),
        "config_version": 1,
        "learnt_keys": ((job.webhook_id, "id", f"learnt-{job.id}"),),
    }
    return FetchSettlement(**(given | changes))


def _postponed(job: Job, **changes: Any) -> FetchSettlement:
    outcome = Postponed(
        due_at=Instant(NOW + HOUR),
        status=JobStatus.FETCHING,
        deadline=Instant(NOW + 3 * HOUR),
        step=4,
        provider_status="RUNNING",
        last_error="pending",
    )
    return replace(_ended(job), outcome=outcome, **changes)


async def _settle(database: Database, *items: FetchSettlement) -> list[Settled]:
    """All in one batch."""
    return await database.write(lambda connection: SETTLE_FETCH.apply(connection, list(items)))


async def _nothing_was_written(database: Database, job: Job) -> bool:
    return await job_of(database, job.id) == job and not any([await count(database, table) for table in WRITTEN])


# --- fetches ---


async def test_a_fetch_that_ended_is_written_as_a_whole(database: Database) -> None:
    job = await _claimed(database)
    item = _ended(job)
    assert isinstance(item.outcome, Ended) and item.attempt is not None
    assert await database.submit(SETTLE_FETCH, item) is Settled.DONE
    result = item.outcome.result
    assert await job_of(database, job.id) == replace(
        job,
        status=JobStatus.COMPLETED,
        result_id=result.id,
        completed_at=item.now,
        provider_status="DONE",
        attempts=1,
        due_at=None,
        lease_until=None,
        claims=job.claims + 1,
    )
    stored = replace(result, matched=len(item.outcome.deliveries))
    assert await database.read(partial(result_rows.get, id=result.id)) == stored
    assert await database.read(partial(result_rows.payload, payload_id=result.payload_id or "")) == b"{}"
    for delivery in item.outcome.deliveries:
        assert await delivery_of(database, delivery.id) == delivery
    assert await database.read(partial(attempt_rows.of, owner_id=job.id)) == [item.attempt]
    assert (job.webhook_id, "id", f"learnt-{job.id}", job.id) in {
        tuple(row.values()) for row in await rows_of(database, job_keys)
    }


@pytest.mark.parametrize("stage", ["insert_many", "_learn", "_write_ended"])
async def test_a_settlement_that_breaks_off_leaves_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    job = await _claimed(database)
    real, calls = getattr(settlement, stage), 0

    def break_off(*given: object) -> None:
        nonlocal calls
        calls += 1
        real(*given)
        if calls >= (3 if stage == "insert_many" else 1):  # results, payload, deliveries: after all of them
            raise StoreUnavailable("killed")

    monkeypatch.setattr(settlement, stage, break_off)
    with pytest.raises(StoreUnavailable):
        await database.submit(SETTLE_FETCH, _ended(job))
    assert calls
    assert await _nothing_was_written(database, job)
    monkeypatch.undo()
    assert await database.submit(SETTLE_FETCH, _ended(job)) is Settled.DONE


async def test_whoever_lost_the_lease_changes_nothing(database: Database) -> None:
    job = await _claimed(database)
    await database.write(partial(claim, table=jobs, ids=[job.id], now=LATER, lease_until=Instant(LATER + 30_000)))
    present = await job_of(database, job.id)
    assert await database.submit(SETTLE_FETCH, _ended(job)) is Settled.LOST
    assert await database.submit(SETTLE_FETCH, _postponed(job)) is Settled.LOST
    assert await _nothing_was_written(database, present)


async def test_without_the_fence_the_old_worker_would_write(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: with a fence that believes everybody, it does."""
    monkeypatch.setattr(settlement, "_stands", lambda *_: True)
    monkeypatch.setattr(settlement, "held", lambda c, _, claims: {i: c.execute(jobs.select()).one() for i, _ in claims})
    with pytest.raises(AssertionError):
        await test_whoever_lost_the_lease_changes_nothing(database)


async def test_an_old_settlement_in_the_batch_of_the_standing_one_changes_nothing(database: Database) -> None:
    job = await _claimed(database)
    await database.write(partial(claim, table=jobs, ids=[job.id], now=LATER, lease_until=Instant(LATER + 30_000)))
    standing = await job_of(database, job.id)
    good = _ended(standing)
    assert await _settle(database, _ended(job), good, _postponed(job)) == [Settled.LOST, Settled.DONE, Settled.LOST]
    assert await count(database, results) == 1 and await count(database, deliveries) == 2
    assert isinstance(good.outcome, Ended)
    assert (await job_of(database, job.id)).result_id == good.outcome.result.id


async def test_a_settlement_whose_commit_was_not_confirmed_cannot_be_made_twice(database: Database) -> None:
    job = await _claimed(database)
    assert await database.submit(SETTLE_FETCH, _ended(job)) is Settled.DONE
    assert await database.submit(SETTLE_FETCH, _ended(job)) is Settled.LOST
    other = await _claimed(database)
    assert await _settle(database, _ended(other), _ended(other)) == [Settled.DONE, Settled.LOST]
    assert await count(database, results) == 2 and await count(database, deliveries) == 4


async def test_a_stale_configuration_leaves_nothing_and_the_lease_as_it_is(database: Database) -> None:
    job = await _claimed(database)
    await database.write(bump)
    assert await database.submit(SETTLE_FETCH, _ended(job)) is Settled.STALE
    assert await _nothing_was_written(database, job)
    assert await database.submit(SETTLE_FETCH, _ended(job, config_version=2)) is Settled.DONE


async def test_a_postponement_does_not_depend_on_the_configuration(database: Database) -> None:
    job = await _claimed(database)
    await database.write(bump)
    assert await database.submit(SETTLE_FETCH, _postponed(job)) is Settled.DONE


async def test_a_postponed_job_waits_until_it_is_due_again(database: Database) -> None:
    job = await _claimed(database)
    assert await database.submit(SETTLE_FETCH, _postponed(job)) is Settled.DONE
    assert await job_of(database, job.id) == replace(
        job,
        due_at=Instant(NOW + HOUR),
        deadline=Instant(NOW + 3 * HOUR),
        step=4,
        provider_status="RUNNING",
        last_error="pending",
        attempts=1,
        lease_until=None,
        claims=job.claims + 1,
    )
    assert await count(database, attempts) == 1 and await count(database, results) == 0


async def test_a_job_that_was_notified_meanwhile_is_due_now(database: Database) -> None:
    job = await _claimed(database, status=JobStatus.WAITING)
    notified = an_accept("p-1", job_id=job.id, at=Instant(NOW + 500), changes=a_job(deadline=Instant(NOW + HOUR)))
    await database.submit(ACCEPT, notified)
    assert await database.submit(SETTLE_FETCH, _postponed(job)) is Settled.DONE
    again = await job_of(database, job.id)
    assert (again.due_at, again.status, again.deadline) == (NOW + 1000, JobStatus.FETCHING, NOW + HOUR)
    assert (again.step, again.lease_until, again.attempts) == (0, None, 1)


@pytest.mark.parametrize(
    ("status", "due_at"), [(JobStatus.COMPLETED, None), (JobStatus.FAILED, NOW + 1000), (JobStatus.EXPIRED, NOW + 1000)]
)
async def test_a_job_that_ended_is_looked_at_again_if_it_was_notified_meanwhile_unless_it_is_completed(
    database: Database, status: JobStatus, due_at: Instant | None
) -> None:
    job = await _claimed(database)
    await database.submit(ACCEPT, an_accept("p-1", job_id=job.id, at=Instant(NOW + 500)))
    ended = _ended(job)
    assert isinstance(ended.outcome, Ended)
    outcome = replace(ended.outcome, result=replace(ended.outcome.result, status=status))
    assert await database.submit(SETTLE_FETCH, replace(ended, outcome=outcome)) is Settled.DONE
    after = await job_of(database, job.id)
    assert (after.status, after.due_at, after.lease_until) == (status, due_at, None)


async def test_a_failed_job_that_nobody_notified_stays_settled(database: Database) -> None:
    job = await _claimed(database)
    ended = _ended(job)
    assert isinstance(ended.outcome, Ended)
    failed = replace(ended.outcome.result, status=JobStatus.FAILED, error="boom")
    await database.submit(SETTLE_FETCH, replace(ended, outcome=replace(ended.outcome, result=failed)))
    after = await job_of(database, job.id)
    assert (after.status, after.due_at, after.last_error) == (JobStatus.FAILED, None, "boom")


async def test_a_key_that_belongs_to_another_job_is_not_stolen(database: Database) -> None:
    owner = await database.submit(ACCEPT, an_accept("p-1"))
    job = await _claimed(database)
    keys = ((WEBHOOK_ID, "id", "p-1"), (WEBHOOK_ID, "id", "p-2"))
    assert await database.submit(SETTLE_FETCH, _postponed(job, learnt_keys=keys)) is Settled.DONE
    known = {row["value"]: row["job_id"] for row in await rows_of(database, job_keys)}
    assert known == {"p-1": getattr(owner, "job_id", None), "p-2": job.id}


async def test_a_large_payload_is_linked_and_no_orphan_any_more(database: Database) -> None:
    job = await _claimed(database)
    item = _ended(job)
    assert isinstance(item.outcome, Ended) and item.outcome.result.payload_id is not None
    for seq in range(3):
        piece = partial(payloads.spill, payload_id=item.outcome.result.payload_id, seq=seq, data=b"x" * 10, now=NOW)
        await database.write(piece)
    await database.submit(SETTLE_FETCH, replace(item, outcome=replace(item.outcome, payload=None)))
    assert await count(database, spills) == 0
    assert await database.write(partial(payloads.drop_orphans, before=Instant(NOW + HOUR))) == 0
    payload = partial(result_rows.payload, payload_id=item.outcome.result.payload_id)
    assert await database.read(payload) == b"x" * 30


async def test_many_settlements_share_a_transaction(database: Database) -> None:
    claimed = [await _claimed(database) for _ in range(5)]
    items = [_ended(job) if number % 2 else _postponed(job) for number, job in enumerate(claimed)]
    assert await asyncio.gather(*(database.submit(SETTLE_FETCH, item) for item in items)) == [Settled.DONE] * 5
    assert await count(database, results) == 2 and await count(database, attempts) == 5


async def test_a_large_payload_that_was_collected_meanwhile_is_fetched_again(database: Database) -> None:
    """A node whose clock is hours ahead takes what another one writes this moment for an orphan."""
    job, neighbour = await _claimed(database), await _claimed(database)
    item = _ended(job)
    assert isinstance(item.outcome, Ended) and item.outcome.result.payload_id is not None
    await database.write(
        partial(payloads.spill, payload_id=item.outcome.result.payload_id, seq=0, data=b"x" * 10, now=NOW)
    )
    assert await database.write(partial(payloads.drop_orphans, before=Instant(NOW + HOUR))) == 1
    linking = replace(item, outcome=replace(item.outcome, payload=None))
    assert await _settle(database, linking, _ended(neighbour)) == [Settled.LOST, Settled.DONE]
    assert await job_of(database, job.id) == job
    assert [row["job_id"] for row in await rows_of(database, results)] == [neighbour.id]
