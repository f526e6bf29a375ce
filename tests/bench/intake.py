"""Durable intake against the same Starlette route that only reads the body.

Both are separate processes, sent the same requests by the same generator. The relay's webhook may fetch one result
in a long while, so that receiving is all that it does.
"""

from __future__ import annotations

from tests.bench import rig
from tests.bench.report import Line, interleave, median
from tests.bench.scale import Scale
from tests.bench.wire import Plan, notification

URL = "http://127.0.0.1:9/results"


def run(scale: Scale) -> list[Line]:
    """Requests per second of both, flooded in turn."""
    sent = {"relay": 0, "floor": 0}
    with rig.light("server") as floor, rig.relay() as relay:
        path = relay.webhook(floor, origins=["http://127.0.0.1:9"], fetch_max_in_flight=1, fetch_rate_per_second=0.01)

        def flood(name: str, port: int, target: str) -> float:
            first, sent[name] = sent[name], sent[name] + scale.intake_requests
            plan = Plan(port=port, template=notification(target, URL), count=scale.intake_requests, first=first)
            summary = rig.send(plan)
            if summary.answered != scale.intake_requests:
                raise rig.RigError(f"{name}: {summary.statuses} {relay.said()}")
            return summary.per_second

        def measure_relay() -> float:
            return flood("relay", relay.running.port, path)

        def measure_floor() -> float:
            return flood("floor", floor.port, "/in/" + path.rpartition("/")[2])

        measure_relay(), measure_floor()  # the first run of each warms up and is not counted
        relays, floors = interleave(scale.rounds, measure_relay, measure_floor)
    ratio = median(ours / theirs for ours, theirs in zip(relays, floors, strict=True))
    return [
        Line(
            name="durable intake",
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
    ]
