"""`python -m tests.crash.points`: killed at the Nth write, sync or answer, and told that a sync failed; on SQLite.

Where the kills of `python -m tests.crash` fall at random, these fall exactly on the system calls that make things
durable. A relay whose disk fails to sync must acknowledge nothing any more and end; the next one finds everything.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from tests.crash import rig, strace
from tests.crash.audit import Findings, audit, drain, read_contents
from tests.crash.rig import CrashError
from tests.crash.world import LoadProcess, World

CALLS: Final = ("fdatasync", "pwrite64", "write")
REACHED_SECONDS: Final = 30.0
RATE: Final = 60.0


def counts(many: bool) -> list[int]:
    """Which calls of a life are hit: the first ones one by one, later ones here and there."""
    return [*range(1, 41), *range(45, 200, 5)] if many else [1, 2, 3, 5, 8, 13, 21, 34]


def _hit(call: str, what: str) -> list[str]:
    return ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{what}"]


def killed(points: Sequence[int], calls: Sequence[str] = CALLS) -> tuple[int, Findings]:
    """One life for every point; how many lives reached theirs."""
    with World("sqlite") as world:
        first = world.relay()
        first.await_ready()
        world.register()
        first.stop()
        load = world.load(rate=RATE)
        reached = 0
        for call in calls:
            for point in points:
                relay = world.relay(tracer=_hit(call, f"signal=SIGKILL:when={point}"))
                reached += _ends(relay)
        return reached, _look(world, load)


def _ends(relay: rig.Program) -> bool:
    try:
        rig.wait_until(lambda: not relay.is_running, REACHED_SECONDS, "the call was not reached")
    except CrashError:
        relay.kill()
        return False
    return True


def failed_sync(point: int) -> Findings:
    """From its Nth fdatasync on the disk only says EIO. The relay must end by itself, with an exit code."""
    with World("sqlite") as world:
        first = world.relay()
        first.await_ready()
        world.register()
        first.stop()
        load = world.load(rate=RATE)
        relay = world.relay(tracer=_hit("fdatasync", f"error=EIO:when={point}+"))
        ended = _ends(relay)
        code = relay.process.returncode
        findings = _look(world, load)
        if not ended or code != 1:
            findings.note("relay that goes on although its disk fails to sync", f"exit code {code}")
        return findings


def _look(world: World, load: LoadProcess) -> Findings:
    last = world.relay()
    last.await_ready()
    load.stop()
    drain(world)
    findings = audit(world.acks(), read_contents(world.url), world.received())
    if last.stop():
        findings.note("relay that is not well at the end", last.said()[-500:])
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.points")
    parser.parse_args()
    if not strace.is_there():
        print("this needs strace", file=sys.stderr)
        return 1
    points = counts(os.environ.get("RELAY_CRASH") == "long")
    reached, findings = killed(points)
    figures = ", ".join(f"{name} {count:,.0f}" for name, count in findings.figures.items())
    print(f"killed at {reached} of {len(points) * len(CALLS)} system calls: {figures}")
    problems = findings.lines()
    for point in (20, 60):
        after = failed_sync(point)
        print(f"EIO from fdatasync {point} on: acknowledged {after.figures['acknowledged']:,.0f}")
        problems += after.lines()
    for problem in problems:
        print(f"  FAILED: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    rig.run_main(main)
