"""What a subscription does not have: results beside how their deliveries to it stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from relay.clock import Instant
from relay.frozen import frozen
from relay.model import RESULT, DeliveryStatus, Result
from relay.store import results as result_rows
from relay.store.bulk import lookup
from relay.store.rows import Page, Window
from relay.store.rows import page as page_of
from relay.store.schema import deliveries, results

SCANNED: Final = 500


@frozen()
class Standing:
    """A result, and the states of its deliveries to the subscription: none if there never was one."""

    result: Result
    statuses: frozenset[DeliveryStatus]


def scan(
    connection: Connection,
    subscription_id: str,
    webhook_ids: Sequence[str] | None,
    *,
    since: Instant | None,
    before_id: str | None,
) -> Page[Standing]:
    """The next results, newest first, whether or not the subscription wants them or has them."""
    where = [] if webhook_ids is None else [results.c.webhook_id.in_(list(webhook_ids))]
    window = Window(limit=SCANNED, before_id=before_id, created_after=since)
    found = page_of(connection, results, RESULT, window, where, result_rows.read)
    ids = [result.id for result in found.items]
    columns, mine = ("result_id", "status"), {"subscription_id": subscription_id}
    statuses: dict[str, set[DeliveryStatus]] = {}
    for result_id, status in lookup(connection, deliveries, columns, "result_id", ids, mine):
        statuses.setdefault(result_id, set()).add(DeliveryStatus(status))
    items = [Standing(result, frozenset(statuses.get(result.id, ()))) for result in found.items]
    return Page(items, found.more)
