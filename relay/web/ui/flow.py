"""The flow picture: webhooks at the left, subscriptions at the right, a band for what went from one to the other."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from relay.frozen import frozen
from relay.pipeline import counters
from relay.store.rollups import Sum

MOST: Final = 8
ROW: Final = 44
LEFT, RIGHT, WIDTH = 190, 450, 640
LONGEST_NAME: Final = 22


@frozen(kw_only=True)
class Knot:
    """A webhook or a subscription."""

    id: str
    name: str
    y: int
    count: int
    note: str
    tone: str


@frozen(kw_only=True)
class Band:
    """What went from a webhook to a subscription."""

    path: str
    width: float
    tone: str
    label: str


@frozen(kw_only=True)
class Flow:
    """The whole picture."""

    webhooks: list[Knot]
    subscriptions: list[Knot]
    bands: list[Band]
    height: int
    left_out: int


def flow(sums: Iterable[Sum], names: Mapping[str, str], shown: Iterable[str]) -> Flow:
    """Draw it. `shown` are the ids that are there whatever happened, most important first."""
    pairs: defaultdict[tuple[str, str], int] = defaultdict(int)
    by: defaultdict[tuple[str, str], int] = defaultdict(int)
    for item in sums:
        if item.counter == counters.FANNED_OUT:
            pairs[item.webhook_id, item.subscription_id] += item.amount
        elif item.counter.startswith("notification."):
            by[item.webhook_id, "notified"] += item.amount
        elif item.subscription_id:
            by[item.subscription_id, item.counter] += item.amount
    ids = dict.fromkeys([*(id for pair in pairs for id in pair), *(id for id, _ in by), *shown])
    there = [id for id in ids if id in names]
    webhooks, subscriptions = _busiest(there, "wh_", pairs, by), _busiest(there, "sub_", pairs, by)
    left = [_webhook(id, place, names[id], by[id, "notified"]) for place, id in enumerate(webhooks[:MOST])]
    right = [_subscription(id, place, names[id], by) for place, id in enumerate(subscriptions[:MOST])]
    return Flow(
        webhooks=left,
        subscriptions=right,
        bands=_bands(left, right, pairs),
        height=max(1, len(left), len(right)) * ROW,
        left_out=max(0, len(webhooks) - MOST) + max(0, len(subscriptions) - MOST),
    )


def _busiest(
    ids: Iterable[str], prefix: str, pairs: Mapping[tuple[str, str], int], by: Mapping[tuple[str, str], int]
) -> list[str]:
    weights = {id: by.get((id, "notified"), 0) for id in ids if id.startswith(prefix)}
    for pair, amount in pairs.items():
        for id in pair:
            if id in weights:
                weights[id] += amount
    return sorted(weights, key=lambda id: -weights[id])


def _webhook(id: str, place: int, name: str, notified: int) -> Knot:
    return Knot(id=id, name=_cut(name), y=_y(place), count=notified, note=f"{notified:,} notified", tone="plain")


def _subscription(id: str, place: int, name: str, by: Mapping[tuple[str, str], int]) -> Knot:
    delivered, failed = by.get((id, counters.DELIVERED), 0), by.get((id, counters.FAILED), 0)
    tried = delivered + failed
    share = failed / tried if tried else 0.0
    note = f"{100 * delivered / tried:.1f} % of {tried:,} ok" if tried else "nothing yet"
    return Knot(id=id, name=_cut(name), y=_y(place), count=tried, note=note, tone=_tone(share, tried))


def _tone(share: float, tried: int) -> str:
    if not tried:
        return "off"
    return "ok" if share < 0.01 else "warn" if share < 0.2 else "bad"


def _bands(left: list[Knot], right: list[Knot], pairs: Mapping[tuple[str, str], int]) -> list[Band]:
    most = max(pairs.values(), default=1)
    middle = (LEFT + RIGHT) / 2
    made: list[Band] = []
    for source in left:
        for target in right:
            amount = pairs.get((source.id, target.id), 0)
            if amount:
                curve = f"M{LEFT} {source.y} C{middle} {source.y} {middle} {target.y} {RIGHT} {target.y}"
                width = round(2 + 14 * math.log1p(amount) / math.log1p(most), 1)
                label = f"{source.name} to {target.name}: {amount:,} deliveries"
                made.append(Band(path=curve, width=width, tone=target.tone, label=label))
    return made


def _y(place: int) -> int:
    return place * ROW + ROW // 2


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
