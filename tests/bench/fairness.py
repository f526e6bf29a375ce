"""One subscriber that never answers and one that takes 29 s, among twenty: what the other eighteen notice.

Two relays stand side by side, one with twenty good subscribers and one where two are bad, and are sent the same load
in turn. The same eighteen are compared.
"""

from __future__ import annotations

from tests.bench.report import Line, interleave, median, percentile
from tests.bench.results import bench
from tests.bench.scale import Scale

GOOD = tuple(f"/ok/{number}" for number in range(18))
ALSO_GOOD = ("/ok/18", "/ok/19")
BAD = ("/hang", "/slow/29")
TOLERATED_RATIO = 1.2
TOLERATED_MS = 10.0


def run(scale: Scale) -> list[Line]:
    """p99 of the eighteen with two bad ones among them, beside p99 without."""
    with bench(GOOD) as healthy, bench(GOOD) as mixed:
        healthy.relay.subscribe(healthy.subscriber, *ALSO_GOOD)
        mixed.relay.subscribe(mixed.subscriber, *BAD, max_in_flight=8)

        def baseline() -> float:
            return percentile(healthy.play(scale.fairness_results, scale.fairness_rate).waits(), 0.99)

        def among_bad() -> float:
            return percentile(mixed.play(scale.fairness_results, scale.fairness_rate).waits(), 0.99)

        baseline(), among_bad()
        bases, others = interleave(scale.rounds, baseline, among_bad)
    base, other = median(bases) * 1000, median(others) * 1000
    allowed = max(TOLERATED_RATIO * base, base + TOLERATED_MS)
    return [
        Line(
            name="p99 beside two bad subscribers",
            measured=other,
            unit="ms",
            floor=base,
            ratio=other / base,
            judged=other,
            target=round(allowed, 1),
            at_least=False,
            note=f"18 good of 20 at {scale.fairness_rate:g}/s; allowed 1.2 x or 10 ms more than without the bad two",
        )
    ]
