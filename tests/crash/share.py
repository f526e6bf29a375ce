"""Two relays that serve and two that work on one PostgreSQL: they share, and losing one of each loses nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.crash.audit import Findings, audit, drain, read_contents
from tests.crash.rig import Program
from tests.crash.world import World, describe
from tests.support.ports import free_port

FAIR: Final = 0.25  # of two workers, neither does less than this part of the work
INFO: Final = {"RELAY_LOG_LEVEL": "info"}  # the log says who did what


@dataclass
class Outcome:
    """What a run showed."""

    shares: dict[str, int] = field(default_factory=dict)  # deliveries by each worker while both lived
    fair: float | None = FAIR  # None: how it was shared is not judged
    counts: dict[str, int] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    def problems(self) -> list[str]:
        """Why the proof failed; empty when it holds."""
        found = self.findings.lines()
        if self.fair is not None and min(self.shares.values()) < self.fair * sum(self.shares.values()):
            found.append(f"the work is not shared: {self.shares}")
        return found

    def line(self) -> str:
        """The figures, for people."""
        figures = ", ".join(f"{name} {count:,.0f}" for name, count in self.findings.figures.items())
        return f"two and two: deliveries by {describe(self.shares)} before one of each was killed; {figures}"


def start_workers(world: World, names: Sequence[str] = ("a", "b"), without: Sequence[str] = ()) -> list[Program]:
    """`relay worker` processes, ready."""
    workers = [world.relay(f"worker-{name}", "worker", without=without) for name in names]
    for worker in workers:
        worker.await_ready()
    return workers


def start_servers(world: World, count: int) -> tuple[list[Program], list[int]]:
    """`relay serve --no-worker` processes, ready, and their ports."""
    ports = [world.port, *(free_port() for _ in range(count - 1))]
    servers = [world.relay(f"serve-{port}", "serve", "--no-worker", port=port) for port in ports]
    for server in servers:
        server.await_ready()
    return servers, ports


def deliveries_by(worker: Program) -> int:
    """How many deliveries its log tells of."""
    return worker.said().count('"delivery.attempted"')


def run(*, seconds: float, rate: float, fair: float | None = FAIR) -> Outcome:
    """Load for twice `seconds`; in the middle one of each is killed."""
    outcome = Outcome(fair=fair)
    with World("postgres", hold_delivery=0.02, settings=INFO) as world:
        servers, ports = start_servers(world, 2)
        workers = start_workers(world)
        world.register()
        load = world.load(rate=rate, ports=ports)
        time.sleep(seconds)
        outcome.shares = {worker.name: deliveries_by(worker) for worker in workers}
        workers[0].kill()
        servers[0].kill()
        time.sleep(seconds)
        outcome.counts = load.stop()
        drain(world)
        outcome.findings = audit(world.acks(), read_contents(world.url), world.received())
    return outcome
