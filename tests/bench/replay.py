"""What live deliveries notice of a replay to the very same subscriptions, which runs as fast as it can."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from relay.clock import Instant
from relay.store.migrate import upgrade
from tests.bench import rig
from tests.bench.report import Line, interleave, median, percentile
from tests.bench.results import PATHS, WARM_UP, Bench
from tests.bench.scale import Scale
from tests.support import crowd

ALLOWED_RATIO: Final = 1.5
TOLERATED_MS: Final = 10.0


def run(scale: Scale) -> list[Line]:
    """p99 of live deliveries while stored results are replayed, beside p99 without; and how fast the replay is."""
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as directory:
        url = f"sqlite:///{Path(directory, 'relay.db')}"
        asyncio.run(_fill(url, scale.replay_results))
        with (
            rig.light("provider", "--size", "2048") as provider,
            rig.light("subscriber") as subscriber,
            rig.relay(RELAY_DATABASE_URL=url) as relay,
        ):
            path = relay.webhook(provider)
            relay.subscribe(subscriber, *PATHS)
            rigged = Bench(relay, provider, subscriber, path)
            rigged.play(WARM_UP, scale.latency_rate)
            speeds: list[float] = []

            def alone() -> float:
                return percentile(rigged.play(scale.latency_results, scale.latency_rate).waits(), 0.99)

            def beside() -> float:
                replay = _start(relay)
                began = time.monotonic()
                waits = rigged.play(scale.latency_results, scale.latency_rate).waits()
                speeds.append(_stop(relay, replay) / (time.monotonic() - began))
                return percentile(waits, 0.99)

            bases, others = interleave(scale.rounds, alone, beside)
    base, other = median(bases) * 1000, median(others) * 1000
    allowed = max(ALLOWED_RATIO * base, base + TOLERATED_MS)
    return [
        Line(
            name="live p99 beside a replay",
            measured=other,
            unit="ms",
            floor=base,
            ratio=other / base,
            judged=other,
            target=round(allowed, 1),
            at_least=False,
            note=f"live {scale.latency_rate:g}/s x {len(PATHS)}, replay {median(speeds):,.0f} deliveries/s to the same",
        )
    ]


async def _fill(url: str, total: int) -> None:
    await upgrade(url)
    await crowd.store_results(url, total, Instant(round(time.time() * 1000)))


def _start(relay: rig.Relay) -> str:
    wanted = {"filter": {"created_after": "2000-01-01T00:00:00Z"}, "mode": "all"}
    replay: str = relay.api("POST", "/v1/replays", wanted)["id"]
    return replay


def _stop(relay: rig.Relay, replay: str) -> int:
    """End it; how much it had delivered. Raises RigError when it was over before the live deliveries were."""
    shown: dict[str, Any] = relay.api("GET", f"/v1/replays/{replay}")
    if shown["status"] != "running":
        raise rig.RigError(f"the replay of {shown['total']} deliveries was over too early: take more results")
    relay.api("DELETE", f"/v1/replays/{replay}")
    return int(shown["delivered"])
