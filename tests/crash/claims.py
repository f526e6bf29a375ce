"""`python -m tests.crash.claims [--claims N]`: four processes race for the same rows; none is ever held by two.

Few rows and many claims: every row is claimed, held for a moment and given back again and again. A claim is doubled if
two processes got the same number of the same row, or if somebody else's claim fell into ours, so that it was not ours
any more when we gave it back.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

import orjson
from sqlalchemy import Row

from relay.clock import Instant, SystemClock, after
from relay.store.database import Database, open_database
from relay.store.queue import claim, give_back
from relay.store.schema import deliveries
from tests.crash.audit import query
from tests.crash.rig import environment, module, run_main
from tests.crash.world import World
from tests.support.store import a_delivery, put_deliveries

CLAIMS: Final = 100_000
PROCESSES: Final = 4
ROWS: Final = 400
AT_ONCE: Final = 64
LEASE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Race:
    """What one process is told."""

    url: str
    ids: list[str]
    claims: int
    seed: int


@dataclass
class Outcome:
    """What a race showed."""

    claims: int = 0
    doubled: int = 0
    lost: int = 0  # claims that were not ours any more when we gave them back
    by_process: list[int] = field(default_factory=list)
    unaccounted: int = 0  # rows whose count is not what all claims and returns make
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """Why the proof failed; empty when it holds."""
        counted = {"doubled": self.doubled, "lost while held": self.lost, "rows with a wrong count": self.unaccounted}
        return [f"{count} × {kind}" for kind, count in counted.items() if count]


async def race(given: Race) -> tuple[list[tuple[str, int]], int]:
    """Claim until enough was claimed: every claim, and how many were lost while they were held."""
    chance = random.Random(given.seed)
    clock = SystemClock()
    database = await open_database(given.url)
    claimed: list[tuple[str, int]] = []
    lost = 0
    while len(claimed) < given.claims:
        ids = chance.sample(given.ids, AT_ONCE)
        now = clock.now()
        until = after(now, LEASE_SECONDS)
        rows: list[Row[Any]] = await database.write(
            partial(claim, table=deliveries, ids=ids, now=now, lease_until=until)
        )
        mine = [(row.id, row.claims) for row in rows]
        claimed += mine
        await asyncio.sleep(chance.random() * 0.002)
        lost += len(mine) - await database.write(partial(give_back, table=deliveries, claims=mine))
    await database.close()
    return claimed, lost


async def _prepare(url: str, rows: int) -> list[str]:
    database: Database = await open_database(url)
    waiting = [a_delivery(due_at=Instant(0)) for _ in range(rows)]
    await put_deliveries(database, *waiting)
    await database.close()
    return [delivery.id for delivery in waiting]


def run(claims: int, *, seed: int, rows: int = ROWS) -> Outcome:
    """The race, on a PostgreSQL of its own."""
    with World("postgres") as world:
        ids = asyncio.run(_prepare(world.url, rows))
        began = time.monotonic()
        racers = [_start(Race(world.url, ids, claims // PROCESSES, seed + number)) for number in range(PROCESSES)]
        answers = [_finish(racer) for racer in racers]
        seconds = time.monotonic() - began
        final = {row.id: row.claims for row in query(world.url, "SELECT id, claims FROM deliveries")}
    every = Counter((row_id, number) for answer in answers for row_id, number in answer["claimed"])
    of_row = Counter(row_id for row_id, _ in every.elements())
    return Outcome(
        claims=every.total(),
        doubled=sum(count - 1 for count in every.values()),
        lost=sum(answer["lost"] for answer in answers),
        by_process=[len(answer["claimed"]) for answer in answers],
        unaccounted=sum(final[row_id] != 2 * of_row[row_id] for row_id in ids),
        seconds=seconds,
    )


def _start(given: Race) -> subprocess.Popen[bytes]:
    racer = subprocess.Popen(
        module("tests.crash.claims", "--racer"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment({})
    )
    assert racer.stdin is not None
    racer.stdin.write(orjson.dumps(asdict(given)))
    racer.stdin.close()
    return racer


def _finish(racer: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert racer.stdout is not None
    with racer, racer.stdout:
        answer: dict[str, Any] = orjson.loads(racer.stdout.read())
    return answer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.claims")
    parser.add_argument("--claims", type=int, default=CLAIMS)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--racer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.racer:
        claimed, lost = asyncio.run(race(Race(**orjson.loads(sys.stdin.buffer.read()))))
        sys.stdout.buffer.write(orjson.dumps({"claimed": claimed, "lost": lost}))
        return 0
    outcome = run(options.claims, seed=options.seed)
    print(
        f"{outcome.claims:,} claims of {ROWS} rows by {PROCESSES} processes ({outcome.by_process}) in "
        f"{outcome.seconds:.0f} s (seed {options.seed}): {outcome.doubled} doubled, {outcome.lost} lost while held"
    )
    for problem in outcome.problems():
        print(f"  FAILED: {problem}")
    return 1 if outcome.problems() else 0


if __name__ == "__main__":
    run_main(main)
