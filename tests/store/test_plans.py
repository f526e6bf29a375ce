from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, event, text, update

from relay.clock import Instant
from relay.store import backlog
from relay.store.database import Database, open_database
from relay.store.pulling import waiting
from relay.store.queue import QueueTable, claim, due, due_in_lane, extend, next_due_at
from relay.store.schema import deliveries
from tests.support.store import DELIVERY_QUEUE, HOUR, JOB_QUEUE, LATER, NOW

DUE = 100_000
SETTLED = 20_000
LANES = 20
ENOUGH_MS = 40.0  # a scan or a sort of the backlog takes hundreds

JOBS = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :total)
INSERT INTO jobs (id, webhook_id, status, metadata, deadline, give_up_at, created_at, tracked, attempts, step, claims,
                  due_at)
SELECT 'job_' || CAST(100000000 + i AS TEXT), 'wh_' || CAST(i % :lanes AS TEXT), 'fetching', '{}',
       :now + (i * 7919) % 7200000, :now + 90000000, :now - i, :no, 0, 0, 0, CASE WHEN i <= :due THEN :now - i END
FROM n
"""
DELIVERIES = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :total)
INSERT INTO deliveries (id, result_id, subscription_id, message_id, status, created_at, due_at)
SELECT 'dlv_' || CAST(100000000 + i AS TEXT), 'res_' || CAST(i AS TEXT), 'sub_' || CAST(i % :lanes AS TEXT),
       'res_' || CAST(i AS TEXT), CASE WHEN i <= :due THEN 'pending' ELSE 'delivered' END, :now - i,
       CASE WHEN i <= :due THEN :now - i END
FROM n
"""


PULLED = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :total)
INSERT INTO deliveries (id, result_id, subscription_id, message_id, status, created_at, pull_at)
SELECT 'dlv_' || CAST(200000000 + i AS TEXT), 'res_' || CAST(i AS TEXT), 'sub_pull_' || CAST(i % 2 AS TEXT),
       'res_' || CAST(i AS TEXT), CASE WHEN i <= :due THEN 'pending' ELSE 'delivered' END, :now - i,
       CASE WHEN i <= :due THEN :now - i END
FROM n
"""


async def _filled(database: Database) -> None:
    for statement in (JOBS, DELIVERIES, PULLED):  # one by one: a transaction may not last for ever
        await database.write(partial(_fill_one, statement=statement))


def _fill_one(connection: Connection, statement: str, waiting: int = DUE, settled: int = SETTLED) -> None:
    numbers = {"total": waiting + settled, "due": waiting, "lanes": LANES, "now": NOW}
    postgres = connection.dialect.name == "postgresql"
    for name, value in {**numbers, "no": False}.items():  # literals: the driver would have to guess so many types
        literal = str(value).lower() if postgres else str(int(value))
        statement = statement.replace(f":{name}", literal)
    connection.execute(text(statement))


@pytest.fixture
async def full_sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    database = await open_database(sqlite_url)
    await _filled(database)
    yield database
    await database.close()


@pytest.fixture
async def full_postgres(fresh_postgres_url: str) -> AsyncIterator[Database]:
    database = await open_database(fresh_postgres_url)
    await _filled(database)
    connection = await asyncpg.connect(fresh_postgres_url)
    await connection.execute("VACUUM ANALYZE jobs")
    await connection.execute("VACUUM ANALYZE deliveries")
    await connection.close()
    yield database
    await database.close()


def _explained(connection: Connection, fn: Callable[[Connection], object]) -> tuple[str, float]:
    """The plan of the one statement that `fn` executes, and how long `fn` takes the second time, in milliseconds."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        seen.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    fn(connection)
    event.remove(connection, "before_cursor_execute", note)
    ((statement, parameters),) = seen
    word = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    rows = connection.exec_driver_sql(f"{word} {statement}", parameters).all()
    best = min(_timed(connection, fn) for _ in range(5))
    return "\n".join(str(row[-1]) for row in rows), best


