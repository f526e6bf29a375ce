"""Lists: pages hold every row once, times bound them, and indexes serve them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, text

from relay.clock import Instant
from relay.model import (
    DELIVERY,
    JOB,
    DeliveryStatus,
    NotificationStatus,
    lowest_id,
    new_id,
)
from relay.store import (
    deliveries,
    jobs,
    notifications,
    results,
    schema,
)
from relay.store.bulk import insert_many
from relay.store.database import Database, open_database
from relay.store.migrate import upgrade
from relay.store.rows import Connection, Window
from tests.support import noun_rows as make
from tests.support.clock import START

NOW = START


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    await upgrade(database_url)
    opened = await open_database(database_url)
    yield opened
    await opened.close()


async def test_pages_of_any_size_hold_every_row_once(database: Database) -> None:
    made = [make.job("wh_1", Instant(NOW + number)) for number in range(10)]
    await database.write(lambda conn: make.put(conn, *made))
    newest_first = [item.id for item in reversed(made)]
    for limit in (1, 3, 5, 10, 11):
        seen: list[str] = []
        before_id, more = None, True
        while more:
            page = await database.read(partial(jobs.page, window=Window(limit=limit, before_id=before_id)))
            seen += [item.id for item in page.items]
            before_id, more = page.items[-1].id, page.more
        assert seen == newest_first, limit


async def test_a_bound_in_time_is_a_bound_in_ids(database: Database) -> None:
    made = [make.job("wh_1", Instant(NOW + number)) for number in range(5)]
    await database.write(lambda conn: make.put(conn, *made))

    async def listed(window: Window) -> list[int]:
        page = await database.read(partial(jobs.page, window=window))
        return [item.created_at - NOW for item in page.items]

    assert await listed(Window(created_after=Instant(NOW + 3))) == [4, 3]
    assert await listed(Window(created_before=Instant(NOW + 2))) == [1, 0]
    assert await listed(Window(created_after=Instant(NOW + 1), created_before=Instant(NOW + 3))) == [2, 1]
    assert await listed(Window(created_after=Instant(-(10**15)), created_before=Instant(10**18))) == [4, 3, 2, 1, 0]


def test_the_lowest_id_of_an_instant_is_not_above_any_id_made_then() -> None:
    for number in range(50):
        now = Instant(NOW + number)
        assert lowest_id(JOB, now) <= new_id(JOB, now) < lowest_id(JOB, Instant(now + 1))
        assert len(lowest_id(JOB, now)) == len(new_id(JOB, now))


async def test_lists_are_served_by_indexes(database: Database, database_url: str) -> None:
    """Every list of the API, as the planner sees it with 3,000 rows: none is a scan of the whole table with a sort."""

    def put_many(conn: Connection, first: int) -> None:
        stored = [
            make.result(
                f"job_{number}", f"wh_{number % 50}", Instant(NOW + number), matched=0 if number % 500 == 0 else 2
            )
            for number in range(first, first + 500)
        ]
        insert_many(conn, schema.results, results.COLUMNS, [results.to_row(item) for item in stored])
        for number in range(first, first + 500):
            now = Instant(NOW + number)
            odd = number % 500 == 0
            status = DeliveryStatus.EXHAUSTED if odd else DeliveryStatus.DELIVERED
            replay_id = f"rpl_{number % 7}" if odd else None
            made = make.delivery(
                f"res_{number}", f"sub_{number % 50}", now, status=status, due_at=None, replay_id=replay_id
            )
            make.put_delivery(conn, made)
            one = make.notification(f"wh_{number % 50}", now, job_id=f"job_{number}")
            if odd:
                one = replace(one, status=NotificationStatus.REJECTED)
            make.put_notification(conn, one)

    for first in range(0, 3000, 500):
        await database.write(partial(put_many, first=first))
    explain = "EXPLAIN QUERY PLAN "
    if not database_url.startswith("sqlite"):
        explain = "EXPLAIN "
        await database.write(lambda conn: conn.execute(text("ANALYZE")))
    wanted: dict[str, Callable[[Connection], Any]] = {
        "ix_deliveries_odd": partial(deliveries.page, status=(DeliveryStatus.EXHAUSTED,)),
        "ix_deliveries_subscription": partial(deliveries.page, subscription_id="sub_7"),
        "ix_deliveries_replay": partial(deliveries.page, replay_id="rpl_0"),
        "uq_deliveries_result": partial(deliveries.page, result_id="res_7"),
        "ix_results_unrouted": partial(results.page, unrouted=True),
        "ix_notifications_odd": partial(notifications.page, status=(NotificationStatus.REJECTED,)),
        "ix_notifications_webhook": partial(notifications.page, webhook_id="wh_7"),
        "ix_notifications_job": partial(notifications.page, job_id="job_7"),
    }
    for index, query in wanted.items():
        assert index in await plan_of(database, explain, query), index
    newest = partial(deliveries.page, window=Window(created_after=NOW, before_id=lowest_id(DELIVERY, Instant(NOW + 9))))
    plan = await plan_of(database, explain, newest)
    assert "SORT" not in plan.upper() and "TEMP B-TREE" not in plan, plan


async def plan_of(database: Database, explain: str, query: Callable[[Connection], Any]) -> str:
    """The plan of the first statement that `query` runs."""

    def run(conn: Connection) -> str:
        statements: list[tuple[str, Any]] = []

        def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
            statements.append((statement, parameters))

        event.listen(conn, "before_cursor_execute", note)
        query(conn)
        event.remove(conn, "before_cursor_execute", note)
        statement, parameters = statements[0]
        return "\n".join(str(tuple(row)) for row in conn.exec_driver_sql(explain + statement, parameters))

    return await database.read(run)
