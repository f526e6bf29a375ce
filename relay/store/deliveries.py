"""Deliveries: reading them, and what people do to them (retry, cancel). Claims and settlement are elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, select, update

from relay.clock import Instant
from relay.model import DELIVERY, Delivery, DeliveryStatus
from relay.store import breakers, replays
from relay.store.bulk import chunks
from relay.store.rows import Connection, Page, Row, Window, in_state, in_states, one, page_of_states
from relay.store.schema import deliveries, results

USUAL: Final = (DeliveryStatus.DELIVERED,)  # what `ix_deliveries_odd` leaves out


def get(conn: Connection, id: str) -> Delivery | None:
    """One delivery."""
    return one(conn, select(deliveries).where(deliveries.c.id == id), read)


def page(
    conn: Connection,
    *,
    subscription_id: str | None = None,
    status: Sequence[DeliveryStatus] = (),
    result_id: str | None = None,
    job_id: str | None = None,
    replay_id: str | None = None,
    window: Window | None = None,
) -> Page[Delivery]:
    """Newest first; `status` names the states that are wanted, none meaning all."""
    window = window or Window()
    where: list[ColumnElement[bool]] = []
    narrow = result_id is not None or job_id is not None or replay_id is not None
    if replay_id is not None:
        status = status or tuple(DeliveryStatus)  # its index is in order for each state
    states = in_states(deliveries.c.status, status, () if narrow else USUAL)
    if subscription_id is not None:
        where.append(deliveries.c.subscription_id == subscription_id)
    if result_id is not None:
        where.append(deliveries.c.result_id == result_id)
    if job_id is not None:
        mine = select(results.c.id).where(results.c.job_id == job_id)
        where.append(deliveries.c.result_id.in_(list(conn.execute(mine).scalars())))
    if replay_id is not None:
        where += [deliveries.c.replay_id == replay_id, deliveries.c.replay_id != ""]
    return page_of_states(conn, deliveries, DELIVERY, window, where, states, read)


def retry(conn: Connection, id: str, now: Instant, *, pulled: bool = False) -> Delivery | None:
    """Make it due now with a fresh budget of attempts, whatever became of it. None when there is no such delivery.

    `pulled`: its subscription takes it, instead of having it sent. One that is being sent this moment keeps its claim
    and only gets the fresh budget: a second sender would repeat it. Its
    breaker, if it is open, is to probe now: somebody thinks that it will be answered.
    """
    before = _locked(conn, id)
    if before is None:
        return None
    mine = deliveries.c.id == id
    busy = (deliveries.c.status == DeliveryStatus.PENDING.value, deliveries.c.lease_until > now)
    fresh = {"budget_from": deliveries.c.attempts}
    if not conn.execute(update(deliveries).where(mine, *busy).values(fresh)).rowcount:
        due = {
            "status": DeliveryStatus.PENDING.value,
            "settled_at": None,
            "due_at": None if pulled else now,
            "pull_at": now if pulled else None,
            "lease_until": None,
            "last_error": None,
            "claims": deliveries.c.claims + 1,
        }
        conn.execute(update(deliveries).where(mine).values(fresh | due))
        replays.count(conn, [(before.replay_id or "", before.status, DeliveryStatus.PENDING)])
    found = get(conn, id)
    if found is not None:
        breakers.hurry(conn, found.subscription_id, now)
    return found


def cancel(conn: Connection, id: str, now: Instant) -> Delivery | None:
    """End it if it is pending; any other is returned as it is. None when there is no such delivery."""
    before = _locked(conn, id)
    if before is None or before.status is not DeliveryStatus.PENDING:
        return before
    conn.execute(update(deliveries).where(deliveries.c.id == id).values(_ended(now)))
    replays.count(conn, [(before.replay_id or "", None, DeliveryStatus.CANCELLED)])
    return get(conn, id)


def cancel_some(
    conn: Connection, now: Instant, *, subscription_id: str = "", replay_id: str = "", limit: int = 500
) -> int:
    """End up to `limit` pending deliveries of a subscription that was deleted, or of a replay that was cancelled.

    How many there were: call it again, in a transaction of its own, until there are none.
    """
    ended = 0
    for waiting in (deliveries.c.due_at, deliveries.c.pull_at):  # each has an index of its own
        if subscription_id:
            mine = [deliveries.c.subscription_id == subscription_id, waiting.is_not(None)]
        else:
            mine = [deliveries.c.replay_id == replay_id, deliveries.c.replay_id != "", *_PENDING]
        query = select(deliveries.c.id, deliveries.c.replay_id).where(*mine).order_by(deliveries.c.id)
        ended += end(conn, query.limit(limit - ended), _ended(now))
        if ended >= limit or not subscription_id:
            break
    return ended


def end(conn: Connection, some: Select[str, str], values: dict[str, Any]) -> int:
    """End the pending deliveries that `some` selects, by id and replay; how many."""
    found = {row.id: row.replay_id for row in conn.execute(some.with_for_update())}
    for part in chunks(found, 500):
        conn.execute(update(deliveries).where(deliveries.c.id.in_(part)).values(values))
    replays.count(conn, [(replay_id, None, DeliveryStatus.CANCELLED) for replay_id in found.values()])
    return len(found)


def _locked(conn: Connection, id: str) -> Delivery | None:
    return one(conn, select(deliveries).where(deliveries.c.id == id).with_for_update(), read)


_PENDING: Final = in_state(deliveries.c.status, DeliveryStatus.PENDING)


def _ended(now: Instant) -> dict[str, Any]:
    return {
        "status": DeliveryStatus.CANCELLED.value,
        "settled_at": now,
        "due_at": None,
        "pull_at": None,
        "lease_until": None,
        "claims": deliveries.c.claims + 1,  # whoever is sending it now can no longer settle it
    }


def read(row: Row) -> Delivery:
    """A row of `deliveries` as a Delivery."""
    return Delivery(
        id=row.id,
        result_id=row.result_id,
        subscription_id=row.subscription_id,
        replay_id=row.replay_id or None,
        message_id=row.message_id,
        status=DeliveryStatus(row.status),
        attempts=row.attempts,
        budget_from=row.budget_from,
        created_at=row.created_at,
        settled_at=row.settled_at,
        http_status=row.http_status,
        due_at=row.due_at,
        lease_until=row.lease_until,
        claims=row.claims,
        last_error=row.last_error,
        pull_at=row.pull_at,
    )


COLUMNS: Final = (
    "id", "result_id", "subscription_id", "replay_id", "message_id", "status", "attempts", "budget_from", "created_at",
    "settled_at", "http_status", "due_at", "lease_until", "claims", "last_error", "pull_at",
)  # fmt: skip


def to_row(delivery: Delivery) -> tuple[Any, ...]:
    """A Delivery as a row of `deliveries`, in the order of COLUMNS."""
    return (
        delivery.id, delivery.result_id, delivery.subscription_id, delivery.replay_id or "", delivery.message_id,
        delivery.status.value, delivery.attempts, delivery.budget_from, delivery.created_at, delivery.settled_at,
        delivery.http_status, delivery.due_at, delivery.lease_until, delivery.claims, delivery.last_error,
        delivery.pull_at,
    )  # fmt: skip
