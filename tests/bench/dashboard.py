"""`python -m tests.bench.dashboard [results]`: how long each page of the dashboard takes over a million results.

On SQLite, in this process, through the whole application. Exit 1 if a page that must be quick is not.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from relay import logs
from relay.clock import SystemClock
from relay.store import subscriptions, webhooks
from relay.store.database import Database
from tests.support.clock import START, FakeClock
from tests.support.dashboard import Dashboard, dashboard_of
from tests.support.management import open_management

RESULTS: Final = 1_000_000
MOST_MS: Final = 150.0
ROUNDS: Final = 7
WEBHOOKS: Final = 20
SUBSCRIPTIONS: Final = 20
OPEN: Final = 2000  # jobs that wait
EVERY_MS: Final = 2000  # a result

# i counts back from the newest; 1 job in 10,000 has expired, 1 delivery in 1,000 is exhausted, the newest 500 wait.
_NUMBERS: Final = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :count - 1)"
_ID: Final = "printf('%012x%020x', :now - i * :every, i)"
FILL: Final[Mapping[str, str]] = {
    "jobs": f"""{_NUMBERS} INSERT INTO jobs (id, webhook_id, provider_job_id, status, metadata, deadline, give_up_at,
        created_at, notified_at, completed_at, result_id, tracked, attempts, step, claims, due_at)
        SELECT 'job_' || {_ID}, printf('wh_%032x', i % :webhooks), 'req_' || i,
        CASE WHEN i < :open THEN 'waiting' WHEN i % 10000 = 7 THEN 'expired' ELSE 'completed' END, '{{}}',
        :now - i * :every + 7200000, :now + 90000000, :now - i * :every, :now - i * :every, NULL,
        CASE WHEN i >= :open THEN 'res_' || {_ID} END, 0, 1, 0, 0, CASE WHEN i < :open THEN :now - i END FROM n""",
    "results": f"""{_NUMBERS} INSERT INTO results (id, job_id, webhook_id, status, error, metadata, content_type,
        size_bytes, sha256, fetched_at)
        SELECT 'res_' || {_ID}, 'job_' || {_ID}, printf('wh_%032x', i % :webhooks),
        CASE WHEN i % 10000 = 7 THEN 'expired' ELSE 'completed' END, CASE WHEN i % 10000 = 7 THEN 'gone' END, '{{}}',
        'application/json', 400, NULL, :now - i * :every FROM n""",
    "deliveries": f"""{_NUMBERS} INSERT INTO deliveries (id, result_id, subscription_id, message_id, status, attempts,
        created_at, last_error, due_at)
        SELECT 'dlv_' || {_ID}, 'res_' || {_ID}, printf('sub_%032x', i % :subscriptions), 'res_' || {_ID},
        CASE WHEN i < 500 THEN 'pending' WHEN i % 1000 = 7 THEN 'exhausted' ELSE 'delivered' END,
        CASE WHEN i % 1000 = 7 THEN 10 ELSE 1 END, :now - i * :every,
        CASE WHEN i < 500 OR i % 1000 = 7 THEN 'http_50' || (i % 3) END, CASE WHEN i < 500 THEN :now + i END FROM n""",
    "rollups": """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 20 * 12 * 2880 - 1)
        INSERT INTO rollups (span, minute, webhook_id, subscription_id, counter, amount)
        SELECT 1, :now / 60000 - i / 240, printf('wh_%032x', i % 20), '', 'notification.' || (i / 20 % 12), 9 FROM n
        UNION ALL SELECT 60, :now / 3600000 * 60 - i / 240 * 60, printf('wh_%032x', i % 20),
        printf('sub_%032x', i / 20 % 12), 'deliveries', 9 FROM n WHERE i < 240 * 720""",
}


async def fill(database: Database, count: int) -> None:
    """So many results with their jobs and deliveries, and two days of rollups by minute."""
    numbers = {"count": count, "now": START, "every": EVERY_MS, "webhooks": WEBHOOKS, "open": OPEN}
    numbers |= {"subscriptions": SUBSCRIPTIONS}
    for statement in FILL.values():
        given = {name: value for name, value in numbers.items() if f":{name}" in statement}
        await database.write(partial(_run, statement=statement, given=given))


def _run(conn: Connection, statement: str, given: Mapping[str, int]) -> None:
    conn.execute(text(statement), given)


async def register(dashboard: Dashboard) -> None:
    """Webhooks and subscriptions with the ids that the rows name."""
    management, seal = dashboard.management, dashboard.management.services.vault.seal
    webhook, subscription = await management.webhook(), await management.subscription()
    known = management.services.configuration.current
    first, second = known.webhooks[webhook["id"]], known.subscriptions[subscription["id"]]

    def store(conn: Connection) -> None:
        for number in range(WEBHOOKS):
            named = replace(first, id=f"wh_{number:032x}", name=f"webhook-{number}")
            webhooks.insert(conn, webhook=named, seal=seal)
        for number in range(SUBSCRIPTIONS):
            called = replace(second, id=f"sub_{number:032x}", name=f"subscription-{number}")
            subscriptions.insert(conn, subscription=called, seal=seal)

    await management.database.write(store)


def pages(count: int) -> list[str]:
    """What must be quick."""
    deep = f"job_{START - count // 2 * EVERY_MS:012x}{count // 2:020x}"
    return [
        "/ui/", "/ui/jobs", "/ui/jobs?status=waiting&status=fetching", "/ui/jobs?status=completed",
        "/ui/jobs?status=expired", "/ui/jobs?status=failed", f"/ui/jobs?webhook_id=wh_{3:032x}",
        f"/ui/jobs?status=expired&webhook_id=wh_{7:032x}",
        f"/ui/jobs?provider_job_id=req_{count // 2}", f"/ui/jobs/{deep}", "/ui/webhooks", f"/ui/webhooks/wh_{3:032x}",
        "/ui/subscriptions", f"/ui/subscriptions/sub_{3:032x}", f"/ui/subscriptions/sub_{7:032x}?status=exhausted",
        f"/ui/subscriptions/sub_{7:032x}?status=pending", "/ui/deliveries",
        "/ui/deliveries?status=exhausted", "/ui/deliveries?status=pending&status=cancelled",
        f"/ui/deliveries?subscription_id=sub_{3:032x}&created_before=2020-01-01T00:00:00Z",
        "/ui/problems", "/ui/replays", "/ui/metrics?range=1h",
        "/ui/metrics?range=24h", "/ui/metrics?range=7d", "/ui/settings",
    ]  # fmt: skip


async def run(count: int) -> bool:
    """Print a line for each page; whether all were quick."""
    with tempfile.TemporaryDirectory() as directory:
        clock, path = FakeClock(), Path(directory)
        management = await open_management(f"sqlite:///{path / 'relay.db'}", clock)
        dashboard = dashboard_of(management, path)
        await fill(management.database, count)
        await register(dashboard)
        await dashboard.sign_in()
        fine = True
        for page in pages(count):
            took = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                await dashboard.get(page)
                took.append((time.perf_counter() - began) * 1000)
            median = statistics.median(took)
            fine = fine and median <= MOST_MS
            print(f"{median:8.1f} ms  {'' if median <= MOST_MS else 'TOO SLOW  '}{page}")
        await dashboard.client.aclose()
        await management.close()
        return fine


if __name__ == "__main__":
    logs.configure(format="console", level="warning", clock=SystemClock())
    given = int(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    sys.exit(0 if asyncio.run(run(given)) else 1)
