from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import threading
from collections import Counter
from functools import partial

import pytest
from sqlalchemy import Connection, Table, update

from relay.clock import Instant
from relay.model import Delivery, Job
from relay.store import queue
from relay.store.database import Database, open_database
from relay.store.queue import Due, claim, due, due_in_lane, extend, give_back, held, next_due_at, void_leases
from relay.store.schema import deliveries, jobs
from tests.support.store import (
    DELIVERY_QUEUE,
    HOUR,
    JOB_QUEUE,
    LATER,
    NOW,
    OTHER_WEBHOOK_ID,
    WEBHOOK_ID,
    a_delivery,
    a_job,
    bulk_deliveries,
    delivery_of,
    hold_until,
    job_of,
    put_deliveries,
    put_jobs,
)

RACERS = 3


def _at(seconds: float) -> Instant:
    return Instant(NOW + round(seconds * 1000))


async def _claim(database: Database, *ids: str, now: Instant = NOW, until: Instant = LATER) -> dict[str, int]:
    """The `claims` of what was claimed."""
    rows = await database.write(partial(claim, table=jobs, ids=list(ids), now=now, lease_until=until))
    return {row.id: row.claims for row in rows}


# --- claiming ---


async def test_a_claim_takes_what_is_due_and_free(database: Database) -> None:
    mine, later, settled, leased, free_again = (
        a_job(),
        a_job(due_at=_at(1)),
        a_job(due_at=None),
        a_job(lease_until=_at(1), claims=4),
        a_job(lease_until=NOW, claims=4),
    )
    everybody = [mine, later, settled, leased, free_again]
    await put_jobs(database, *everybody)
    assert await _claim(database, *(job.id for job in everybody), "job_unknown") == {mine.id: 1, free_again.id: 5}
    taken = await job_of(database, mine.id)
    assert (taken.lease_until, taken.due_at) == (LATER, NOW)  # due_at stays: it is indexed
    assert await job_of(database, leased.id) == leased


async def test_a_claim_is_exclusive_until_its_lease_runs_out(database: Database) -> None:
    job = a_job()
    await put_jobs(database, job)
    assert await _claim(database, job.id) == {job.id: 1}
    assert await _claim(database, job.id) == {}
    assert await _claim(database, job.id, now=Instant(LATER - 1)) == {}
    assert await _claim(database, job.id, now=LATER, until=_at(60)) == {job.id: 2}


async def test_a_claim_returns_the_row_as_the_claim_made_it(database: Database) -> None:
    job = a_job(metadata={"tenant": "acme"}, deadline=_at(5))
    await put_jobs(database, job)
    (row,) = await database.write(partial(claim, table=jobs, ids=[job.id], now=NOW, lease_until=LATER))
    assert (row.claims, row.lease_until, row.deadline, row.metadata) == (1, LATER, _at(5), '{"tenant":"acme"}')


async def test_a_claim_does_not_wait_for_rows_that_another_node_holds(migrated_postgres_url: str) -> None:
    one, two = await open_database(migrated_postgres_url), await open_database(migrated_postgres_url)
    locked, free = a_job(), a_job()
    await put_jobs(one, locked, free)
    claimed, released = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def lock_and_wait(connection: Connection) -> None:
        connection.execute(update(jobs).where(jobs.c.id == locked.id).values(last_error="being settled"))
        loop.call_soon(claimed.set)
        hold_until(connection, released)

    holding = asyncio.ensure_future(one.write(lock_and_wait))
    await claimed.wait()
    assert await _claim(two, locked.id, free.id) == {free.id: 1}
    assert not holding.done()
    released.set()
    await holding
    await one.close()
    await two.close()


