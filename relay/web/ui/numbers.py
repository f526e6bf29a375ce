"""Rollups as numbers and rows of bars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from relay.clock import Instant
from relay.frozen import frozen
from relay.pipeline import counters
from relay.store.rollups import MINUTE_MS, Sum

STORED: Final = tuple(f"result.{status}" for status in ("completed", "failed", "cancelled", "expired"))


@frozen(kw_only=True)
class Totals:
    """What happened in some span of time."""

    notified: int
    rejected: int
    stored: int
    expired: int
    fetches: int
    fetch_errors: int
    delivered: int
    failed: int
    exhausted: int
    bytes_stored: int


def totals(sums: Iterable[Sum]) -> Totals:
    """Add everything up."""
    by: defaultdict[str, int] = defaultdict(int)
    for item in sums:
        by[item.counter] += item.amount
    return Totals(
        notified=sum(amount for name, amount in by.items() if name.startswith("notification.")),
        rejected=by["notification.rejected"],
        stored=sum(by[name] for name in STORED),
        expired=by["result.expired"],
        fetches=by[counters.FETCHES],
        fetch_errors=by[counters.FETCH_ERRORS],
        delivered=by[counters.DELIVERED],
        failed=by[counters.FAILED],
        exhausted=by[counters.EXHAUSTED],
        bytes_stored=by[counters.BYTES],
    )


def series(sums: Iterable[Sum], steps: int, wanted: Callable[[Sum], bool]) -> list[int]:
    """The amounts of what is wanted, step by step."""
    made = [0] * steps
    for item in sums:
        if 0 <= item.step < steps and wanted(item):
            made[item.step] += item.amount
    return made


def first_step(now: Instant, steps: int, span: int) -> Instant:
    """Where `steps` minutes or hours begin of which the last one holds `now`."""
    minute = now // MINUTE_MS
    return Instant((minute - minute % span - (steps - 1) * span) * MINUTE_MS)


def quantile(sums: Iterable[Sum], share: float) -> float | None:
    """In how many seconds this share of the results was stored after their notification, rounded up to a bound.

    None of nothing; infinity beyond the last bound.
    """
    prefix = "stored.within."
    by: defaultdict[str, int] = defaultdict(int)
    for item in sums:
        if item.counter.startswith(prefix):
            by[item.counter.removeprefix(prefix)] += item.amount
    total, seen = sum(by.values()), 0
    if not total:
        return None
    for bound in counters.WITHIN_SECONDS:
        seen += by[f"{bound:g}"]
        if seen >= share * total:
            return float(bound)
    return float("inf")


@frozen(kw_only=True)
class Bar:
    """One bar of a chart of 100 x 100, from its top down."""

    x: float
    width: float
    good: float  # heights
    bad: float
    label: str


def bars(good: Sequence[int], bad: Sequence[int], label: Callable[[int], str]) -> list[Bar]:
    """Stacked bars, scaled to the highest."""
    most = max((a + b for a, b in zip(good, bad, strict=True)), default=0) or 1
    width = 100 / max(1, len(good))
    return [
        Bar(
            x=round(index * width, 3),
            width=round(width * 0.8, 3),
            good=round(100 * a / most, 2),
            bad=round(100 * b / most, 2),
            label=f"{label(index)}: {a:,} ok, {b:,} failed",
        )
        for index, (a, b) in enumerate(zip(good, bad, strict=True))
    ]
