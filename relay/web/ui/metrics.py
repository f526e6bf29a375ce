"""Metrics: the rollups as charts, made on the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.responses import Response

from relay.clock import Instant
from relay.frozen import frozen
from relay.pipeline import counters
from relay.store import rollups
from relay.store.rollups import HOUR, MINUTE, MINUTE_MS, Sum
from relay.store.rows import Connection
from relay.web.ui import numbers
from relay.web.ui.visit import Visit
from relay.web.ui.words import stamp

# name in the address: words, steps, minutes of a step
RANGES: Final = {
    "1h": ("last hour, by minute", 60, MINUTE),
    "24h": ("last 24 hours, by hour", 24, HOUR),
    "7d": ("last 7 days, by hour", 168, HOUR),
}
QUANTILES: Final = (0.5, 0.95, 0.99)


@frozen(kw_only=True)
class Chart:
    """Stacked bars with their numbers."""

    title: str
    good_name: str
    bad_name: str
    bars: list[numbers.Bar]
    good: list[int]
    bad: list[int]


async def page(visit: Visit) -> Response:
    """The charts for one range of time."""
    chosen = visit.request.query_params.get("range", "1h")
    words, steps, span = RANGES.get(chosen, RANGES["1h"])
    since = numbers.first_step(visit.now, steps, span)

    def read(conn: Connection) -> list[Sum]:
        return rollups.over_all(conn, since, span)

    sums = await visit.services.database.read(read)
    starts = [since + place * span * MINUTE_MS for place in range(steps)]
    return visit.page(
        "metrics.html", "Metrics", chosen=chosen if chosen in RANGES else "1h", ranges=RANGES, words=words,
        charts=_charts(sums, starts), totals=numbers.totals(sums), starts=starts,
        quantiles=[(share, numbers.quantile(sums, share)) for share in QUANTILES],
    )  # fmt: skip


def _charts(sums: list[Sum], starts: list[int]) -> list[Chart]:
    def chart(title: str, good: tuple[str, Callable[[Sum], bool]], bad: tuple[str, Callable[[Sum], bool]]) -> Chart:
        fine, wrong = numbers.series(sums, len(starts), good[1]), numbers.series(sums, len(starts), bad[1])
        made = numbers.bars(fine, wrong, lambda place: stamp(Instant(starts[place]))[:16] + "Z")
        return Chart(title=title, good_name=good[0], bad_name=bad[0], bars=made, good=fine, bad=wrong)

    def called(*names: str) -> Callable[[Sum], bool]:
        return lambda item: item.counter in names

    attempts = numbers.series(sums, len(starts), called(counters.FETCHES))
    errors = numbers.series(sums, len(starts), called(counters.FETCH_ERRORS))
    fine = [a - b for a, b in zip(attempts, errors, strict=True)]
    fetches = Chart(
        title="Fetch attempts", good_name="answered", bad_name="errors", good=fine, bad=errors,
        bars=numbers.bars(fine, errors, lambda place: stamp(Instant(starts[place]))[:16] + "Z"),
    )  # fmt: skip
    taken = ("notification.accepted", "notification.ignored", "notification.duplicate")
    refused = ("notification.rejected", "notification.unprocessable")
    return [
        chart("Notifications", ("taken", called(*taken)), ("rejected", called(*refused))),
        fetches,
        chart("Results stored", ("completed", called("result.completed")), ("others", called(*numbers.STORED[1:]))),
        chart("Delivery attempts", ("delivered", called(counters.DELIVERED)), ("failed", called(counters.FAILED))),
    ]
