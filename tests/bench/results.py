"""What the relay does with results: processor time, throughput, latency.

One relay on SQLite, one light provider, one light subscriber with three subscriptions, all on the same cores.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.bench import rig
from tests.bench.floors import Calls
from tests.bench.report import Line, interleave, median, percentile
from tests.bench.scale import Scale
from tests.bench.wire import Plan, Summary, notification

PATHS: Final = ("/ok/0", "/ok/1", "/ok/2")
WARM_UP: Final = 200
PATIENCE_SECONDS: Final = 30.0
SLOWEST_RATE: Final = 100.0  # results a second; a relay that is slower still is told to be broken


@dataclass
class Bench:
    """A relay with its neighbours, and how many notifications it has had."""

    relay: rig.Relay
    provider: rig.Running
    subscriber: rig.Running
    path: str
    paths: Sequence[str] = PATHS
    sent: int = 0

    def play(self, count: int, rate: float) -> Round:
        """Send so many notifications at that rate and wait for the last delivery. Raises RigError if one is missing."""
        first, self.sent = self.sent, self.sent + count
        template = notification(self.path, f"http://127.0.0.1:{self.provider.port}/results")
        cpu = self.relay.running.cpu_seconds()
        with tempfile.TemporaryDirectory(prefix="relay-bench-") as directory:
            file = Path(directory, "times")
            port = self.relay.running.port
            plan = Plan(port=port, template=template, count=count, first=first, rate=rate, times_file=str(file))
            summary = rig.send(replace(plan, seconds=count / rate + PATIENCE_SECONDS))
            due, answered = rig.times_of(file)
        patience = PATIENCE_SECONDS + count / SLOWEST_RATE
        arrived = rig.wait_delivered(self.subscriber, self.paths, self.sent, patience)
        if summary.answered != count or arrived != self.sent:
            lost = f"answers {summary.statuses}, {arrived - first} of {count} delivered everywhere"
            raise rig.RigError(f"{lost}\n{self.relay.said()}")
        spent = self.relay.running.cpu_seconds() - cpu
        times = [rig.arrivals(self.subscriber, path)[first : first + count] for path in self.paths]
        return Round(summary, list(due), list(answered), [list(column) for column in times], spent)


@dataclass(frozen=True)
class Round:
    """One run of `Bench.play`."""

    summary: Summary
    due: list[float]
    answered: list[float]
    delivered: list[list[float]]  # by path
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return len(self.due) / (max(map(max, self.delivered)) - min(self.due))

    def waits(self) -> list[float]:
        """Seconds from the 2xx to every delivery."""
        return [at - answered for column in self.delivered for at, answered in zip(column, self.answered, strict=True)]

    def whole_waits(self) -> list[float]:
        """Seconds from when the notification was due to every delivery."""
        return [at - due for column in self.delivered for at, due in zip(column, self.due, strict=True)]


@contextlib.contextmanager
def bench(paths: Sequence[str] = PATHS, *, size: int = 2048, seconds: float = 0.0) -> Iterator[Bench]:
    """Everything started and warm."""
    with (
        rig.light("provider", "--size", str(size), "--seconds", str(seconds)) as provider,
        rig.light("subscriber") as subscriber,
        rig.relay() as relay,
    ):
        path = relay.webhook(provider)
        relay.subscribe(subscriber, *paths)
        yield Bench(relay, provider, subscriber, path, paths)


def cpu(scale: Scale) -> list[Line]:
    """Processor time per result with fan-out 3, over one empty route and four bare calls, all at the same rate."""
    with bench() as rigged, rig.light("server") as server:
        rigged.play(WARM_UP, scale.cpu_rate)

        def ours() -> float:
            return rigged.play(scale.cpu_results, scale.cpu_rate).cpu_seconds / scale.cpu_results

        def floor() -> float:
            template = notification("/empty/token", "http://127.0.0.1:9/results")
            before = server.cpu_seconds()
            rig.send(Plan(port=server.port, template=template, count=scale.cpu_results, rate=scale.cpu_rate))
            route = (server.cpu_seconds() - before) / scale.cpu_results
            ports = {"provider_port": rigged.provider.port, "subscriber_port": rigged.subscriber.port}
            calls = Calls(**ports, count=scale.cpu_results, rate=scale.cpu_rate)
            return route + rig.bare_calls(calls).cpu_seconds / calls.count

        relays, floors = interleave(scale.rounds, ours, floor)
    ratio = median(mine / theirs for mine, theirs in zip(relays, floors, strict=True))
    return [
        Line(
            name="CPU per result, fan-out 3",
            measured=median(relays) * 1000,
            unit="ms",
            floor=median(floors) * 1000,
            ratio=ratio,
            judged=ratio,
            target=2.5,
            aim=1.8,
            at_least=False,
            note=f"both at {scale.cpu_rate:g}/s; floor: an empty route and four bare aiohttp calls",
        )
    ]


def throughput(scale: Scale) -> list[Line]:
    """Results per second end to end: from the first notification due to the last of three deliveries."""
    with bench() as rigged:
        rigged.play(WARM_UP, scale.cpu_rate)
        rounds = [rigged.play(scale.throughput_results, scale.throughput_rate) for _ in range(scale.rounds)]
    rate = median(one.per_second for one in rounds)
    note = f"offered {scale.throughput_rate:g}/s; first due to last delivery"
    return [
        Line(
            name="end to end, fan-out 3",
            measured=rate,
            unit="results/s",
            judged=rate,
            target=300,
            at_least=True,
            note=note,
        )
    ]


def latency(scale: Scale) -> list[Line]:
    """Answered to delivered at a steady rate, all three deliveries of every result."""
    with bench() as rigged:
        rigged.play(WARM_UP, scale.latency_rate)
        rounds = [rigged.play(scale.latency_results, scale.latency_rate) for _ in range(scale.rounds)]
    p50, p99 = (median(percentile(one.waits(), share) for one in rounds) * 1000 for share in (0.5, 0.99))
    whole = median(percentile(one.whole_waits(), 0.99) for one in rounds) * 1000
    note = f"at {scale.latency_rate:g}/s; p50 {p50:.1f} ms; due to delivered p99 {whole:.1f} ms"
    return [
        Line(
            name="answered to delivered, p99",
            measured=p99,
            unit="ms",
            judged=p99,
            target=100,
            at_least=False,
            note=note,
        )
    ]
