"""Every list of the API is served by an index that is in order, or by one that leaves next to nothing to sort.

`make bench ARGS=lists` measures the same lists over a million results.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, text

from relay.clock import Instant
from relay.model import DeliveryStatus, JobStatus, NotificationStatus
from relay.store import deliveries, jobs, notifications, results
from relay.store.database import Database, open_database
from relay.store.rows import Connection, Window
from tests.support import crowd
from tests.support.clock import START

TOTAL = 6000
RARE = crowd.webhook(crowd.WEBHOOKS - 1)
SUB = crowd.subscription(crowd.SUBSCRIPTIONS)  # of which the statistics know nothing
RESULT, JOB = "res_" + "1" * 32, "job_" + "1" * 32
OLD = Window(created_after=Instant(START - 19 * crowd.DAY), created_before=Instant(START - 12 * crowd.DAY))
ENDED = (DeliveryStatus.EXHAUSTED,)

Query = Callable[[Connection], Any]
SERVED: dict[str, list[Query]] = {
    "ix_jobs_webhook": [partial(jobs.page, webhook_id=RARE)],
    "ix_jobs_odd": [
        partial(jobs.page, status=(JobStatus.EXPIRED,)),
        partial(jobs.page, status=(JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.WAITING)),
        partial(jobs.page, status=(JobStatus.FAILED,), window=OLD),
    ],
    "ix_jobs_webhook_odd": [partial(jobs.page, status=(JobStatus.FAILED,), webhook_id=RARE)],
    "ix_jobs_due": [partial(jobs.page, status=(JobStatus.FETCHING,))],
    "pk_jobs": [partial(jobs.page, window=OLD), partial(jobs.page, status=(JobStatus.COMPLETED,))],
    "ix_results_webhook": [partial(results.page, webhook_id=RARE)],
    "ix_results_odd": [partial(results.page, status=(JobStatus.FAILED, JobStatus.EXPIRED))],
    "ix_results_webhook_odd": [partial(results.page, status=(JobStatus.FAILED,), webhook_id=RARE)],
    "ix_results_job": [partial(results.page, job_id=JOB)],
    "ix_deliveries_odd": [
        partial(deliveries.page, status=(DeliveryStatus.EXHAUSTED, DeliveryStatus.CANCELLED)),
        partial(deliveries.page, status=(DeliveryStatus.PENDING,)),
    ],
    "ix_deliveries_subscription": [partial(deliveries.page, subscription_id=SUB)],
    "ix_deliveries_subscription_odd": [
        partial(deliveries.page, subscription_id=SUB, status=ENDED, window=OLD),
        partial(deliveries.page, subscription_id=SUB, status=(DeliveryStatus.PENDING,)),
    ],
    "ix_deliveries_replay": [
        partial(deliveries.page, replay_id=crowd.REPLAY),
        partial(deliveries.page, replay_id=crowd.REPLAY, status=ENDED),
    ],
    "uq_deliveries_result": [
        partial(deliveries.page, result_id=RESULT),
        partial(deliveries.page, result_id=RESULT, status=ENDED),
        partial(deliveries.page, result_id=RESULT, status=(DeliveryStatus.PENDING,)),
    ],
    "ix_notifications_odd": [partial(notifications.page, status=(NotificationStatus.REJECTED,))],
    "ix_notifications_webhook": [partial(notifications.page, webhook_id=RARE)],
    "ix_notifications_webhook_odd": [
        partial(notifications.page, webhook_id=RARE, status=(NotificationStatus.REJECTED,))
    ],
    "ix_notifications_job": [partial(notifications.page, job_id=JOB)],
}
IN_ORDER = [name for name in SERVED if name.endswith(("_odd", "_webhook", "_subscription", "_replay"))]


@pytest.fixture(params=["sqlite_url", "fresh_postgres_url"])
async def crowded(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    url: str = request.getfixturevalue(request.param)
    await crowd.fill(url, TOTAL, START)
    database = await open_database(url)
    yield database
    await database.close()


async def test_every_list_has_its_index(crowded: Database) -> None:
    for index, queries in SERVED.items():
        for query in queries:
            for plan in await crowded.write(partial(_plans, query=query)):
                name = index
                if crowded.is_sqlite:
                    name = index.replace("pk_jobs", "sqlite_autoindex_jobs_1")
                    assert index not in IN_ORDER or "TEMP B-TREE" not in plan, (index, plan)
                elif index in IN_ORDER:
                    assert "Sort" not in plan, (index, plan)
                assert f"{name} " in plan, (index, query, plan)


async def test_pages_over_several_states_are_one_list(crowded: Database) -> None:
    """Merged from an index for each state, page by page: the same rows in the same order as all of them at once."""
    wanted = (DeliveryStatus.EXHAUSTED, DeliveryStatus.PENDING, DeliveryStatus.CANCELLED)
    every = await crowded.read(partial(deliveries.page, status=wanted, window=Window(limit=10_000)))
    assert {item.status for item in every.items} == set(wanted) and not every.more
    seen: list[str] = []
    more, before_id = True, None
    while more:
        page = await crowded.read(partial(deliveries.page, status=wanted, window=Window(limit=37, before_id=before_id)))
        seen += [item.id for item in page.items]
        before_id, more = page.items[-1].id, page.more
    assert seen == sorted((item.id for item in every.items), reverse=True)
    assert len(set(seen)) == len(seen)


def _plans(connection: Connection, query: Query) -> list[str]:
    """The plans of the statements that `query` runs."""
    seen: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        seen.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    query(connection)
    event.remove(connection, "before_cursor_execute", note)
    sqlite = connection.dialect.name == "sqlite"
    if not sqlite:  # so few rows are read faster than any index; a million are not
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
    explain = "EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN "
    return [
        "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement, parameters)) + " "
        for statement, parameters in seen
    ]
