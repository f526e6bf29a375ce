"""Sealed values under another key: read in batches by primary key, sealed anew, written where nobody changed them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, delete, func, select, true, update

from relay.clock import Instant, after
from relay.frozen import frozen
from relay.model import NotificationStatus
from relay.store.nodes import ALIVE_SECONDS
from relay.store.rows import in_state
from relay.store.schema import idempotency_keys, nodes, notifications, sealing_keys, subscriptions, webhooks

BATCH: Final = 200

Reseal = Callable[[str, str, str, bytes], bytes | None]
"""`(table, column, row id, sealed) -> sealed anew`, None for what is under the newest key already."""


@frozen()
class Place:
    """A sealed column."""

    table: Table
    column: str
    key: str = "id"

    @property
    def where(self) -> ColumnElement[bool]:
        """Which rows may have it sealed: of notifications the rejected ones, which an index finds."""
        if self.table is not notifications:
            return true()
        rejected = and_(*in_state(notifications.c.status, NotificationStatus.REJECTED, [NotificationStatus.ACCEPTED]))
        return and_(rejected, notifications.c.body_sealed) if self.column == "body" else rejected


PLACES: Final = (
    Place(webhooks, "credentials_sealed"),
    Place(webhooks, "verification_sealed"),
    Place(subscriptions, "headers_sealed"),
    Place(subscriptions, "secrets_sealed"),
    Place(notifications, "headers_sealed"),
    Place(notifications, "body"),
    Place(idempotency_keys, "response_sealed", "key"),
)


def some(connection: Connection, place: Place, after_key: str, reseal: Reseal) -> tuple[str | None, int]:
    """Do a batch of one column, from the rows after `after_key`: the last one's key (None: there are no more), and how
    many were sealed anew. What others changed meanwhile is left as it is: they seal with the newest key."""
    key: Column[str] = place.table.c[place.key]
    column: Column[bytes] = place.table.c[place.column]
    query = select(key, column).where(key > after_key, column.is_not(None), place.where).order_by(key).limit(BATCH)
    last: str | None = None
    count = 0
    for row_key, sealed in connection.execute(query).all():
        last = row_key
        anew = reseal(place.table.name, place.column, row_key, bytes(sealed))
        if anew is not None:
            change = update(place.table).where(key == row_key, column == sealed).values({place.column: anew})
            count += connection.execute(change).rowcount
    return last, count


def running(connection: Connection, now: Instant) -> int:
    """How many relays use this database now: each of them may still seal with the key that it knows as the newest."""
    alive = select(func.count()).select_from(nodes).where(nodes.c.seen_at >= after(now, -ALIVE_SECONDS))
    return connection.execute(alive).scalar() or 0


def retire(connection: Connection, newest_key_id: str) -> int:
    """Nothing is sealed with any other key any more: they can be taken out of the settings; how many."""
    return connection.execute(delete(sealing_keys).where(sealing_keys.c.key_id != newest_key_id)).rowcount
