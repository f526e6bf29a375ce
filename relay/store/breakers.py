"""Subscriptions that take nothing at present, as all nodes know them. Of a healthy one there is no row.

A row says since when there was nothing but failures. While `opened_at` is set nothing is sent but a probe now and then,
which one node makes: whoever wins `next_probe_at`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from relay.clock import Instant
from relay.frozen import frozen
from relay.model import SubscriptionStatus
from relay.store.bulk import insert_ignoring
from relay.store.schema import breakers, deliveries, subscriptions


@frozen(kw_only=True)
class Breaker:
    """What is known of a subscription that fails."""

    subscription_id: str
    failing_since: Instant
    opened_at: Instant | None = None  # None: it fails, and is tried all the same
    next_probe_at: Instant | None = None
    probe_until: Instant | None = None  # one node is probing, until then
    probes: int = 0  # that failed since it opened
    last_error: str | None = None


def load(connection: Connection) -> dict[str, Breaker]:
    """All of them, by subscription."""
    return {row.subscription_id: _read(row) for row in connection.execute(select(breakers))}


def of(connection: Connection, subscription_ids: Collection[str]) -> dict[str, Breaker]:
    """Those of these subscriptions that there are."""
    query = select(breakers).where(breakers.c.subscription_id.in_(list(subscription_ids)))
    return {row.subscription_id: _read(row) for row in connection.execute(query)}


def _read(row: Row[Any]) -> Breaker:
    return Breaker(**row._mapping)


def put(connection: Connection, breaker: Breaker) -> None:
    """Note a failing subscription, or open its breaker. What another node found out earlier stands: the earlier
    `failing_since`, and an open breaker with its probes."""
    mine = breakers.c.subscription_id == breaker.subscription_id
    values = {
        "subscription_id": breaker.subscription_id,
        "failing_since": breaker.failing_since,
        "opened_at": breaker.opened_at,
        "next_probe_at": breaker.next_probe_at,
        "probe_until": None,
        "probes": 0,
        "last_error": breaker.last_error,
    }
    if connection.execute(insert_ignoring(connection, breakers), values).rowcount or breaker.opened_at is None:
        return
    opening = {name: values[name] for name in ("opened_at", "next_probe_at", "probe_until", "probes", "last_error")}
    connection.execute(update(breakers).where(mine, breakers.c.opened_at.is_(None)).values(opening))


def hurry(connection: Connection, subscription_id: str, now: Instant) -> None:
    """If it is open, probe it now."""
    mine = (breakers.c.subscription_id == subscription_id, breakers.c.next_probe_at > now)
    connection.execute(update(breakers).where(*mine).values(next_probe_at=now))


def close(connection: Connection, subscription_id: str) -> None:
    """It answers again, but refuses: what is sent fails, so `failing_since` stands."""
    closed = {"opened_at": None, "next_probe_at": None, "probe_until": None, "probes": 0}
    connection.execute(update(breakers).where(breakers.c.subscription_id == subscription_id).values(closed))


def clear(connection: Connection, subscription_id: str) -> None:
    """It is healthy, or somebody says that it may be tried as if it were."""
    connection.execute(delete(breakers).where(breakers.c.subscription_id == subscription_id))


def to_probe(connection: Connection, now: Instant) -> list[str]:
    """The open ones whose next probe is due, where there is something to probe with and nobody has paused them."""
    waiting = select(deliveries.c.id).where(
        deliveries.c.subscription_id == breakers.c.subscription_id, deliveries.c.due_at <= now
    )
    active = select(subscriptions.c.id).where(
        subscriptions.c.id == breakers.c.subscription_id, subscriptions.c.status == SubscriptionStatus.ACTIVE.value
    )
    query = select(breakers.c.subscription_id).where(*_free(now), waiting.exists(), active.exists())
    return list(connection.execute(query.order_by(breakers.c.subscription_id)).scalars())


def take_probe(connection: Connection, subscription_id: str, now: Instant, until: Instant) -> bool:
    """Whether the probe is ours to make, until `until`."""
    mine = breakers.c.subscription_id == subscription_id
    return bool(connection.execute(update(breakers).where(mine, *_free(now)).values(probe_until=until)).rowcount)


def _free(now: Instant) -> tuple[Any, ...]:
    column = breakers.c
    return column.next_probe_at <= now, (column.probe_until.is_(None) | (column.probe_until <= now))


def probe_failed(connection: Connection, breaker: Breaker) -> None:
    """Write down when the next one is due, and what came of this one."""
    values = {
        "next_probe_at": breaker.next_probe_at,
        "probe_until": None,
        "probes": breaker.probes,
        "last_error": breaker.last_error,
    }
    mine = (breakers.c.subscription_id == breaker.subscription_id, breakers.c.opened_at.is_not(None))
    connection.execute(update(breakers).where(*mine).values(values))
