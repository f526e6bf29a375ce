"""What people who watch are told of the queues."""

from __future__ import annotations

from functools import partial

import pytest

from relay.clock import after
from relay.store import backlog
from relay.store.backlog import Waiting
from relay.store.database import Database
from tests.support.store import HOUR, NOW, WEBHOOK_ID, a_delivery, a_job, put_deliveries, put_jobs

OTHER = "wh_" + "e" * 32


async def test_what_is_due_and_for_how_long(database: Database) -> None:
    assert await database.read(partial(backlog.read, now=NOW, webhook_ids=[])) == backlog.Backlog(
        Waiting(0, 0.0), Waiting(0, 0.0), {}
    )
    await put_jobs(
        database, a_job(due_at=after(NOW, -90)), a_job(due_at=NOW), a_job(due_at=after(NOW, 1)), a_job(due_at=None)
    )
    await put_deliveries(database, a_delivery(due_at=after(NOW, -7)), a_delivery(due_at=after(NOW, 3600)))
    found = await database.read(partial(backlog.read, now=NOW, webhook_ids=[WEBHOOK_ID]))
    assert (found.jobs, found.deliveries) == (Waiting(2, 90.0), Waiting(1, 7.0))


async def test_a_job_is_at_risk_while_its_deadline_is_near_and_its_result_is_not_here(database: Database) -> None:
    near = backlog.AT_RISK_SECONDS
    await put_jobs(
        database,
        a_job(deadline=after(NOW, near)),
        a_job(deadline=after(NOW, 1), due_at=after(NOW, HOUR)),  # it waits for its turn: at risk all the same
        a_job(deadline=after(NOW, near + 1)),
        a_job(deadline=NOW),  # over
        a_job(deadline=after(NOW, 1), due_at=None),  # settled
        a_job(deadline=after(NOW, 1), webhook_id=OTHER),
    )
    found = await database.read(partial(backlog.read, now=NOW, webhook_ids=[WEBHOOK_ID, OTHER]))
    assert found.at_risk == {WEBHOOK_ID: 2, OTHER: 1}
    assert (await database.read(partial(backlog.at_risk, now=NOW, webhook_ids=[OTHER]))) == {OTHER: 1}


async def test_counting_has_an_end(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "COUNTED_TO", 3)
    await put_jobs(database, *(a_job(due_at=after(NOW, -number), deadline=after(NOW, 9)) for number in range(5)))
    found = await database.read(partial(backlog.read, now=NOW, webhook_ids=[WEBHOOK_ID]))
    assert found.jobs == Waiting(3, 4.0)
    assert found.at_risk == {WEBHOOK_ID: 3}
