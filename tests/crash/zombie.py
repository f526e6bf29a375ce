"""`python -m tests.crash.zombie [--trials N]`: a worker that was stopped past its lease changes nothing when it wakes.

First, two servers and two workers share one PostgreSQL and lose one of each. Then, again and again, one of two workers
is stopped (SIGSTOP) while it works, the other one takes its work over and settles it, and the first one wakes up.
At last the same with a relay that has no fence, which must be caught. RELAY_CRASH=long makes it 100 zombies.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.crash import rig, share
from tests.crash.audit import Findings, audit, drain, query, read_contents
from tests.crash.rig import CrashError, Program
from tests.crash.world import World

TRIALS: Final = {"long": 100}
DEFAULT_TRIALS: Final = 5
UNFENCED_TRIALS: Final = 3
LEASE_SECONDS: Final = 3
WAKE_SECONDS: Final = 2.0  # what a zombie wants to write it writes at once, and its leases it extends every second
RATE: Final = 12.0  # well under what one worker can do on a busy machine: a backlog is no zombie
TRIES: Final = 10  # per trial: a worker that is stopped while it holds nothing is no zombie
SETTINGS: Final = {**share.INFO, "RELAY_LEASE_SECONDS": str(LEASE_SECONDS)}

Rows = dict[str, list[tuple[Any, ...]]]


@dataclass
class Outcome:
    """What a run showed."""

    zombies: int = 0
    taken_over: int = 0  # rows that a zombie held and the other worker settled
    rejected: int = 0  # what zombies say they could not do any more
    extra_posts: int = 0
    changed: list[str] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)

    def problems(self) -> list[str]:
        """Why the proof failed; empty when it holds."""
        return [*self.changed, *self.findings.lines()]

    def line(self) -> str:
        """The figures, for people."""
        figures = ", ".join(f"{name} {count:,.0f}" for name, count in self.findings.figures.items())
        return (
            f"{self.zombies} zombies held {self.taken_over} rows, {self.rejected} late writes refused, "
            f"{len(self.changed)} changes, {self.extra_posts} extra posts; {figures}"
        )


def run(trials: int, *, seed: int, without: Sequence[str] = ()) -> Outcome:
    """`trials` zombies. Raises CrashError when no zombie can be made."""
    chance = random.Random(seed)
    outcome = Outcome()
    with World("postgres", hold_result=0.2, hold_delivery=0.4, settings=SETTINGS) as world:
        share.start_servers(world, 1)
        workers = share.start_workers(world, without=without)
        world.register()
        load = world.load(rate=RATE)
        time.sleep(1.0)
        while outcome.zombies < trials:
            _one(world, workers[outcome.zombies % 2], outcome, chance)
        load.stop()
        drain(world)
        outcome.rejected = sum(_refusals(worker) for worker in workers)
        if not without:
            outcome.findings = audit(world.acks(), read_contents(world.url), world.received())
            _count_posts(world, outcome)
    return outcome


def _one(world: World, worker: Program, outcome: Outcome, chance: random.Random) -> None:
    """One zombie: stop it while it holds something, see its work settled by the other one, wake it, compare."""
    for _ in range(TRIES):
        time.sleep(chance.uniform(0.2, 1.0))
        worker.signal(signal.SIGSTOP)
        try:
            held = _leased(world.url)
            ids = list(held)
            rig.wait_until(lambda: _unsettled(world.url, ids) == 0, 90, "nobody took the work over", every=0.2)  # noqa: B023
            before = snapshot(world.url, ids)
        finally:
            worker.signal(signal.SIGCONT)
        time.sleep(WAKE_SECONDS)
        taken = sum(claims >= held[row_id] + 2 for row_id, claims in _claims(world.url, ids).items())
        after = snapshot(world.url, ids)
        outcome.changed += [f"{table} changed: {change}" for table, change in _differences(before, after)]
        if taken:
            outcome.zombies += 1
            outcome.taken_over += taken
            return
    raise CrashError(f"the worker held nothing in {TRIES} tries")


def _leased(url: str) -> dict[str, int]:
    """What is being worked on, by either worker, with its claims."""
    where = "WHERE due_at IS NOT NULL AND lease_until IS NOT NULL"
    rows = query(url, f"SELECT id, claims FROM jobs {where} UNION ALL SELECT id, claims FROM deliveries {where}")
    return {row.id: row.claims for row in rows}


def _claims(url: str, ids: Sequence[str]) -> dict[str, int]:
    where = f"WHERE id IN ({_list(ids)})"
    rows = query(url, f"SELECT id, claims FROM jobs {where} UNION ALL SELECT id, claims FROM deliveries {where}")
    return {row.id: row.claims for row in rows}


def _unsettled(url: str, ids: Sequence[str]) -> int:
    where = f"WHERE due_at IS NOT NULL AND id IN ({_list(ids)})"
    return len(query(url, f"SELECT id FROM jobs {where} UNION ALL SELECT id FROM deliveries {where}"))


def _list(ids: Sequence[str]) -> str:
    return ", ".join(f"'{row_id}'" for row_id in ids) or "''"


def snapshot(url: str, ids: Sequence[str]) -> Rows:
    """Everything that settled work of these jobs and deliveries has written."""
    chosen = _list(ids)
    statements = {
        "jobs": f"SELECT * FROM jobs WHERE id IN ({chosen}) ORDER BY id",
        "deliveries": f"SELECT * FROM deliveries WHERE id IN ({chosen}) ORDER BY id",
        "results": f"SELECT * FROM results WHERE job_id IN ({chosen}) ORDER BY id",
        "attempts": f"SELECT * FROM attempts WHERE owner_id IN ({chosen}) ORDER BY owner_id, number",
        "deliveries of results": "SELECT id, result_id, subscription_id FROM deliveries WHERE result_id IN"
        f" (SELECT id FROM results WHERE job_id IN ({chosen})) ORDER BY id",
    }
    return {table: [tuple(row) for row in query(url, statement)] for table, statement in statements.items()}


def _differences(before: Rows, after: Rows) -> list[tuple[str, str]]:
    return [
        (table, f"{before_rows and before_rows[0][0]} … {len(set(before_rows) ^ set(after[table]))} rows differ")
        for table, before_rows in before.items()
        if before_rows != after[table]
    ]


def _refusals(worker: Program) -> int:
    said = worker.said()
    return sum(said.count(words) for words in ('"outcome":"lost"', '"fetch.lease_lost"', '"leases.lost"'))


def _count_posts(world: World, outcome: Outcome) -> None:
    """A zombie may send once more what it had claimed; never twice, and under the same webhook-id."""
    received = world.received()
    posts = Counter(message.delivery_id for message in received)
    outcome.extra_posts = sum(count - 1 for count in posts.values())
    for delivery_id, count in posts.items():
        if count > 2:
            outcome.findings.note("delivery posted more than once by a zombie", f"{delivery_id} ({count} posts)")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.zombie")
    parser.add_argument("--trials", type=int, default=TRIALS.get(os.environ.get("RELAY_CRASH", ""), DEFAULT_TRIALS))
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    shared = share.run(seconds=8, rate=60)
    print(shared.line())
    fenced = run(options.trials, seed=options.seed)
    print(fenced.line())
    unfenced = run(UNFENCED_TRIALS, seed=options.seed, without=("fence",))
    print(f"without the fence: {unfenced.zombies} zombies, {len(unfenced.changed)} changes")
    problems = [*shared.problems(), *fenced.problems()]
    if not unfenced.changed:
        problems.append("a relay without the fence passes too, so nothing is proved")
    for problem in problems:
        print(f"  FAILED: {problem}")
    print(f"zombies: {'FAILED' if problems else 'hold'} (seed {options.seed})")
    return 1 if problems else 0


if __name__ == "__main__":
    rig.run_main(main)
