"""Replays: what was asked for and how far it is."""

from __future__ import annotations

from sqlalchemy import func, select, update
from sqlalchemy import insert as insert_into

from relay.frozen import frozen
from relay.model import REPLAY, DeliveryStatus, Replay, ReplayStatus
from relay.store.rows import Connection, Page, Row, Window, dump, dump_or_null, load, load_tuple, one
from relay.store.rows import page as page_of
from relay.store.schema import deliveries, replays


@frozen()
class Counts:
    """How far a replay is: `total` deliveries planned so far, of them waiting, delivered, and ended otherwise."""

    total: int
    queued: int
    delivered: int
    failed: int


def get(conn: Connection, id: str) -> Replay | None:
    """One replay."""
    return one(conn, select(replays).where(replays.c.id == id), read)


def page(conn: Connection, *, window: Window | None = None) -> Page[Replay]:
    """Newest first."""
    return page_of(conn, replays, REPLAY, window or Window(), [], read)


def insert(conn: Connection, replay: Replay) -> None:
    """Store a new one."""
    values = {
        "id": replay.id,
        "status": replay.status.value,
        "filter": dump(dict(replay.filter)),
        "subscription_ids": dump_or_null(None if replay.subscription_ids is None else list(replay.subscription_ids)),
        "mode": replay.mode,
        "new_message_id": replay.new_message_id,
        "rate_per_second": replay.rate_per_second,
        "cursor": replay.cursor,
        "upper_id": replay.upper_id,
        "total": replay.total,
        "planned": replay.planned,
        "created_at": replay.created_at,
    }
    conn.execute(insert_into(replays).values(**values))


def cancel(conn: Connection, id: str) -> Replay | None:
    """Stop one that is not over; None when there is no such replay.

    Its pending deliveries are ended by `deliveries.cancel_some`, in transactions of their own: they may be many.
    """
    over = [ReplayStatus.DONE.value, ReplayStatus.CANCELLED.value]
    change = update(replays).where(replays.c.id == id, replays.c.status.not_in(over))
    conn.execute(change.values(status=ReplayStatus.CANCELLED.value))
    return get(conn, id)


def counts(conn: Connection, id: str) -> Counts:
    """How far it is, counted from its deliveries; `total` is what has been planned, 0 for an unknown id."""
    mine = (deliveries.c.replay_id == id, deliveries.c.replay_id != "")
    query = select(deliveries.c.status, func.count()).where(*mine).group_by(deliveries.c.status)
    found: dict[str, int] = {row[0]: row[1] for row in conn.execute(query)}
    queued, delivered = found.get(DeliveryStatus.PENDING, 0), found.get(DeliveryStatus.DELIVERED, 0)
    total = conn.execute(select(replays.c.total).where(replays.c.id == id)).scalar() or 0
    return Counts(total, queued, delivered, sum(found.values()) - queued - delivered)


def read(row: Row) -> Replay:
    """A row of `replays` as a Replay."""
    return Replay(
        id=row.id,
        status=ReplayStatus(row.status),
        filter=load(row.filter),
        subscription_ids=load_tuple(row.subscription_ids),
        mode=row.mode,
        new_message_id=bool(row.new_message_id),
        rate_per_second=row.rate_per_second,
        created_at=row.created_at,
        cursor=row.cursor,
        upper_id=row.upper_id,
        total=row.total,
        planned=bool(row.planned),
    )
