"""Registered inbound addresses. Few, cached by every process: each change moves the configuration's version."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy import insert as insert_into
from sqlalchemy import update as update_of
from sqlalchemy.exc import IntegrityError

from relay.clock import Instant
from relay.errors import Conflict, NotFound
from relay.model import WEBHOOK, Webhook, WebhookStatus
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
    seal_secrets,
    unseal_secrets,
)
from relay.store.rows import (
    page as page_of,
)
from relay.store.schema import config, jobs, webhooks

TABLE = webhooks.name
CREDENTIALS, VERIFICATION = "credentials_sealed", "verification_sealed"


def load_all(conn: Connection, unseal: Unseal) -> list[Webhook]:
    """Every webhook, deleted ones included: their jobs may still run. Raises SignatureError or KeyMissing."""
    return [read(row, unseal) for row in conn.execute(select(webhooks).order_by(webhooks.c.id))]


def get(conn: Connection, id: str, unseal: Unseal, *, lock: bool = False) -> Webhook | None:
    """One webhook, deleted or not; `lock` keeps others from changing it until the transaction ends."""
    query = select(webhooks).where(webhooks.c.id == id)
    return one(conn, query.with_for_update() if lock else query, lambda row: read(row, unseal))


def page(conn: Connection, unseal: Unseal, *, window: Window | None = None) -> Page[Webhook]:
    """Newest first, without the deleted ones."""
    there = webhooks.c.deleted_at.is_(None)
    return page_of(conn, webhooks, WEBHOOK, window or Window(), [there], lambda row: read(row, unseal))


def insert(conn: Connection, webhook: Webhook, seal: Seal) -> None:
    """Store a new one. Raises Conflict("name") when a webhook that is not deleted has the name."""
    try:
        conn.execute(insert_into(webhooks).values(id=webhook.id, **_values(webhook, seal)))
    except IntegrityError as error:
        raise Conflict("name") from error
    configuration.bump(conn)


def update(conn: Connection, webhook: Webhook, seal: Seal) -> None:
    """Store what has become of it. Raises Conflict("name") and NotFound."""
    try:
        done = conn.execute(update_of(webhooks).where(webhooks.c.id == webhook.id).values(**_values(webhook, seal)))
    except IntegrityError as error:
        raise Conflict("name") from error
    if done.rowcount != 1:
        raise NotFound(webhook.id)
    configuration.bump(conn)


def _values(webhook: Webhook, seal: Seal) -> dict[str, Any]:
    return {
        "name": webhook.name,
        "provider": webhook.provider,
        CREDENTIALS: seal_secrets(webhook.credentials, seal, TABLE, CREDENTIALS, webhook.id),
        VERIFICATION: seal_secrets(webhook.verification, seal, TABLE, VERIFICATION, webhook.id),
        "origins": dump(list(webhook.origins)),
        "base_url": webhook.base_url,
        "parameters": dump(dict(webhook.parameters)),
        "retention_seconds": webhook.retention_seconds,
        "poll_seconds": dump_or_null(None if webhook.poll_seconds is None else list(webhook.poll_seconds)),
        "fetch_max_in_flight": webhook.fetch_max_in_flight,
        "fetch_rate_per_second": webhook.fetch_rate_per_second,
        "untracked": webhook.untracked,
        "metadata": dump(dict(webhook.metadata)),
        "status": webhook.status.value,
        "generation": webhook.generation,
        "previous_valid_until": webhook.previous_valid_until,
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
        "deleted_at": webhook.deleted_at,
        "retention_days": webhook.retention_days,
        "retention_bytes": webhook.retention_bytes,
        "notification_rate_per_second": webhook.notification_rate_per_second,
    }


def read(row: Row, unseal: Unseal) -> Webhook:
    return Webhook(
        id=row.id,
        name=row.name,
        provider=row.provider,
        credentials=unseal_secrets(row.credentials_sealed, unseal, TABLE, CREDENTIALS, row.id),
        verification=unseal_secrets(row.verification_sealed, unseal, TABLE, VERIFICATION, row.id),
        origins=load_tuple(row.origins) or (),
        base_url=row.base_url,
        parameters=load(row.parameters),
        retention_seconds=row.retention_seconds,
        poll_seconds=load_tuple(row.poll_seconds),
        fetch_max_in_flight=row.fetch_max_in_flight,
        fetch_rate_per_second=row.fetch_rate_per_second,
        untracked=row.untracked,
        metadata=load(row.metadata),
        status=WebhookStatus(row.status),
        generation=row.generation,
        previous_valid_until=row.previous_valid_until,
        created_at=row.created_at,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
        retention_days=row.retention_days,
        retention_bytes=row.retention_bytes,
        notification_rate_per_second=row.notification_rate_per_second,
    )


def erase_deleted(conn: Connection) -> int:
    """Erase the credentials of deleted webhooks whose last job has ended; how many."""
    under_way = exists().where(jobs.c.webhook_id == webhooks.c.id, jobs.c.due_at.is_not(None))
    sealed = or_(webhooks.c.credentials_sealed.is_not(None), webhooks.c.verification_sealed.is_not(None))
    over = (webhooks.c.deleted_at.is_not(None), sealed, ~under_way)
    erased = {"credentials_sealed": None, "verification_sealed": None}
    count = conn.execute(update_of(webhooks).where(*over).values(erased)).rowcount
    if count:
        conn.execute(update_of(config).values(version=config.c.version + 1))  # nobody keeps them in memory either
    return count


def reject_credentials(connection: Connection, webhook_id: str, now: Instant) -> bool:
    """Mark an active webhook as one whose credentials its provider refuses; whether that is news."""
    return _turn(connection, webhook_id, WebhookStatus.ACTIVE, WebhookStatus.CREDENTIALS_REJECTED, now)


def accept_credentials(connection: Connection, webhook_id: str, now: Instant) -> bool:
    """The other way round: the provider takes them after all; whether that is news."""
    return _turn(connection, webhook_id, WebhookStatus.CREDENTIALS_REJECTED, WebhookStatus.ACTIVE, now)


def _turn(connection: Connection, webhook_id: str, before: WebhookStatus, after: WebhookStatus, now: Instant) -> bool:
    change = (
        update_of(webhooks)
        .where(webhooks.c.id == webhook_id, webhooks.c.status == before.value)
        .values(status=after.value, updated_at=now)
    )
    if not connection.execute(change).rowcount:
        return False
    configuration.bump(connection)
    return True
