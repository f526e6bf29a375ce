"""`python -m tests.crash.outage`: the database or its disk goes away under load; the relay says 503 and comes back.

Nothing here kills the relay: it has to live through PostgreSQL being restarted in the middle of whatever it does, and
through a full disk, by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crash import rig
from tests.crash.audit import Findings, audit, drain, read_contents
from tests.crash.rig import Api
from tests.crash.world import World, describe

ALLOWED: Final = frozenset({"200", "503"})
BACK_SECONDS: Final = 15.0
MIB: Final = 1024 * 1024
DISK_BYTES: Final = 96 * MIB  # three times what the WAL grows to before it is checkpointed
FLOORS: Final = (0, 16 * MIB)


@dataclass
class Outcome:
    """What a run showed."""

    name: str
    counts: dict[str, int] = field(default_factory=dict)
    refused: int = 0  # 503s while it was away
    back: list[float] = field(default_factory=list)  # seconds until the relay was ready again
    findings: Findings = field(default_factory=Findings)

    def problems(self) -> list[str]:
        """Why the proof failed; empty when it holds."""
        found = self.findings.lines()
        others = {status: count for status, count in self.counts.items() if status not in ALLOWED}
        if others:
            found.append(f"answers that are neither 200 nor 503: {describe(others)}")
        if not self.findings.figures.get("acknowledged"):
            found.append("nothing was acknowledged, so nothing is proved")
        return found

    def line(self) -> str:
        """The figures, for people."""
        figures = ", ".join(f"{name} {count:,.0f}" for name, count in self.findings.figures.items())
        back = ", ".join(f"{seconds:.1f}" for seconds in self.back)
        return f"{self.name}: {describe(self.counts)}; ready again after {back} s; {figures}"


def postgres_restarts(times: int, *, every: float = 3.0, rate: float = 60.0) -> Outcome:
    """PostgreSQL is ended as by `pg_ctl restart -m immediate`, `times` times."""
    outcome = Outcome(f"{times} immediate restarts of PostgreSQL")
    with World("postgres") as world:
        assert world.server is not None
        relay = world.relay()
        relay.await_ready()
        world.register()
        load = world.load(rate=rate)
        for _ in range(times):
            time.sleep(every)
            world.server.restart_immediately()
            outcome.back.append(_await_back(world))
        time.sleep(every)
        _finish(world, outcome, load.stop(), relay)
    return outcome


def full_disk(directory: Path, *, floor: int, every: float = 2.0, rate: float = 60.0) -> Outcome:
    """The disk under a SQLite relay fills up, and has room again. `directory` is on a small disk of its own."""
    settings = {"RELAY_FREE_DISK_FLOOR_BYTES": str(floor)}
    outcome = Outcome(f"full disk, floor {floor // MIB} MiB")
    with World("sqlite", settings=settings, data=directory / "data") as world:
        relay = world.relay()
        relay.await_ready()
        world.register()
        load = world.load(rate=rate)
        time.sleep(every)
        ballast = directory / "ballast"
        _fill(ballast, directory, leave=floor // 2)
        before = len(world.acks())
        rig.wait_until(lambda: _is_refusing(world), 60, "the relay takes notifications on a full disk", every=0.2)
        outcome.findings.figures["taken until full"] = len(world.acks()) - before
        time.sleep(every)
        ballast.unlink()
        outcome.back.append(_await_back(world))
        time.sleep(every)
        figures = dict(outcome.findings.figures)
        _finish(world, outcome, load.stop(), relay)
        outcome.findings.figures |= figures
    return outcome


def _is_refusing(world: World) -> bool:
    """Nothing was acknowledged for a second."""
    before = len(world.acks())
    time.sleep(1.0)
    return len(world.acks()) == before


def _fill(ballast: Path, directory: Path, *, leave: int) -> None:
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):  # the relay writes too: it may be full
        while (free := shutil.disk_usage(directory).free) > leave:
            file.write(bytes(min(MIB, free - leave)))


def _await_back(world: World) -> float:
    began = time.monotonic()
    acknowledged = len(world.acks())
    rig.wait_until(lambda: len(world.acks()) > acknowledged, BACK_SECONDS, "the relay takes nothing again")
    return time.monotonic() - began


def _finish(world: World, outcome: Outcome, counts: Mapping[str, int], relay: rig.Program) -> None:
    outcome.counts = dict(counts)
    drain(world)
    if not relay.is_running or Api(world.port).status("/readyz") != 200:
        outcome.findings.note("relay that did not live through it", relay.said()[-500:])
    findings = audit(world.acks(), read_contents(world.url), world.received())
    outcome.findings.problems.update(findings.problems)
    outcome.findings.figures = findings.figures
    code = relay.stop()
    if code:
        outcome.findings.note("relay that did not end well", f"exit code {code}")


@contextlib.contextmanager
def small_disk(size: int) -> Iterator[Path | None]:
    """A disk of its own, in memory; None where this user may not mount one."""
    with tempfile.TemporaryDirectory(prefix="relay-disk-") as directory:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "relay-disk", directory]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
            yield None
            return
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "-l", directory], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.outage")
    parser.add_argument("--restarts", type=int, default=30 if os.environ.get("RELAY_CRASH") == "long" else 5)
    options = parser.parse_args()
    outcomes = [postgres_restarts(options.restarts)]
    for floor in FLOORS:
        with small_disk(DISK_BYTES) as directory:
            if directory is None:
                print("full disk: not run, this user may not mount a tmpfs")
            else:
                outcomes.append(full_disk(directory, floor=floor))
    for outcome in outcomes:
        print(outcome.line())
        for problem in outcome.problems():
            print(f"  FAILED: {problem}")
    return 1 if any(outcome.problems() for outcome in outcomes) else 0


if __name__ == "__main__":
    rig.run_main(main)
