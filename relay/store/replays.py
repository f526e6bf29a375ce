"""Replays: what was asked for and how far it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from sqlalchemy import insert as insert_into
from sqlalchemy import literal, select, update

from relay.clock import Instant
from relay.model import REPLAY, Delivery, DeliveryStatus, Replay, ReplayStatus
from relay.store.rows import Connection, Page, Row, Window, dump, dump_or_null, load, load_tuple, one
from relay.store.rows import page as page_of
from relay.store.schema import deliveries, replays

HELD_MILLISECONDS: Final = 1 << 46  # added to when a delivery of a paused replay is due: never, until taken off
HOLD_AT_ONCE: Final = 500
LIVING: Final = (ReplayStatus.RUNNING.value, ReplayStatus.PAUSED.value)

Change = tuple[str, str | None, str]  # a replay ('' = none), what its delivery was (None = pending) and is


def is_held(delivery: Delivery) -> bool:
    """Whether it waits for its replay to be resumed."""
    return max(delivery.due_at or 0, delivery.pull_at or 0) >= HELD_MILLISECONDS


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


def cancel(conn: Connection, id: str, now: Instant) -> Replay | None:
    """Stop one that is not over; None when there is no such replay.

    Its pending deliveries are ended by `deliveries.cancel_some`, in transactions of their own: they may be many. When
    that is done, `cleared` says so.
    """
    change = update(replays).where(replays.c.id == id, replays.c.status.in_(LIVING))
    conn.execute(change.values(status=ReplayStatus.CANCELLED.value, finished_at=now, next_due_at=None))
    return get(conn, id)


def cleared(conn: Connection, id: str, now: Instant) -> None:
    """Nothing of a cancelled one is pending: what is from now on, somebody wants to have retried."""
    mine = (replays.c.id == id, replays.c.status == ReplayStatus.CANCELLED.value)
    conn.execute(update(replays).where(*mine).values(next_due_at=now))


def set_status(conn: Connection, id: str, before: ReplayStatus, after: ReplayStatus) -> Replay | None:
    """Pause or resume one that is `before`; any other stays as it is. None when there is no such replay."""
    change = update(replays).where(replays.c.id == id, replays.c.status == before.value)
    conn.execute(change.values(status=after.value, next_due_at=None))
    return get(conn, id)


def set_rate(conn: Connection, id: str, rate_per_second: float | None) -> Replay | None:
    """Change the rate of one that is not over. None when there is no such replay."""
    change = update(replays).where(replays.c.id == id, replays.c.status.in_(LIVING))
    conn.execute(change.values(rate_per_second=rate_per_second, next_due_at=None))
    return get(conn, id)


def count(conn: Connection, changes: Iterable[Change]) -> None:
    """Keep the counts of replays, by what became of deliveries in this transaction. Nothing is done for other ones."""
    moves: dict[str, list[int]] = {}
    for replay_id, before, after in changes:
        if replay_id:
            move = moves.setdefault(replay_id, [0, 0])
            for status, step in ((before or DeliveryStatus.PENDING, -1), (after, 1)):
                if status == DeliveryStatus.DELIVERED:
                    move[0] += step
                elif status != DeliveryStatus.PENDING:
                    move[1] += step
    for replay_id, (delivered, failed) in sorted(moves.items()):  # one order for all: no deadlocks
        if delivered or failed:
            values = {"delivered": replays.c.delivered + delivered, "failed": replays.c.failed + failed}
            conn.execute(update(replays).where(replays.c.id == replay_id).values(values))


def count_settled(conn: Connection, delivery_ids: Collection[str], status: DeliveryStatus) -> None:
    """Count pending deliveries that come to `status` in this transaction, whichever of them are of replays."""
    column = deliveries.c
    mine = select(column.replay_id).where(column.id.in_(delivery_ids), column.replay_id != "")
    count(conn, [(replay_id, None, status) for replay_id in conn.execute(mine).scalars()])


def settled(conn: Connection, items: Sequence[tuple[str, DeliveryStatus]]) -> set[str]:
    """Count what became of pending deliveries (each with its replay, '' = none). The paused ones of these replays:
    what is to be tried again waits until they are resumed."""
    if not any(replay_id for replay_id, _ in items):
        return set()
    count(conn, [(replay_id, None, status) for replay_id, status in items])
    return _paused(conn, {replay_id for replay_id, status in items if status is DeliveryStatus.PENDING})


def _paused(conn: Connection, ids: Collection[str]) -> set[str]:
    wanted = [replay_id for replay_id in ids if replay_id]
    if not wanted:
        return set()
    query = select(replays.c.id).where(replays.c.id.in_(wanted), replays.c.status == ReplayStatus.PAUSED.value)
    return set(conn.execute(query).scalars())


def hold_some(conn: Connection, id: str, after_id: str) -> str | None:
    """Put some pending deliveries of a paused replay out of time, those after `after_id`; the last one's id, None when
    there were none, or it is paused no more. Whoever is sending one this moment settles it as ever."""
    return _move(conn, id, after_id, HELD_MILLISECONDS, ReplayStatus.PAUSED)


def let_go_some(conn: Connection, id: str, after_id: str) -> str | None:
    """The way back, for one that is resumed."""
    return _move(conn, id, after_id, -HELD_MILLISECONDS, ReplayStatus.RUNNING)


def _move(conn: Connection, id: str, after_id: str, by: int, status: ReplayStatus) -> str | None:
    pending = deliveries.c.status == literal(DeliveryStatus.PENDING.value, literal_execute=True)
    mine = (deliveries.c.replay_id == id, deliveries.c.replay_id != "", pending, deliveries.c.id > after_id)
    query = select(deliveries.c.id).where(*mine).order_by(deliveries.c.id).limit(HOLD_AT_ONCE).with_for_update()
    ids: list[str] = list(conn.execute(query).scalars())
    # Looked at with the deliveries locked: should somebody turn it again now, they find these where we leave them.
    if not ids or conn.execute(select(replays.c.status).where(replays.c.id == id)).scalar() != status.value:
        return None
    for column in (deliveries.c.due_at, deliveries.c.pull_at):
        wrong = column < HELD_MILLISECONDS if by > 0 else column >= HELD_MILLISECONDS
        change = update(deliveries).where(deliveries.c.id.in_(ids), pending, wrong)
        conn.execute(change.values({column.name: column + by}))
    return ids[-1]


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
        expected=row.expected,
        delivered=row.delivered,
        failed=row.failed,
        next_due_at=row.next_due_at,
        finished_at=row.finished_at,
    )