RACER = """
import asyncio, json, random, sys
from functools import partial
from relay.store.database import open_database
from relay.store.queue import claim
from relay.store.schema import deliveries
from tests.support.store import LATER, NOW

async def main(url, seed):
    ids = json.loads(sys.stdin.readline())
    random.Random(seed).shuffle(ids)
    database = await open_database(url)
    async def take(part):
        rows = await database.write(
            partial(claim, table=deliveries, ids=part, now=NOW, lease_until=LATER)
        )
        return [(row.id, row.claims) for row in rows]
    taken = []
    for start in range(0, len(ids), 400):
        parts = [ids[at : at + 50] for at in range(start, min(start + 400, len(ids)), 50)]
        for got in await asyncio.gather(*map(take, parts)):
            taken += got
    await database.close()
    print(json.dumps(taken))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.acceptance
async def test_a_race_of_processes_claims_nothing_twice(migrated_postgres_url: str) -> None:
    total = 100_000 if os.environ.get("RELAY_TEST_LONG") == "1" else 5_000
    database = await open_database(migrated_postgres_url)
    await database.write(partial(bulk_deliveries, lanes=["sub_1"], total=total, due_at=NOW))
    ids = [found.id for found in await database.read(partial(due, queue=DELIVERY_QUEUE, now=NOW, limit=total))]
    assert len(ids) == total
    pipe = asyncio.subprocess.PIPE
    racers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", RACER, migrated_postgres_url, str(seed), stdin=pipe, stdout=pipe
        )
        for seed in range(RACERS)
    ]
    said = await asyncio.gather(*(racer.communicate(json.dumps(ids).encode() + b"\n") for racer in racers))
    audit = Counter((row_id, claims) for out, _ in said for row_id, claims in json.loads(out))
    assert set(audit) == {(row_id, 1) for row_id in ids}
    assert audit.most_common(1)[0][1] == 1
    assert sum(bool(json.loads(out)) for out, _ in said) > 1  # or it was no race
    await database.close()


# --- the fence ---


async def _lost(database: Database) -> tuple[Job, int]:
    """A job that was claimed, ran out of its lease and was claimed by somebody else; the first one's `claims`."""
    job = a_job()
    await put_jobs(database, job)
    mine = (await _claim(database, job.id))[job.id]
    assert await _claim(database, job.id, now=LATER, until=_at(60)) == {job.id: mine + 1}
    return await job_of(database, job.id), mine


async def test_a_worker_that_lost_its_lease_can_neither_extend_nor_give_back(database: Database) -> None:
    job, old = await _lost(database)
    assert await database.write(partial(extend, table=jobs, claims=[(job.id, old)], lease_until=_at(999))) == set()
    assert await database.write(partial(give_back, table=jobs, claims=[(job.id, old)])) == 0
    assert await job_of(database, job.id) == job


