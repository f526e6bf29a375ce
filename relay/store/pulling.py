"""Messages of pull subscriptions: leased, acknowledged, given back. A message is a delivery that its subscriber takes.

Such a row waits by `pull_at` and not by `due_at`, so that no scheduler that sends ever sees it. A lease moves `pull_at`
to its end; nothing has to be undone when the lease is lost. Each lease is a row of `attempts`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import Enum
from typing import Any, Final

from sqlalchemy import Connection, case, delete, select, update

from relay.clock import Instant
from relay.frozen import frozen
from relay.ids import lowest_id
from relay.model import DELIVERY, Attempt, Delivery, DeliveryStatus
from relay.store import attempts as attempt_rows
from relay.store import deliveries as delivery_rows
from relay.store import replays
from relay.store.bulk import insert_many, lookup
from relay.store.queue import Held, held
from relay.store.schema import attempts, deliveries, results, subscriptions

LEASED: Final = "leased"  # the error code of an attempt while its lease stands
LEASE_EXPIRED: Final = "lease_expired"
RELEASED: Final = "released"
BATCH: Final = 500
MOST_MS: Final = 2**31 - 1


class Acknowledged(Enum):
    """What an acknowledgement came to."""

    DONE = "acknowledged"
    BEFORE = "already_acknowledged"
    ENDED = "settled"  # exhausted or cancelled before
    NOT_LEASED = "not_leased"  # it waits, and nobody has taken it so far
    UNKNOWN = "unknown"


@frozen()
class Waiting:
    """A message that may be taken, and about how large it is."""

    id: str
    size_bytes: int


def waiting(connection: Connection, subscription_id: str, now: Instant, limit: int) -> list[Waiting]:
    """The messages that have waited longest. An index alone finds them."""
    column = deliveries.c
    first = (
        select(column.id, column.pull_at, column.result_id)
        .where(column.subscription_id == subscription_id, column.pull_at <= now)
        .order_by(column.pull_at, column.id)
        .limit(limit)
        .subquery()
    )
    columns = (first.c.pull_at, first.c.id, results.c.size_bytes)
    sized = select(*columns).outerjoin(results, results.c.id == first.c.result_id)
    found = sorted((row.pull_at, row.id, row.size_bytes or 0) for row in connection.execute(sized))
    return [Waiting(row_id, size) for _, row_id, size in found]


def lease(
    connection: Connection, ids: Sequence[str], now: Instant, until: Instant, attempt_of: Callable[[Delivery], Attempt]
) -> list[Delivery]:
    """Take those of `ids` that nobody else took meanwhile, oldest first, and log an attempt for each.

    `attempt_of` is given the delivery as it is from now on.
    """
    column = deliveries.c
    free = (
        select(column.id)
        .where(column.id.in_(ids), column.pull_at <= now)
        .order_by(column.id)
        .with_for_update(skip_locked=True)
        .cte("free")
    )
    taken = {"pull_at": until, "claims": column.claims + 1, "attempts": column.attempts + 1}
    statement = update(deliveries).where(column.id.in_(select(free.c.id))).values(taken).returning(*column)
    leased = sorted((delivery_rows.read(row) for row in connection.execute(statement)), key=lambda item: item.id)
    again = [item.id for item in leased if item.attempts > 1]
    _close_attempts(connection, again, now, LEASE_EXPIRED)
    made = [attempt_rows.to_row(attempt_of(item)) for item in leased]
    insert_many(connection, attempts, attempt_rows.COLUMNS, made)
    _forget_attempts(connection, leased)
    return leased


def acknowledge(
    connection: Connection, subscription_id: str, message_ids: Sequence[str], now: Instant
) -> dict[str, Acknowledged]:
    """Settle what was handled, whoever holds the lease now: that it was handled is true all the same.

    One that was never leased stays: of a replay nobody has seen yet, a late acknowledgement says nothing.
    """
    found: dict[str, set[Acknowledged]] = {}
    mine: list[str] = []
    for row_id, message_id, status, made in _of_messages(connection, subscription_id, message_ids):
        standing = _standing(status, made)
        found.setdefault(message_id, set()).add(standing)
        if standing is Acknowledged.DONE:
            mine.append(row_id)
    done = {
        "status": DeliveryStatus.DELIVERED.value,
        "settled_at": now,
        "pull_at": None,
        "claims": deliveries.c.claims + 1,
        "last_error": None,
    }
    if mine:
        replays.count_settled(connection, mine, DeliveryStatus.DELIVERED)
        connection.execute(update(deliveries).where(deliveries.c.id.in_(mine)).values(done))
        _close_attempts(connection, mine, now, None)
    return {message_id: _best(found.get(message_id, set())) for message_id in message_ids}


def _of_messages(
    connection: Connection, subscription_id: str, message_ids: Sequence[str]
) -> list[tuple[str, str, str, int]]:
    """A message's id is its result's or, in a replay that asked for new ones, its delivery's."""
    columns, where = ("id", "message_id", "status", "attempts"), {"subscription_id": subscription_id}
    by_result = lookup(connection, deliveries, columns, "result_id", message_ids, where, lock=True)
    by_id = lookup(connection, deliveries, columns, "id", message_ids, where, lock=True)
    wanted = set(message_ids)
    unique = {row[0]: (row[0], row[1], row[2], row[3]) for row in (*by_result, *by_id)}
    return [row for row in unique.values() if row[1] in wanted]


