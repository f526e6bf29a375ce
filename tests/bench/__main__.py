"""`python -m tests.bench [name …] [--json FILE]`: run the benchmarks, print the table, exit 1 if a target is missed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from relay import logs
from relay.clock import SystemClock
from tests.bench import fairness, headofline, intake, lists, memory, polling, replay, results
from tests.bench.report import Line, as_json, machine, table
from tests.bench.rig import RigError
from tests.bench.scale import DEFAULT, LONG, Scale

BENCHES: Final[Mapping[str, Callable[[Scale], list[Line]]]] = {
    "intake": intake.run,
    "cpu": results.cpu,
    "throughput": results.throughput,
    "latency": results.latency,
    "memory": memory.run,
    "fairness": fairness.run,
    "headofline": headofline.run,
    "polling": polling.run,
    "lists": lists.run,
    "replay": replay.run,
}


def two_cores() -> None:
    """Everything started from here shares two cores, as the targets say."""
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, mine[:2])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", choices=[*BENCHES, []], metavar="name", help=", ".join(BENCHES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    scale = LONG if os.environ.get("RELAY_BENCH") == "long" else DEFAULT
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that every process is ended
    logs.configure(format="console", level="warning", clock=SystemClock())  # of what is measured in this process
    two_cores()
    where = machine(Path(tempfile.gettempdir()).resolve())
    print(", ".join(f"{name} {value}" for name, value in where.items()), file=sys.stderr)
    lines: list[Line] = []
    failed: list[str] = []
    for name in options.names or BENCHES:
        started = time.monotonic()
        try:
            lines += BENCHES[name](scale)
        except RigError as error:
            failed.append(name)
            print(f"{name} could not be measured: {error}", file=sys.stderr)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(table(lines))
    if options.json:
        options.json.write_bytes(as_json(lines, where))
    return 0 if not failed and all(line.met for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
