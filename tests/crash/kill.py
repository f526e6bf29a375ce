"""SIGKILL at random moments under load, again and again, and at the end everything acknowledged is there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.crash import rig
from tests.crash.audit import Findings, audit, drain, read_contents
from tests.crash.load import Ack
from tests.crash.rig import Api, Program
from tests.crash.world import Kind, World, describe

SOONEST, LATEST = 0.05, 3.0
UNREADY_EVERY: Final = 5  # one kill in so many counts from the start of the process: it hits start-up and recovery
RECOVERY_SECONDS: Final = 3.0
DRAIN_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Import:
    """What it costs to import Relay on this machine now: the part of a start that is no recovery."""

    seconds: float
    cpu_seconds: float


@dataclass
class Report:
    """What came of a run. Times are seconds from the start of the process."""

    kind: Kind
    cycles: int
    seed: int
    recoveries: list[float] = field(default_factory=list)  # to the first 2xx
    readies: list[float] = field(default_factory=list)  # to the ready line
    killed_unready: int = 0
    imports: list[Import] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    def problems(self) -> list[str]:
        """Why the proof failed; empty when it holds."""
        found = self.findings.lines()
        if not self.findings.figures.get("acknowledged"):
            found.append("nothing was acknowledged, so nothing is proved")
        if not self.recoveries or quantile(self.recoveries, 0.99) / self.slowdown >= RECOVERY_SECONDS:
            found.append(f"recovery takes {RECOVERY_SECONDS} s or longer")
        return found

    @property
    def slowdown(self) -> float:
        """How many times longer than its processor time a start takes: 1 on a machine that has nothing else to do."""
        return max((each.seconds / each.cpu_seconds for each in self.imports), default=1.0)

    def lines(self) -> list[str]:
        """The figures, for people."""
        figures = ", ".join(f"{name} {count:,.0f}" for name, count in self.findings.figures.items())
        return [
            f"{self.kind}: {self.cycles} kills, {self.killed_unready} before the relay was up (seed {self.seed})",
            f"  {figures}",
            f"  answers: {describe(self.counts)}",
            f"  start to first 2xx: {quantiles(self.recoveries)}",
            f"  start to ready line: {quantiles(self.readies)}",
            f"  importing alone: {describe_imports(self.imports)}; others slow this machine {self.slowdown:.1f} ×",
        ]


def run(
    kind: Kind, cycles: int, *, seed: int, rate: float = 100.0, say: Callable[[str], None] = lambda _: None
) -> Report:
    """`cycles` kills. Raises CrashError when the relay does not come up, or never finishes its work."""
    chance = random.Random(seed)
    report = Report(kind, cycles, seed, imports=[import_relay()])
    with World(kind) as world:
        relay = world.relay()
        relay.await_ready()
        world.register()
        load = world.load(rate=rate)
        starts: list[float] = []
        for cycle in range(cycles):
            early = cycle % UNREADY_EVERY == UNREADY_EVERY - 1
            if not early:
                _await_ready(relay, report, first=cycle == 0)
            time.sleep(chance.uniform(SOONEST, LATEST))
            report.killed_unready += not relay.is_ready
            relay.kill()
            relay = world.relay()
            starts.append(relay.started)
            if (cycle + 1) % 10 == 0:
                say(f"{kind}: {cycle + 1} kills, {len(world.acks())} acknowledgements")
        _await_ready(relay, report)
        report.counts = load.stop()
        drain(world, DRAIN_SECONDS)
        report.recoveries = recoveries(starts, world.acks())
        report.findings = audit(world.acks(), read_contents(world.url), world.received())
        if Api(world.port).status("/readyz") != 200 or relay.stop() != 0:
            report.findings.note("relay that is not well at the end", relay.said()[-500:])
    report.imports.append(import_relay())
    return report


def _await_ready(relay: Program, report: Report, *, first: bool = False) -> None:
    seconds = relay.await_ready()
    if not first:
        report.readies.append(seconds)


def recoveries(starts: Sequence[float], acks: Sequence[Ack]) -> list[float]:
    """For every start that lived to acknowledge something: how long after it the first acknowledgement came."""
    times = sorted(ack.at for ack in acks)
    found: list[float] = []
    position = 0
    for start, end in zip(starts, [*starts[1:], float("inf")], strict=True):
        while position < len(times) and times[position] < start:
            position += 1
        if position < len(times) and times[position] < end:
            found.append(times[position] - start)
    return found


def import_relay() -> Import:
    """Import Relay in a fresh interpreter."""
    began, cpu = time.monotonic(), _children_seconds()
    subprocess.run([sys.executable, "-c", "import relay.app"], check=True, env=rig.environment({}))
    return Import(time.monotonic() - began, _children_seconds() - cpu)


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def describe_imports(imports: Sequence[Import]) -> str:
    """The times, as measured before and after."""
    return ", ".join(f"{each.seconds:.2f} s ({each.cpu_seconds:.2f} s of processor)" for each in imports)


def quantile(values: Sequence[float], part: float) -> float:
    """The value that `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))]


def quantiles(values: Sequence[float]) -> str:
    """Median, 99th percentile and the worst."""
    if not values:
        return "unknown"
    p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, most {max(values):.2f} s (n={len(values)})"
