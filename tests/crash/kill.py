"""SIGKILL at random moments under load, again and again, and at the end everything acknowledged is there."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.crash.audit import Findings, audit, drain, read_contents
from tests.crash.load import Ack
from tests.crash.rig import Api, Program
from tests.crash.world import Kind, World, describe

SOONEST, LATEST = 0.05, 3.0
UNREADY_EVERY: Final = 5  # one kill in so many counts from the start of the process: it hits start-up and recovery
RECOVERY_SECONDS: Final = 3.0


@dataclass
class Start:
    """One start of the relay. Seconds from `at` (CLOCK_MONOTONIC), None where it was killed before."""

    at: float
    ready: float | None = None  # to the ready line
    cpu: float | None = None  # processor time to the ready line
    recovery: float | None = None  # to the first 2xx

    @property
    def own(self) -> float | None:
        """The recovery without what the start waited for a processor: others use this machine too."""
        if self.ready is None or self.cpu is None or self.recovery is None:
            return None
        return self.recovery - max(0.0, self.ready - self.cpu)


@dataclass
class Report:
    """What came of a run."""

    kind: Kind
    cycles: int
    seed: int
    starts: list[Start] = field(default_factory=list)
    killed_unready: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    def problems(self) -> list[str]:
        """Why the proof failed; empty when it holds."""
        found = self.findings.lines()
        if not self.findings.figures.get("acknowledged"):
            found.append("nothing was acknowledged, so nothing is proved")
        own = self._of("own")
        if not own or quantile(own, 0.99) >= RECOVERY_SECONDS:
            found.append(f"recovery takes {RECOVERY_SECONDS} s or longer")
        return found

    def _of(self, name: str) -> list[float]:
        return [value for start in self.starts if (value := getattr(start, name)) is not None]

    def lines(self) -> list[str]:
        """The figures, for people."""
        figures = ", ".join(f"{name} {count:,.0f}" for name, count in self.findings.figures.items())
        return [
            f"{self.kind}: {self.cycles} kills, {self.killed_unready} before the relay was up (seed {self.seed})",
            f"  {figures}",
            f"  answers: {describe(self.counts)}",
            f"  start to first 2xx: {quantiles(self._of('recovery'))}",
            f"  the same without waiting for a processor: {quantiles(self._of('own'))}",
            f"  processor time to the ready line: {quantiles(self._of('cpu'))}",
        ]


def run(
    kind: Kind, cycles: int, *, seed: int, rate: float = 100.0, say: Callable[[str], None] = lambda _: None
) -> Report:
    """`cycles` kills. Raises CrashError when the relay does not come up, or never finishes its work."""
    chance = random.Random(seed)
    report = Report(kind, cycles, seed)
    with World(kind) as world:
        relay = world.relay()
        relay.await_ready()
        world.register()
        load = world.load(rate=rate)
        for cycle in range(cycles):
            early = cycle % UNREADY_EVERY == UNREADY_EVERY - 1
            if not early:
                _await_ready(relay, report)
            time.sleep(chance.uniform(SOONEST, LATEST))
            report.killed_unready += not relay.is_ready
            relay.kill()
            relay = world.relay()
            report.starts.append(Start(relay.started))
            if (cycle + 1) % 10 == 0:
                say(f"{kind}: {cycle + 1} kills, {len(world.acks())} acknowledgements")
        _await_ready(relay, report)
        report.counts = load.stop()
        drain(world)
        measure(report.starts, world.acks())
        report.findings = audit(world.acks(), read_contents(world.url), world.received())
        if Api(world.port).status("/readyz") != 200 or relay.stop() != 0:
            report.findings.note("relay that is not well at the end", relay.said()[-500:])
    return report


def _await_ready(relay: Program, report: Report) -> None:
    ready = relay.await_ready()
    if report.starts:  # the very first start is none after a crash
        report.starts[-1].ready, report.starts[-1].cpu = ready, relay.cpu_seconds()


def measure(starts: Sequence[Start], acks: Sequence[Ack]) -> None:
    """For every start that lived to acknowledge something: how long after it the first acknowledgement came."""
    times = sorted(ack.at for ack in acks)
    position = 0
    for number, start in enumerate(starts):
        end = starts[number + 1].at if number + 1 < len(starts) else math.inf
        while position < len(times) and times[position] < start.at:
            position += 1
        if position < len(times) and times[position] < end:
            start.recovery = times[position] - start.at


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
