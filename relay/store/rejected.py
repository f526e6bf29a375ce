"""Of a webhook's rejected notifications only the latest keep their request, for the day when the secret is mended.

Whoever knows a callback URL can send as many as there are, so what they take of the disk has to end somewhere. The
latest are kept, because of a provider's the latest are those whose results can still be fetched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, select, update

from relay.model import Notification, NotificationStatus
from relay.store.rows import in_state
from relay.store.schema import notifications

KEPT_REQUESTS: Final = 1000  # of each webhook: 64 KiB of body and as much of headers at most
MORE_AT_ONCE: Final = 100  # than have come: what was there before there was a cap goes little by little


def make_room(connection: Connection, coming: Iterable[Notification]) -> None:
    """Drop the oldest requests of webhooks to which rejected notifications are coming. That they came stays known."""
    rejected = (given for given in coming if given.status is NotificationStatus.REJECTED)
    counts = Counter(given.webhook_id for given in rejected)
    for webhook_id, count in sorted(counts.items()):
        _drop_oldest(connection, webhook_id, count)


def _drop_oldest(connection: Connection, webhook_id: str, count: int) -> None:
    state = in_state(notifications.c.status, NotificationStatus.REJECTED, [NotificationStatus.ACCEPTED])
    mine = select(notifications.c.id).where(notifications.c.webhook_id == webhook_id, *state)
    kept = max(KEPT_REQUESTS - count, 0)
    beyond = mine.order_by(notifications.c.id.desc()).offset(kept).limit(count + MORE_AT_ONCE)
    ids = list(connection.execute(beyond).scalars())
    if not ids:
        return
    whole = select(notifications.c.id).where(
        notifications.c.id.in_(ids), *state, notifications.c.headers_sealed.is_not(None)
    )
    free = whole.order_by(notifications.c.id).with_for_update(skip_locked=True)  # another node may be at the same ones
    dropped = list(connection.execute(free).scalars())
    if dropped:  # still marked as sealed: nothing of it was ever verified
        gone = update(notifications).where(notifications.c.id.in_(dropped))
        connection.execute(gone.values(body=None, headers_sealed=None))
