"""Operational events: what Relay has to say about itself, to those subscriptions that name its type.

An event is recorded in the transaction of its cause, together with a delivery for each of them. Such a delivery is one
like any other; its `result_id` is the event's id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, exists, func, insert, literal, select

from relay.clock import Instant
from relay.frozen import frozen
from relay.ids import new_id
from relay.model import DELIVERY, EVENT, DeliveryStatus, JobStatus
from relay.store.bulk import insert_ignoring
from relay.store.rows import Page, Row, Window, dump, load, one
from relay.store.rows import page as page_of
from relay.store.schema import deliveries, events, jobs, subscriptions

JOB_EXPIRING: Final = "job.expiring"
SUBSCRIPTION_DISABLED: Final = "subscription.disabled"
AT_ONCE: Final = 100


@frozen(kw_only=True)
class Event:
    """Something that happened to Relay itself."""

    id: str
    type: str
    subject_id: str  # the job or the subscription
    data: Mapping[str, Any]
    created_at: Instant


def is_event(message_id: str) -> bool:
    """Whether a delivery's `result_id` names an event."""
    return message_id.startswith(f"{EVENT}_")


def get(connection: Connection, id: str) -> Event | None:
    """One event."""
    return one(connection, select(events).where(events.c.id == id), _read)


def page(
    connection: Connection, *, type: Sequence[str] = (), subject_id: str | None = None, window: Window | None = None
) -> Page[Event]:
    """Newest first."""
    where: list[ColumnElement[bool]] = [] if not type else [events.c.type.in_(list(type))]
    if subject_id is not None:
        where.append(events.c.subject_id == subject_id)
    return page_of(connection, events, EVENT, window or Window(), where, _read)


def _read(row: Row) -> Event:
    return Event(
        id=row.id, type=row.type, subject_id=row.subject_id, data=load(row.data), created_at=Instant(row.created_at)
    )


def record(connection: Connection, event: Event, *, once: bool = False, webhook_id: str | None = None) -> bool:
    """Store an event and its deliveries. With `once` only if none of this type is there for its subject: False.

    A subscription gets nothing about itself; one for certain webhooks gets nothing about the others' jobs.
    """
    row = {
        "id": event.id,
        "type": event.type,
        "subject_id": event.subject_id,
        "data": dump(dict(event.data)),
        "created_at": event.created_at,
        "once": f"{event.type}:{event.subject_id}" if once else None,
    }
    if not connection.execute(insert_ignoring(connection, events), row).rowcount:
        return False
    targets = _targets(connection, event, webhook_id)
    made = [_delivery(event, target, pulled=pulled) for target, pulled in targets.items()]
    if made:
        connection.execute(insert(deliveries), made)
    return True


def _targets(connection: Connection, event: Event, webhook_id: str | None) -> dict[str, bool]:
    """Who is told, and whether it takes what is for it instead of having it sent."""
    column = subscriptions.c
    query = select(column.id, column.kind, column.event_types, column.webhook_ids).where(
        column.deleted_at.is_(None), column.event_types.is_not(None), column.id != event.subject_id
    )
    return {
        row.id: row.kind == "pull"
        for row in connection.execute(query)
        if event.type in json.loads(row.event_types)
        and (webhook_id is None or row.webhook_ids is None or webhook_id in json.loads(row.webhook_ids))
    }


def _delivery(event: Event, subscription_id: str, *, pulled: bool) -> dict[str, Any]:
    return {
        "id": new_id(DELIVERY, event.created_at),
        "result_id": event.id,
        "subscription_id": subscription_id,
        "replay_id": "",
        "message_id": event.id,
        "status": DeliveryStatus.PENDING.value,
        "created_at": event.created_at,
        "due_at": None if pulled else event.created_at,
        "pull_at": event.created_at if pulled else None,
    }


def disabled(connection: Connection, subscription_id: str, reason: str | None, now: Instant) -> None:
    """Tell that a subscription was disabled just now, in this transaction."""
    name = connection.execute(select(subscriptions.c.name).where(subscriptions.c.id == subscription_id)).scalar()
    data = {"subscription_id": subscription_id, "subscription_name": name, "reason": reason}
    event_id = new_id(EVENT, now)
    record(
        connection,
        Event(id=event_id, type=SUBSCRIPTION_DISABLED, subject_id=subscription_id, data=data, created_at=now),
    )


def expiring(connection: Connection, webhook_ids: Sequence[str], now: Instant, until: Instant) -> list[Row]:
    """Jobs without a result whose deadline lies between `now` and `until` and of which nobody was told, soonest first.

    Where that is most of their life they are not told of before half of it is over.
    """
    column = jobs.c
    began = func.coalesce(column.notified_at, column.created_at)
    told = exists().where(events.c.once == literal(f"{JOB_EXPIRING}:") + column.id)
    query = select(jobs).where(
        column.webhook_id.in_(list(webhook_ids)),
        column.due_at.is_not(None),
        column.deadline > now,
        column.deadline <= until,
        column.status.in_([JobStatus.WAITING.value, JobStatus.FETCHING.value]),
        column.deadline - began >= 2 * (column.deadline - now),
        ~told,
    )
    return list(connection.execute(query.order_by(column.deadline).limit(AT_ONCE)))
