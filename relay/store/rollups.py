"""Counts per minute and per hour, added up from what every process counted in memory.

They are statistics, not the truth: a process that crashes loses what it counted in its last seconds. What is stored in
the other tables is not touched by that. `relay.pipeline.counters` says what is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlalchemy import delete, func, select, text

from relay.clock import Instant
from relay.frozen import frozen
from relay.store.rows import Connection
from relay.store.schema import rollups

MINUTE_MS: Final = 60_000
MINUTE: Final = 1
HOUR: Final = 60
PRUNED_AT_ONCE: Final = 500

Key = tuple[str, str, str]
"""A webhook's id or '', a subscription's id or '', and the name of a counter."""

_ADD: Final = text(
    "INSERT INTO rollups (span, minute, webhook_id, subscription_id, counter, amount)"
    " VALUES (:span, :minute, :webhook_id, :subscription_id, :counter, :amount)"
    " ON CONFLICT (span, minute, webhook_id, subscription_id, counter)"
    " DO UPDATE SET amount = rollups.amount + excluded.amount"
)


@frozen()
class Sum:
    """How often something happened in one minute or hour."""

    step: int  # counted from the one that holds the instant that was asked for
    webhook_id: str
    subscription_id: str
    counter: str
    amount: int


def add(conn: Connection, counted: Mapping[Key, int], now: Instant) -> None:
    """Add what was counted lately to the minute and the hour of `now`."""
    minute = now // MINUTE_MS
    rows = [
        {
            "span": span,
            "minute": minute - minute % span,
            "webhook_id": key[0],
            "subscription_id": key[1],
            "counter": key[2],
            "amount": amount,
        }
        for span in (MINUTE, HOUR)
        for key, amount in sorted(counted.items())  # in one order: no two processes wait for each other in a circle
    ]
    if rows:
        conn.execute(_ADD, rows)


def since(conn: Connection, instant: Instant, span: int, counters: Iterable[str] = ()) -> list[Sum]:
    """What happened in each `span` (MINUTE or HOUR) from the one that holds `instant` on.

    Only `counters`, if any are named.
    """
    first = instant // MINUTE_MS
    first -= first % span
    where = [rollups.c.span == span, rollups.c.minute >= first]
    wanted = list(counters)
    if wanted:
        where.append(rollups.c.counter.in_(wanted))
    columns = (rollups.c.minute, rollups.c.webhook_id, rollups.c.subscription_id, rollups.c.counter, rollups.c.amount)
    return [
        Sum((row[0] - first) // span, row[1], row[2], row[3], row[4])
        for row in conn.execute(select(*columns).where(*where))
    ]


def over_all(conn: Connection, instant: Instant, span: int, counters: Sequence[str] = ()) -> list[Sum]:
    """The same, added up over all webhooks and subscriptions, whose ids are empty."""
    first = instant // MINUTE_MS
    first -= first % span
    columns = (rollups.c.minute, rollups.c.counter)
    query = select(*columns, func.sum(rollups.c.amount)).where(rollups.c.span == span, rollups.c.minute >= first)
    if counters:
        query = query.where(rollups.c.counter.in_(counters))
    return [
        Sum((row[0] - first) // span, "", "", row[1], int(row[2])) for row in conn.execute(query.group_by(*columns))
    ]


def drop(conn: Connection, before: Instant, span: int) -> int:
    """Delete some of the oldest minutes or hours that are older than `before`; how many rows."""
    mine = rollups.c.span == span
    oldest = conn.execute(select(func.min(rollups.c.minute)).where(mine)).scalar()
    limit = before // MINUTE_MS
    if oldest is None or oldest >= limit:
        return 0
    some = min(limit, oldest + PRUNED_AT_ONCE)
    return conn.execute(delete(rollups).where(mine, rollups.c.minute < some)).rowcount
