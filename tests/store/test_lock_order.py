"""Transactions of several nodes that lock the same rows do so in one order: PostgreSQL ends a deadlock after a second
in which nobody stores anything, and one of the two begins anew."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Connection

from relay.model import DeliveryStatus, Replay, ReplayStatus
from relay.store import configuration, queue, replaying, replays, results, schema, subscriptions
from relay.store.bulk import insert_many
from relay.store.database import Database, open_database
from relay.store.settlement import DeliverySettlement, settle_deliveries
from tests.support.store import (
    LATER,
    NOW,
    a_delivery,
    a_job,
    a_result,
    a_subscription,
    hold_until,
    put_deliveries,
    put_jobs,
    seal,
)

Work = Callable[[Connection], object]


async def _times_tried(url: str, first: Work, second: Work) -> list[int]:
    """`first` holds the configuration and then does its work; `second` begins meanwhile. How often each was run."""
    one, two = await open_database(url), await open_database(url)
    begun, released, loop = asyncio.Event(), threading.Event(), asyncio.get_running_loop()
    tried = [0, 0]

    def hold_and_work(connection: Connection) -> None:
        tried[0] += 1
        configuration.held_version(connection)
        loop.call_soon(begun.set)
        hold_until(connection, released)
        first(connection)

    def work(connection: Connection) -> None:
        tried[1] += 1
        second(connection)

    holding = asyncio.ensure_future(one.write(hold_and_work))
    await begun.wait()
    working = asyncio.ensure_future(two.write(work))
    await asyncio.wait([working], timeout=0.3)
    assert not working.done(), "it waits for the configuration"
    released.set()
    await asyncio.gather(holding, working)
    await one.close()
    await two.close()
    return tried


@pytest.fixture
async def filled(migrated_postgres_url: str) -> str:
    """With a replay, one of its deliveries being sent, and a result whose job is to be asked for once more."""
    database: Database = await open_database(migrated_postgres_url)
    replay = Replay(
        id="rpl_1", status=ReplayStatus.RUNNING, filter={}, subscription_ids=None, mode="all", new_message_id=False,
        rate_per_second=None, created_at=NOW, cursor=None, upper_id="", total=1, planned=False,
    )  # fmt: skip
    await database.write(partial(replays.insert, replay=replay))
    await database.write(partial(subscriptions.insert, subscription=a_subscription(id="sub_1"), seal=seal))
    await put_jobs(database, a_job(id="job_1", claims=1, lease_until=LATER))
    stored = results.to_row(a_result(a_job(id="job_1"), id="res_1"))
    await database.write(lambda c: insert_many(c, schema.results, results.COLUMNS, [stored]))
    sending = {"replay_id": "rpl_1", "subscription_id": "sub_1", "claims": 1, "lease_until": LATER}
    await put_deliveries(database, a_delivery(id="dlv_1", result_id="res_1", **sending))
    await database.close()
    return migrated_postgres_url


async def test_who_disables_a_subscription_and_who_plans_a_replay_do_not_block_each_other(filled: str) -> None:
    gone = DeliverySettlement(
        delivery_id="dlv_1", claims=1, now=LATER, status=DeliveryStatus.EXHAUSTED, due_at=None, attempt=None,
        disable_subscription="sub_1", disable_reason="answered 410 Gone",
    )  # fmt: skip
    plan = partial(replaying.locked, replay_id="rpl_1")
    assert await _times_tried(filled, plan, partial(settle_deliveries, items=[gone])) == [1, 1]


@pytest.mark.parametrize(
    "work",
    [partial(queue.held, table=schema.jobs, claims=[("job_1", 1)]), partial(replaying.locked, replay_id="rpl_1")],
    ids=["settles the job", "plans a replay"],
)
async def test_who_erases_a_result_blocks_nobody_who_stores_one(filled: str, work: Work) -> None:
    assert await _times_tried(filled, work, partial(results.erase, id="res_1", now=LATER)) == [1, 1]
