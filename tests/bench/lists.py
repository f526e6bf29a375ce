"""Every list of the API over a million results and three million deliveries (in the long setting), on both databases.

The requests go through the whole management API, in this process; the database is filled by `tests.support.crowd`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from relay.clock import Instant, rfc3339
from relay.store.migrate import upgrade
from tests.bench.report import Line
from tests.bench.rig import RigError
from tests.bench.scale import Scale
from tests.support import crowd
from tests.support.clock import START, FakeClock
from tests.support.management import Management, open_management
from tests.support.postgres import PostgresServer

ENOUGH_MS: Final = 100.0
ROUNDS: Final = 3
DATABASES: Final = ("sqlite", "postgresql")


def queries() -> list[str]:
    """Each filter alone, and the pairs that people ask for; the rare among the many."""
    rare, usual = crowd.webhook(crowd.WEBHOOKS - 1), crowd.webhook(3)
    sub = crowd.subscription(7)
    middle = rfc3339(Instant(START - crowd.DAYS * crowd.DAY // 2))
    old = f"created_after={rfc3339(Instant(START - 19 * crowd.DAY))}&created_before={middle}"
    found = [f"/v1/{noun}?{old}" for noun in ("jobs", "results", "deliveries", "notifications")]
    found += [f"/v1/{noun}?limit=200" for noun in ("jobs", "results", "deliveries", "notifications")]
    for webhook in (rare, usual):
        found += [f"/v1/{noun}?webhook_id={webhook}" for noun in ("jobs", "results", "notifications")]
        found += [f"/v1/jobs?webhook_id={webhook}&status={state}" for state in ("failed", "expired", "fetching")]
        found += [f"/v1/results?webhook_id={webhook}&type={kind}" for kind in ("result.expired", "result.completed")]
        found += [f"/v1/notifications?webhook_id={webhook}&status=rejected"]
    states = ("waiting", "fetching", "completed", "failed", "cancelled", "expired", "failed,expired,cancelled")
    found += [f"/v1/jobs?status={state}" for state in states]
    found += [f"/v1/jobs?status=failed&{old}", "/v1/jobs?provider_job_id=p12345", "/v1/jobs?provider_job_id=nothing"]
    found += [f"/v1/results?type=result.{state}" for state in states[2:6]]
    found += ["/v1/results?type=result.failed,result.expired", "/v1/notifications?status=rejected"]
    found += ["/v1/notifications?status=ignored,unprocessable"]
    for state in ("pending", "delivered", "exhausted", "cancelled", "exhausted,cancelled"):
        found += [f"/v1/deliveries?{more}status={state}" for more in ("", f"subscription_id={sub}&")]
        found += [f"/v1/deliveries?replay_id={crowd.REPLAY}&status={state}"]
    found += [f"/v1/deliveries?subscription_id={sub}", f"/v1/deliveries?replay_id={crowd.REPLAY}"]
    found += [f"/v1/deliveries?subscription_id={sub}&status=exhausted&{old}"]
    return [*found, "/v1/stats", "/v1/replays"]


async def _of_one(api: Management) -> list[str]:
    """The lists of what belongs to one result."""
    result = (await api.client.get("/v1/results?type=result.failed")).json()["data"][-1]
    found = [f"/v1/deliveries?result_id={result['id']}", f"/v1/deliveries?job_id={result['job_id']}"]
    found += [f"/v1/results?job_id={result['job_id']}", f"/v1/notifications?job_id={result['job_id']}"]
    return [*found, f"/v1/deliveries?result_id={result['id']}&status=delivered"]


async def measure(url: str, total: int) -> dict[str, float]:
    """Milliseconds of each query, the best of a few. Raises RigError for one that is not answered."""
    await upgrade(url)
    await crowd.fill(url, total, START)
    api = await open_management(url, FakeClock(), migrate=False)
    try:
        return {path: await _best(api, path) for path in [*queries(), *await _of_one(api)]}
    finally:
        await api.close()


async def _best(api: Management, path: str) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answer = await api.client.get(path)
        taken.append((time.perf_counter() - began) * 1000)
        if answer.status_code != 200:
            raise RigError(f"{path}: {answer.status_code} {answer.text}")
    return min(taken)


@contextmanager
def _database(kind: str) -> Iterator[str]:
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="relay-bench-") as directory:
            yield f"sqlite:///{Path(directory, 'relay.db')}"
    else:
        with PostgresServer() as server:
            yield server.create_database()


def run(scale: Scale) -> list[Line]:
    """The slowest list on either database."""
    lines = []
    for kind in DATABASES:
        with _database(kind) as url:
            times = asyncio.run(measure(url, scale.list_results))
        slowest = max(times, key=lambda path: times[path])
        lines.append(
            Line(
                name=f"slowest list, {kind}",
                measured=times[slowest],
                unit="ms",
                judged=times[slowest],
                target=ENOUGH_MS,
                at_least=False,
                note=f"of {len(times)}, {scale.list_results:,} results: {slowest[:60]}",
            )
        )
    return lines
