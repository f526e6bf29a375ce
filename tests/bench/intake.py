"""Durable intake against the same Starlette route that only reads the body.

Both are separate processes, sent the same requests by the same generator. The relay's webhook may fetch one result
in a long while, so that receiving is all that it does.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.bench import rig
from tests.bench.report import Line, interleave, median
from tests.bench.scale import Scale
from tests.bench.wire import Plan, notification

URL = "http://127.0.0.1:9/results"


CONNECTIONS = (64, 256)  # of the generator: each has one request in flight, so few of them wait for the disk together


def run(scale: Scale) -> list[Line]:
    """Requests per second of both, flooded in turn over few and over many connections."""
    with rig.light("server") as floor, rig.relay() as relay:
        path = relay.webhook(floor, origins=["http://127.0.0.1:9"], fetch_max_in_flight=1, fetch_rate_per_second=0.01)
        targets = {"relay": (relay.running.port, path), "floor": (floor.port, "/in/" + path.rpartition("/")[2])}
        sent = dict.fromkeys(targets, 0)

        def flood(name: str, connections: int) -> float:
            port, target = targets[name]
            first, sent[name] = sent[name], sent[name] + scale.intake_requests
            template = notification(target, URL)
            plan = Plan(port=port, template=template, count=scale.intake_requests, first=first, connections=connections)
            summary = rig.send(plan)
            if summary.answered != scale.intake_requests:
                raise rig.RigError(f"{name}: {summary.statuses} {relay.said()}")
            return summary.per_second

        flood("relay", CONNECTIONS[0]), flood("floor", CONNECTIONS[0])  # each warms up, which is not counted
        return [_measure(scale, connections, flood) for connections in CONNECTIONS]


def _measure(scale: Scale, connections: int, flood: Callable[[str, int], float]) -> Line:
    relays, floors = interleave(
        scale.intake_rounds, lambda: flood("relay", connections), lambda: flood("floor", connections)
    )
    ratio = median(ours / theirs for ours, theirs in zip(relays, floors, strict=True))
    return Line(
        name=f"durable intake, {connections} connections",
        measured=median(relays),
        unit="req/s",
        floor=median(floors),
        ratio=ratio,
        judged=ratio,
        target=0.4,
        aim=0.55,
        at_least=True,
        note="floor: a Starlette route that reads the body",
    )
