"""Where results go. Few, cached by every process: each change moves the configuration's version."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert as insert_into
from sqlalchemy import select
from sqlalchemy import update as update_of
from sqlalchemy.exc import IntegrityError

from relay.errors import Conflict, NotFound
from relay.model import SUBSCRIPTION, Secret, Subscription, SubscriptionStatus
from relay.store import configuration
from relay.store.rows import (
    Connection,
    Page,
    Row,
    Seal,
    Unseal,
    Window,
    dump,
    dump_or_null,
    load,
    load_tuple,
    one,
    unseal_json,
)
from relay.store.rows import page as page_of
from relay.store.schema import subscriptions

TABLE = subscriptions.name
HEADERS, SECRETS = "headers_sealed", "secrets_sealed"


def load_all(conn: Connection, unseal: Unseal) -> list[Subscription]:
    """Every subscription, deleted ones included: the log names them. Raises SignatureError or KeyMissing."""
    return [read(row, unseal) for row in conn.execute(select(subscriptions).order_by(subscriptions.c.id))]


def get(conn: Connection, id: str, unseal: Unseal, *, lock: bool = False) -> Subscription | None:
    """One subscription, deleted or not; `lock` keeps others from changing it until the transaction ends."""
    query = select(subscriptions).where(subscriptions.c.id == id)
    return one(conn, query.with_for_update() if lock else query, lambda row: read(row, unseal))


def page(conn: Connection, unseal: Unseal, *, window: Window | None = None) -> Page[Subscription]:
    """Newest first, without the deleted ones."""
    there = subscriptions.c.deleted_at.is_(None)
    return page_of(conn, subscriptions, SUBSCRIPTION, window or Window(), [there], lambda row: read(row, unseal))


def insert(conn: Connection, subscription: Subscription, seal: Seal) -> None:
    """Store a new one. Raises Conflict("name") when a subscription that is not deleted has the name."""
    try:
        conn.execute(insert_into(subscriptions).values(id=subscription.id, **_values(subscription, seal)))
    except IntegrityError as error:
        raise Conflict("name") from error
    configuration.bump(conn)


def update(conn: Connection, subscription: Subscription, seal: Seal) -> None:
    """Store what has become of it. Raises Conflict("name") and NotFound."""
    change = update_of(subscriptions).where(subscriptions.c.id == subscription.id)
    try:
        done = conn.execute(change.values(**_values(subscription, seal)))
    except IntegrityError as error:
        raise Conflict("name") from error
    if done.rowcount != 1:
        raise NotFound(subscription.id)
    configuration.bump(conn)


def _values(subscription: Subscription, seal: Seal) -> dict[str, Any]:
    headers = dump(dict(subscription.headers)).encode()
    secrets = dump([secret.reveal() for secret in subscription.secrets]).encode()
    return {
        "name": subscription.name,
        "kind": subscription.kind,
        "url": subscription.url,
        "webhook_ids": dump_or_null(_listed(subscription.webhook_ids)),
        "event_types": dump_or_null(_listed(subscription.event_types)),
        "filter": dump_or_null(None if subscription.filter is None else dict(subscription.filter)),
        "format": subscription.format,
        HEADERS: seal(TABLE, HEADERS, subscription.id, headers) if subscription.headers else None,
        SECRETS: seal(TABLE, SECRETS, subscription.id, secrets),
        "previous_secret_until": subscription.previous_secret_until,
        "secret_ends": dump_or_null(list(subscription.secret_ends) or None),
        "schedule_seconds": dump_or_null(_listed(subscription.schedule_seconds)),
        "timeout_seconds": subscription.timeout_seconds,
        "max_in_flight": subscription.max_in_flight,
        "rate_per_second": subscription.rate_per_second,
        "metadata": dump(dict(subscription.metadata)),
        "status": subscription.status.value,
        "status_reason": subscription.status_reason,
        "created_at": subscription.created_at,
        "updated_at": subscription.updated_at,
        "deleted_at": subscription.deleted_at,
    }


def _listed(values: tuple[Any, ...] | None) -> list[Any] | None:
    return None if values is None else list(values)


def read(row: Row, unseal: Unseal) -> Subscription:
    secrets = unseal_json(row.secrets_sealed, unseal, TABLE, SECRETS, row.id)
    return Subscription(
        id=row.id,
        name=row.name,
        kind=row.kind,
        url=row.url,
        webhook_ids=load_tuple(row.webhook_ids),
        event_types=load_tuple(row.event_types),
        filter=load(row.filter),
        format=row.format,
        headers=unseal_json(row.headers_sealed, unseal, TABLE, HEADERS, row.id) or {},
        secrets=tuple(Secret(text) for text in secrets),
        max_in_flight=row.max_in_flight,
        rate_per_second=row.rate_per_second,
        status=SubscriptionStatus(row.status),
        status_reason=row.status_reason,
        metadata=load(row.metadata),
        created_at=row.created_at,
        updated_at=row.updated_at,
        previous_secret_until=row.previous_secret_until,
        deleted_at=row.deleted_at,
        secret_ends=load_tuple(row.secret_ends) or (),
        schedule_seconds=load_tuple(row.schedule_seconds),
        timeout_seconds=row.timeout_seconds,
    )