def _standing(status: str, made: int) -> Acknowledged:
    if status == DeliveryStatus.PENDING.value:
        return Acknowledged.DONE if made else Acknowledged.NOT_LEASED
    return Acknowledged.BEFORE if status == DeliveryStatus.DELIVERED.value else Acknowledged.ENDED


def _best(found: set[Acknowledged]) -> Acknowledged:
    """Of several deliveries of one message, what tells the caller most. The order of the members is that order."""
    return next((one for one in Acknowledged if one in found), Acknowledged.UNKNOWN)


def release(
    connection: Connection, subscription_id: str, leases: Collection[Held], now: Instant, pull_at: Instant
) -> set[Held]:
    """Let others take them from `pull_at` on; those that still stood."""
    mine = {row_id: row.claims for row_id, row in held(connection, deliveries, leases).items()}
    standing = (
        deliveries.c.id.in_(sorted(mine)),
        deliveries.c.subscription_id == subscription_id,
        deliveries.c.pull_at.is_not(None),
    )
    free = {"pull_at": pull_at, "claims": deliveries.c.claims + 1, "last_error": RELEASED}
    statement = update(deliveries).where(*standing).values(free).returning(deliveries.c.id)
    released = set(connection.execute(statement).scalars()) if mine else set()
    _close_attempts(connection, sorted(released), now, RELEASED)
    return {(row_id, mine[row_id]) for row_id in released}


def _close_attempts(connection: Connection, owner_ids: Sequence[str], now: Instant, error_code: str | None) -> None:
    """Say how the leases of these that are open have ended."""
    if not owner_ids:
        return
    lasted = now - attempts.c.started_at
    open_ones = (attempts.c.owner_id.in_(owner_ids), attempts.c.error_code == LEASED)
    values = {"error_code": error_code, "duration_ms": case((lasted > MOST_MS, MOST_MS), else_=lasted)}
    connection.execute(update(attempts).where(*open_ones).values(values))


def _forget_attempts(connection: Connection, leased: Sequence[Delivery]) -> None:
    """Keep the latest ones: a message that nobody can handle is leased without end."""
    for item in leased:
        if item.attempts > attempt_rows.MOST:
            old = (attempts.c.owner_id == item.id, attempts.c.number <= item.attempts - attempt_rows.MOST)
            connection.execute(delete(attempts).where(*old))


def exhaust(connection: Connection, before: Instant, now: Instant) -> int:
    """End what has waited since `before` without being acknowledged: it would be kept for ever. How many."""
    column = deliveries.c
    old = select(column.id).where(column.pull_at.is_not(None), column.id < lowest_id(DELIVERY, before)).limit(BATCH)
    values: dict[str, Any] = {
        "status": DeliveryStatus.EXHAUSTED.value,
        "settled_at": now,
        "pull_at": None,
        "claims": column.claims + 1,
        "last_error": "not_acknowledged",
    }
    ids = list(connection.execute(old.order_by(column.id).with_for_update()).scalars())
    replays.count_settled(connection, ids, DeliveryStatus.EXHAUSTED)
    return connection.execute(update(deliveries).where(column.id.in_(ids)).values(values)).rowcount


def adopt(connection: Connection) -> int:
    """Take over what a node of an earlier version planned for a pull subscription as if it were to be sent."""
    pulls = select(subscriptions.c.id).where(subscriptions.c.kind == "pull")
    column = deliveries.c
    strays = select(column.id).where(column.subscription_id.in_(pulls), column.due_at.is_not(None)).limit(BATCH)
    moved = {"pull_at": column.due_at, "due_at": None, "lease_until": None, "claims": column.claims + 1}
    # said once more for a row that had to be waited for: another node has moved it, and moved twice it has no time left
    mine = (column.id.in_(strays), column.due_at.is_not(None))
    return connection.execute(update(deliveries).where(*mine).values(moved)).rowcount