async def test_without_the_fence_the_old_worker_would_be_believed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: with a fence that believes everybody, it does."""

    def believe(connection: Connection, table: Table, claims: list[queue.Held]) -> dict[str, object]:
        return {row_id: None for row_id, _ in claims}

    monkeypatch.setattr(queue, "held", believe)
    with pytest.raises(AssertionError):
        await test_a_worker_that_lost_its_lease_can_neither_extend_nor_give_back(database)


async def test_of_two_claims_to_one_row_only_the_standing_one_is_held(database: Database) -> None:
    job, old = await _lost(database)
    for claims in itertools.permutations([(job.id, old), (job.id, old + 1)]):
        found = await database.write(partial(held, table=jobs, claims=claims))
        assert {row_id: row.claims for row_id, row in found.items()} == {job.id: old + 1}


async def test_what_is_still_ours_is_extended_in_one_go(database: Database) -> None:
    mine, lost = a_job(), a_job()
    await put_jobs(database, mine, lost)
    claims = await _claim(database, mine.id, lost.id)
    await _claim(database, lost.id, now=LATER, until=_at(60))
    kept = await database.write(partial(extend, table=jobs, claims=list(claims.items()), lease_until=_at(45)))
    assert kept == {mine.id}
    assert (await job_of(database, mine.id)).lease_until == _at(45)
    assert (await job_of(database, lost.id)).lease_until == _at(60)


async def test_what_is_given_back_is_free_at_once_and_no_longer_ours(database: Database) -> None:
    job = a_job()
    await put_jobs(database, job)
    claims = await _claim(database, job.id)
    assert await database.write(partial(give_back, table=jobs, claims=list(claims.items()))) == 1
    assert (await job_of(database, job.id)).lease_until is None
    assert await database.write(partial(held, table=jobs, claims=list(claims.items()))) == {}
    assert await _claim(database, job.id) == {job.id: 3}


async def test_voiding_ends_every_lease(database: Database) -> None:
    busy, free, settled = a_job(), a_job(), a_job(due_at=None, lease_until=LATER, claims=2)
    await put_jobs(database, busy, free, settled)
    claims = await _claim(database, busy.id)
    assert await database.write(partial(void_leases, table=jobs)) == 1
    assert await database.write(partial(held, table=jobs, claims=list(claims.items()))) == {}
    assert set(await _claim(database, busy.id, free.id, settled.id)) == {busy.id, free.id}


async def test_many_claims_are_extended_though_a_statement_takes_only_some(database: Database) -> None:
    await database.write(partial(bulk_deliveries, lanes=["sub_1"], total=1200, due_at=NOW))
    ids = [found.id for found in await database.read(partial(due, queue=DELIVERY_QUEUE, now=NOW, limit=2000))]
    take = partial(claim, table=deliveries, ids=ids, now=NOW, lease_until=LATER)
    claims = [(row.id, row.claims) for row in await database.write(take)]
    assert len(claims) == 1200
    assert await database.write(partial(extend, table=deliveries, claims=claims, lease_until=_at(60))) == set(ids)
    assert await database.write(partial(give_back, table=deliveries, claims=claims)) == 1200


# --- looking for work ---


async def test_due_tells_what_has_waited_longest_whatever_its_lane(database: Database) -> None:
    third, first = a_job(due_at=_at(-1)), a_job(due_at=_at(-9))
    second = a_job(due_at=_at(-5), lease_until=LATER, webhook_id=OTHER_WEBHOOK_ID)
    await put_jobs(database, third, first, second, a_job(due_at=_at(1)), a_job(due_at=None))
    found = await database.read(partial(due, queue=JOB_QUEUE, now=NOW, limit=10))
    assert found == [
        Due(first.id, WEBHOOK_ID, first.deadline),
        Due(second.id, OTHER_WEBHOOK_ID, second.deadline),
        Due(third.id, WEBHOOK_ID, third.deadline),
    ]
    assert await database.read(partial(due, queue=JOB_QUEUE, now=NOW, limit=1)) == found[:1]


async def test_a_lane_is_read_in_its_own_order(database: Database) -> None:
    tight, loose = a_job(due_at=_at(-1), deadline=_at(10)), a_job(due_at=_at(-9), deadline=_at(99))
    waits, elsewhere = a_job(due_at=_at(1), deadline=_at(1)), a_job(webhook_id=OTHER_WEBHOOK_ID)
    await put_jobs(database, loose, tight, waits, elsewhere)
    found = await database.read(partial(due_in_lane, queue=JOB_QUEUE, lane=WEBHOOK_ID, now=NOW, limit=10))
    assert [one.id for one in found] == [tight.id, loose.id]


async def test_deliveries_of_a_lane_go_by_when_they_were_due(database: Database) -> None:
    def one(seconds: float) -> Delivery:
        return a_delivery(subscription_id="sub_1", due_at=_at(seconds))

    late, early, future = one(-1), one(-7), one(3)
    await put_deliveries(database, late, early, future, a_delivery())
    found = await database.read(partial(due_in_lane, queue=DELIVERY_QUEUE, lane="sub_1", now=NOW, limit=10))
    assert found == [Due(early.id, "sub_1", _at(-7)), Due(late.id, "sub_1", _at(-1))]
    assert (await delivery_of(database, future.id)).due_at == _at(3)


async def test_the_next_due_instant_is_that_of_the_first_row_that_is_not_due_yet(database: Database) -> None:
    async def following(now: Instant) -> Instant | None:
        return await database.read(partial(next_due_at, queue=JOB_QUEUE, now=now))

    assert await following(NOW) is None
    await put_jobs(database, a_job(), a_job(due_at=_at(60)), a_job(due_at=_at(30)), a_job(due_at=None))
    assert await following(NOW) == _at(30)
    assert await following(_at(30)) == _at(60)
    assert await following(Instant(NOW + HOUR)) is None