def _timed(connection: Connection, fn: Callable[[Connection], object]) -> float:
    began = time.perf_counter()
    fn(connection)
    return (time.perf_counter() - began) * 1000


def _queries(queue: QueueTable, lane: str, prefix: str) -> dict[str, Callable[[Connection], object]]:
    ids = [f"{prefix}_{100000000 + number * 997}" for number in range(1, 51)]
    return {
        "due": partial(due, queue=queue, now=NOW, limit=500),
        "due_in_lane": partial(due_in_lane, queue=queue, lane=lane, now=NOW, limit=200),
        "next_due_at": partial(next_due_at, queue=queue, now=Instant(NOW - HOUR)),
        "backlog": partial(backlog.waiting, due_at=queue.table.c.due_at, now=NOW),
        "nothing_due": partial(next_due_at, queue=queue, now=NOW),
        "claim": partial(claim, table=queue.table, ids=ids, now=NOW, lease_until=LATER),
    }


SQLITE_PLANS = {
    ("jobs", "due"): "USING COVERING INDEX ix_jobs_due (due_at<?)",
    ("jobs", "due_in_lane"): "USING COVERING INDEX ix_jobs_deadline (webhook_id=?)",
    ("jobs", "next_due_at"): "USING COVERING INDEX ix_jobs_due (due_at>?)",
    ("jobs", "backlog"): "USING COVERING INDEX ix_jobs_due (due_at<?)",
    ("jobs", "at_risk"): "USING COVERING INDEX ix_jobs_deadline (webhook_id=?",
    ("deliveries", "backlog"): "USING COVERING INDEX ix_deliveries_due (due_at<?)",
    ("jobs", "nothing_due"): "USING COVERING INDEX ix_jobs_due (due_at>?)",
    ("jobs", "claim"): "USING INDEX sqlite_autoindex_jobs_1 (id=?)",
    ("deliveries", "due"): "USING COVERING INDEX ix_deliveries_due (due_at<?)",
    ("deliveries", "due_in_lane"): "USING COVERING INDEX ix_deliveries_lane (subscription_id=? AND due_at<?)",
    ("deliveries", "next_due_at"): "USING COVERING INDEX ix_deliveries_due (due_at>?)",
    ("deliveries", "nothing_due"): "USING COVERING INDEX ix_deliveries_due (due_at>?)",
    ("deliveries", "claim"): "USING INDEX sqlite_autoindex_deliveries_1 (id=?)",
}


async def _plans(database: Database) -> dict[tuple[str, str], tuple[str, float]]:
    found = {}
    for queue, lane, prefix in ((JOB_QUEUE, "wh_7", "job"), (DELIVERY_QUEUE, "sub_7", "dlv")):
        for name, query in _queries(queue, lane, prefix).items():
            explained = partial(_explained, fn=query)
            found[(queue.table.name, name)] = await database.write(explained)
    everywhere = [f"wh_{number}" for number in range(LANES)]
    risk = partial(backlog.at_risk, now=NOW, webhook_ids=everywhere)
    found[("jobs", "at_risk")] = await database.write(partial(_explained, fn=risk))
    return found


async def test_sqlite_finds_work_by_covering_indexes_alone(full_sqlite: Database) -> None:
    for key, (plan, milliseconds) in (await _plans(full_sqlite)).items():
        assert SQLITE_PLANS[key] in plan, (key, plan)
        assert key[1] == "at_risk" or "TEMP B-TREE" not in plan, (key, plan)  # a sort; that one groups what is near
        assert f"SCAN {key[0]}" not in plan, (key, plan)
        assert milliseconds < ENOUGH_MS, (key, milliseconds)
    await _messages_are_found_by_an_index_and_leased_by_key(full_sqlite, "sqlite")


