"""`python -m tests.crash.replay [--results N]`: kill the relay in the middle of a replay; exit 1 if it shows.

Each result gets exactly one delivery for each subscription, none is missed, and what is counted goes on where it was.
RELAY_CRASH=long replays 100,000 results instead of 5,000.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, get_args

from sqlalchemy import func, select

from relay.clock import Instant
from relay.store.database import open_database
from relay.store.rows import Connection
from relay.store.schema import deliveries
from tests.crash.rig import Api, CrashError, run_main, wait_until
from tests.crash.world import PATHS, Kind, World
from tests.support import crowd

LONG: Final = 100_000
SHORT: Final = 5_000
PATIENCE_SECONDS: Final = 60.0
SLOWEST_RATE: Final = 50.0  # deliveries a second


@dataclass
class Report:
    """What came of it."""

    kind: Kind
    results: int
    kills: int
    seconds: float = 0.0
    received: int = 0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        rate = self.results * len(PATHS) / self.seconds
        return (
            f"{self.kind}: {self.results:,} results to {len(PATHS)} subscriptions, {self.kills} kills, "
            f"{self.received:,} arrivals, {rate:,.0f} deliveries/s"
        )


def run(kind: Kind, results: int, *, kills: int = 2) -> Report:
    """A replay of so many stored results, killed half-way. Raises CrashError when it does not come to an end."""
    report = Report(kind, results, kills)
    with World(kind, settings={"RELAY_DELIVERY_SLOTS": "64"}) as world:
        relay = world.relay()
        relay.await_ready()
        world.register()
        relay.stop()
        asyncio.run(crowd.store_results(world.url, results, Instant(round(time.time() * 1000))))
        relay = world.relay()
        relay.await_ready()
        began = time.monotonic()
        api = Api(world.port)
        replay = api("POST", "/v1/replays", {"filter": {"created_after": "2000-01-01T00:00:00Z"}})["id"]
        total = results * len(PATHS)
        patience = PATIENCE_SECONDS + total / SLOWEST_RATE
        for number in range(1, kills + 1):
            goal = total * number // (kills + 1)
            wait_until(partial(_has, api, replay, goal), patience, f"{goal} are not delivered")
            before = _shown(api, replay)
            relay.kill()
            relay = world.relay()
            relay.await_ready()
            after = _shown(api, replay)
            if after["delivered"] < before["delivered"] or after["planned"] < before["planned"]:
                report.problems.append(f"progress went back: {before} became {after}")
        wait_until(lambda: _shown(api, replay)["status"] == "done", patience, "the replay is not done")
        report.seconds = time.monotonic() - began
        _judge(report, _shown(api, replay), world, total)
        relay.stop()
        rows = asyncio.run(_rows(world.url, replay))
        if rows != (total, total, total):
            report.problems.append(f"{rows} deliveries, different pairs and delivered ones instead of {total} each")
    return report


def _has(api: Api, replay: str, goal: int) -> bool:
    return bool(_shown(api, replay)["delivered"] >= goal)


def _shown(api: Api, replay: str) -> dict[str, Any]:
    return api("GET", f"/v1/replays/{replay}")


def _judge(report: Report, shown: dict[str, Any], world: World, total: int) -> None:
    figures = {name: shown[name] for name in ("total", "planned", "delivered", "failed", "queued")}
    if figures != {"total": total, "planned": total, "delivered": total, "failed": 0, "queued": 0}:
        report.problems.append(f"the replay counts {figures}")
    arrived = Counter((item.path, item.message_id) for item in world.received())
    report.received = sum(arrived.values())
    if len(arrived) != total:
        report.problems.append(f"{len(arrived)} of {total} arrived")


async def _rows(url: str, replay: str) -> tuple[int, int, int]:
    """Deliveries of the replay, different pairs of result and subscription among them, and delivered ones."""

    def read(connection: Connection) -> tuple[int, int, int]:
        mine = deliveries.c.replay_id == replay
        pairs = select(deliveries.c.result_id, deliveries.c.subscription_id).where(mine).distinct().subquery()
        found = (
            select(func.count()).select_from(deliveries).where(mine),
            select(func.count()).select_from(pairs),
            select(func.count()).select_from(deliveries).where(mine, deliveries.c.status == "delivered"),
        )
        first, second, third = (connection.execute(query).scalar() or 0 for query in found)
        return first, second, third

    database = await open_database(url)
    try:
        return await database.read(read)
    finally:
        await database.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.replay")
    parser.add_argument("--database", choices=get_args(Kind), help="default: both")
    parser.add_argument("--results", type=int, default=LONG if os.environ.get("RELAY_CRASH") == "long" else SHORT)
    options = parser.parse_args()
    failed = 0
    for kind in (options.database,) if options.database else get_args(Kind):
        try:
            report = run(kind, options.results)
        except CrashError as error:
            print(f"{kind}: FAILED: {error}")
            failed = 1
            continue
        print(report.line())
        for problem in report.problems:
            print(f"  FAILED: {problem}")
        failed |= bool(report.problems)
        if not report.problems:
            print("  one delivery for each pair, none missed, the counts went on")
        sys.stdout.flush()
    return failed


if __name__ == "__main__":
    run_main(main)
