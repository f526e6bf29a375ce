"""What the dashboard reads at a glance: bounded, along indexes, whatever is stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, event

from relay.clock import Instant, after
from relay.model import DeliveryStatus, JobStatus
from relay.store import glance, rollups
from relay.store.database import Database
from tests.support.noun_rows import delivery, job, put, put_result, result
from tests.support.store import NOW

SHORT = re.compile(r"USING INDEX ix_(jobs|deliveries)_due$")  # only what waits is in it
LARGE = re.compile(r"\b(jobs|results|deliveries|notifications|attempts|rollups)\b")


def _plans(connection: Connection, fn: Callable[[Connection], object]) -> list[tuple[str, str]]:
    """Every statement that `fn` executes, with its plan."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        seen.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    fn(connection)
    event.remove(connection, "before_cursor_execute", note)
    made = []
    for statement, parameters in seen:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
        made.append((statement, "\n".join(str(row[-1]) for row in rows)))
    return made


@pytest.mark.parametrize(
    "fn",
    [
        partial(glance.running_out, webhook_ids=["wh_a", "wh_b"], limit=8),
        glance.oldest_due,
        partial(glance.pending, subscription_id="sub_a"),
        partial(glance.latest_of_subscription, subscription_id="sub_a", limit=40),
        partial(glance.of_results, result_ids=["res_a", "res_b"]),
        glance.troubles,
        partial(rollups.since, instant=NOW, span=1),
        partial(rollups.over_all, instant=NOW, span=60),
    ],
)
async def test_no_table_that_grows_is_scanned_or_sorted(sqlite_database: Database, fn: Callable[..., object]) -> None:
    for statement, plan in await sqlite_database.read(lambda connection: _plans(connection, fn)):
        for line in plan.splitlines():
            if line.startswith("SCAN") and LARGE.search(line):
                assert SHORT.search(line) and "LIMIT" in statement, f"{statement}\n{plan}"
            assert "TEMP B-TREE FOR ORDER" not in line, f"{statement}\n{plan}"


async def test_the_nearest_deadlines_over_all_webhooks(database: Database) -> None:
    jobs = [
        job(f"wh_{n % 2}", NOW, deadline=Instant(NOW + minutes * 60_000)) for n, minutes in enumerate((50, 10, 30, 5))
    ]
    settled = job("wh_0", NOW, deadline=Instant(NOW + 1), due_at=None, status=JobStatus.COMPLETED)
    await database.write(lambda conn: put(conn, settled, *jobs))
    found = await database.read(partial(glance.running_out, webhook_ids=["wh_0", "wh_1", "wh_2"], limit=3))
    assert [item.id for item in found] == [jobs[3].id, jobs[1].id, jobs[2].id]


async def test_counts_stop_somewhere(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "MOST_COUNTED", 2)
    waiting = [delivery(f"res_{n}", "sub_a", NOW) for n in range(5)]
    await database.write(lambda conn: put(conn, *waiting))
    assert await database.read(partial(glance.pending, subscription_id="sub_a")) == 3
    assert await database.read(partial(glance.pending, subscription_id="sub_b")) == 0


async def test_failures_that_look_alike_are_one_trouble(database: Database) -> None:
    over = {"status": DeliveryStatus.EXHAUSTED, "due_at": None, "attempts": 9}
    spent = [delivery(f"res_{n}", "sub_a", after(NOW, n), last_error="http_503", **over) for n in range(3)]
    other = delivery("res_9", "sub_a", after(NOW, 9), last_error="timeout", **over)
    again = delivery("res_9", "sub_b", after(NOW, 10), last_error="timeout", attempts=1)
    fresh = delivery("res_9", "sub_c", after(NOW, 11))
    expired = result("job_a", "wh_a", after(NOW, 20), status=JobStatus.EXPIRED, error="gone")
    failing = job("wh_a", after(NOW, 30), last_error="http_401", status=JobStatus.FETCHING)

    def store(conn: Connection) -> None:
        put(conn, *spent, other, again, fresh, failing)
        put_result(conn, expired)

    await database.write(store)
    found, complete = await database.read(glance.troubles)
    assert complete
    assert [(item.kind, item.target_id, item.error, item.count) for item in found] == [
        ("fetch", "wh_a", "http_401", 1),
        ("result", "wh_a", "expired: gone", 1),
        ("retrying", "sub_b", "timeout", 1),
        ("delivery", "sub_a", "timeout", 1),
        ("delivery", "sub_a", "http_503", 3),
    ]
    assert found[-1].result_ids == ("res_2", "res_1", "res_0")
    assert (found[-1].first_id, found[-1].last_id) == (spent[0].id, spent[2].id)