async def test_postgresql_finds_work_by_indexes_alone(full_postgres: Database) -> None:
    for key, (plan, milliseconds) in (await _plans(full_postgres)).items():
        table, query = key
        index = f"pk_{table}" if query == "claim" else ("_deadline" if table == "jobs" else "_lane")
        wanted = {"due_in_lane": index, "claim": index, "at_risk": "_deadline"}.get(query, f"ix_{table}_due")
        assert wanted in plan, (key, plan)
        assert f"Seq Scan on {table}" not in plan, (key, plan)
        if query == "at_risk":  # those near their deadline are grouped
            assert "Index" in plan, (key, plan)
        elif query != "claim":  # fifty rows are sorted so that all lock them in one order
            assert "Index Only Scan" in plan and "Sort" not in plan, (key, plan)
        assert milliseconds < ENOUGH_MS, (key, milliseconds)
    await _messages_are_found_by_an_index_and_leased_by_key(full_postgres, "postgresql")


async def _updates(url: str, *, index_the_lease: bool) -> tuple[int, int]:
    """Claim two hundred deliveries and beat five times for them: how many updates that was, and how many were HOT."""
    database = await open_database(url)
    await database.write(partial(_fill_one, statement=DELIVERIES, waiting=10_000, settled=0))
    if index_the_lease:
        await database.write(lambda c: c.execute(text("CREATE INDEX ix_wrong ON deliveries (lease_until)")))
    ids = [f"dlv_{100000000 + number * 49}" for number in range(1, 201)]
    rows = await database.write(partial(claim, table=deliveries, ids=ids, now=NOW, lease_until=LATER))
    claims = [(row.id, row.claims) for row in rows]
    for beat in range(1, 6):
        until = Instant(LATER + beat * 10_000)
        assert len(await database.write(partial(extend, table=deliveries, claims=claims, lease_until=until))) == 200
    await database.close()  # its connections report what they did when they end
    connection = await asyncpg.connect(url)
    query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'deliveries'"
    try:
        while (row := await connection.fetchrow(query))["n_tup_upd"] < 1200:
            await connection.execute("SELECT pg_sleep(0.05), pg_stat_clear_snapshot()")
    finally:
        await connection.close()
    return row["n_tup_upd"], row["n_tup_hot_upd"]


async def test_claims_and_heartbeats_stay_hot(fresh_postgres_url: str) -> None:
    """No index is touched by them: `lease_until` and `claims` are in none, and pages have room for the new version."""
    updates, hot = await _updates(fresh_postgres_url, index_the_lease=False)
    assert updates == 1200 and hot >= 1150


async def test_with_the_lease_in_an_index_no_heartbeat_would_be_hot(fresh_postgres_url: str) -> None:
    """The test above can fail."""
    assert await _updates(fresh_postgres_url, index_the_lease=True) == (1200, 0)


def _pull_queries() -> dict[str, Callable[[Connection], object]]:
    ids = [f"dlv_{200000000 + number * 997}" for number in range(1, 51)]
    moved = {"pull_at": LATER, "claims": deliveries.c.claims + 1}
    take = update(deliveries).where(deliveries.c.id.in_(ids), deliveries.c.pull_at <= NOW).values(moved)
    return {
        "waiting": partial(waiting, subscription_id="sub_pull_1", now=NOW, limit=100),
        "lease": lambda connection: connection.execute(take),
    }


PULL_PLANS = {
    "sqlite": {
        "waiting": "USING INDEX ix_deliveries_pull (subscription_id=? AND pull_at<?)",
        "lease": "USING INDEX sqlite_autoindex_deliveries_1 (id=?)",
    },
    "postgresql": {"waiting": "ix_deliveries_pull", "lease": "pk_deliveries"},
}


async def _messages_are_found_by_an_index_and_leased_by_key(full: Database, kind: str) -> None:
    for name, query in _pull_queries().items():
        plan, milliseconds = await full.write(partial(_explained, fn=query))
        assert PULL_PLANS[kind][name] in plan, (name, plan)
        for slow in ("TEMP B-TREE", "SCAN deliveries", "Seq Scan on deliveries"):
            assert slow not in plan, (name, plan)
        assert milliseconds < ENOUGH_MS, (name, milliseconds)
