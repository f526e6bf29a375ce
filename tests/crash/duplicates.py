"""`python -m tests.crash.duplicates [--copies N]`: one notification, very often, over 64 connections.

All copies are answered 2xx; one job, one fetch and one delivery for each subscription come of them. If not: exit 1.
RELAY_CRASH=long sends 100,000 copies instead of 5,000.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, get_args

import orjson
from sqlalchemy import func, select

from relay.store.database import open_database
from relay.store.rows import Connection
from relay.store.schema import attempts, deliveries, jobs, notifications, results
from tests.crash.rig import CrashError, run_main, wait_until
from tests.crash.stage import name_of
from tests.crash.world import PATHS, Kind, World

CONNECTIONS: Final = 64
LONG: Final = 100_000
SHORT: Final = 5_000
PATIENCE_SECONDS: Final = 60.0


@dataclass
class Report:
    """What came of it."""

    kind: Kind
    copies: int
    answers: Counter[str] = field(default_factory=Counter)
    rows: dict[str, int] = field(default_factory=dict)
    arrivals: int = 0

    def problems(self) -> list[str]:
        """Why the proof failed; empty when it holds."""
        found = []
        if self.answers != Counter({"200 accepted": 1, "200 duplicate": self.copies - 1}):
            found.append(f"the answers were {dict(self.answers)}")
        wanted = {"notifications": 1, "jobs": 1, "results": 1, "fetches": 1, "deliveries": len(PATHS)}
        if self.rows != wanted:
            found.append(f"there are {self.rows} instead of {wanted}")
        if self.arrivals != len(PATHS):
            found.append(f"{self.arrivals} deliveries arrived")
        return found


def run(kind: Kind, copies: int) -> Report:
    """So many copies of one notification. Raises CrashError when nothing is delivered."""
    report = Report(kind, copies)
    with World(kind) as world:
        relay = world.relay()
        relay.await_ready()
        world.register()
        name = name_of(1)
        url = f"{world.provider}/results/{name}"
        body = orjson.dumps({"traceID": name, "status": "completed", "response_url": url})
        report.answers = asyncio.run(_send(world, body, copies))
        wait_until(lambda: len(world.received()) >= len(PATHS), PATIENCE_SECONDS, "not everything is delivered")
        if relay.stop():
            raise CrashError(f"the relay did not end well: {relay.said()[-2000:]}")
        report.rows, report.arrivals = asyncio.run(_rows(world.url)), len(world.received())
    return report


async def _send(world: World, body: bytes, copies: int) -> Counter[str]:
    head = f"POST {world.callback} HTTP/1.1\r\nhost: relay\r\ncontent-type: application/json\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    left = iter(range(copies))
    answers: Counter[str] = Counter()

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        for _ in left:
            writer.write(request)
            answers[await _answer(reader)] += 1
        writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return answers


async def _answer(reader: asyncio.StreamReader) -> str:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    said = orjson.loads(await reader.readexactly(length))
    return f"{head.split()[1]} {said.get('status')}"


async def _rows(url: str) -> dict[str, int]:
    def read(connection: Connection) -> dict[str, int]:
        tables = {"notifications": notifications, "jobs": jobs, "results": results, "deliveries": deliveries}
        queries = {name: select(func.count()).select_from(table) for name, table in tables.items()}
        queries["fetches"] = select(func.count()).select_from(attempts).where(attempts.c.owner_id.like("job_%"))
        return {name: connection.execute(query).scalar() or 0 for name, query in queries.items()}

    database = await open_database(url)
    try:
        return await database.read(read)
    finally:
        await database.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.duplicates")
    parser.add_argument("--database", choices=get_args(Kind), help="default: both")
    parser.add_argument("--copies", type=int, default=LONG if os.environ.get("RELAY_CRASH") == "long" else SHORT)
    options = parser.parse_args()
    failed = False
    for kind in (options.database,) if options.database else get_args(Kind):
        report = run(kind, options.copies)
        problems = report.problems()
        print(f"{kind}: {report.copies:,} copies over {CONNECTIONS} connections: {dict(report.answers)}, {report.rows}")
        for problem in problems:
            print(f"  FAILED: {problem}")
        failed |= bool(problems)
    return int(failed)


if __name__ == "__main__":
    run_main(main)
