from __future__ import annotations

import asyncio

from sqlalchemy import select

from relay.model import NotificationStatus
from relay.store import jobs as job_rows
from relay.store.database import Database, open_database
from relay.store.intake import ACCEPT, Accept, Accepted
from relay.store.schema import jobs, notifications
from tests.support.store import (
    an_accept,
    count,
)


async def _accept(database: Database, item: Accept) -> Accepted:
    outcome = await database.submit(ACCEPT, item)
    assert isinstance(outcome, Accepted)
    return outcome


async def test_two_nodes_that_take_the_same_notification_at_once_make_one_job(migrated_postgres_url: str) -> None:
    one, two = await open_database(migrated_postgres_url), await open_database(migrated_postgres_url)

    async def race(name: str) -> None:
        pair = [an_accept(name, dedupe_key=name.encode()) for _ in range(2)]
        outcomes = await asyncio.gather(_accept(one, pair[0]), _accept(two, pair[1]))
        assert {outcome.job_id for outcome in outcomes} == {outcomes[0].job_id}
        assert {outcome.status for outcome in outcomes} == {NotificationStatus.ACCEPTED, NotificationStatus.DUPLICATE}

    for number in range(0, 200, 4):  # a few at a time: some race alone, some as part of a batch
        await asyncio.gather(*(race(f"p-{number + part}") for part in range(4)))
    assert await count(one, jobs) == await count(one, notifications) == 200
    await one.close()
    await two.close()


async def test_two_nodes_that_hear_of_the_same_jobs_at_once_make_each_once(migrated_postgres_url: str) -> None:
    """Whole batches in opposite order: they meet in deadlocks and unique keys, and all are accepted all the same."""
    one, two = await open_database(migrated_postgres_url), await open_database(migrated_postgres_url)
    names = [f"p-{number}" for number in range(60)]
    calls = [_accept(one, an_accept(name)) for name in names]
    calls += [_accept(two, an_accept(name)) for name in reversed(names)]
    outcomes = await asyncio.gather(*calls)
    assert {outcome.status for outcome in outcomes} == {NotificationStatus.ACCEPTED}
    assert [outcome.job_id for outcome in outcomes[:60]] == [outcome.job_id for outcome in outcomes[:59:-1]]
    assert await count(one, jobs) == 60 and await count(one, notifications) == 120
    known = await one.read(lambda c: list(c.execute(select(jobs)).all()))
    assert {job_rows.read(row).provider_job_id for row in known} == set(names)
    await one.close()
    await two.close()
