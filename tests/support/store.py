"""Rows for tests of the store, and a look at what is really in the database."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Connection, Table, func, insert, select, text, update

from relay.clock import Instant
from relay.ids import new_id
from relay.model import (
    ATTEMPT,
    DELIVERY,
    JOB,
    NOTIFICATION,
    RESULT,
    SUBSCRIPTION,
    WEBHOOK,
    Attempt,
    Delivery,
    DeliveryStatus,
    Job,
    JobStatus,
    Notification,
    NotificationStatus,
    Result,
    Secret,
    Subscription,
    SubscriptionStatus,
    Trigger,
    Webhook,
    WebhookStatus,
)
from relay.store import deliveries as delivery_rows
from relay.store import jobs as job_rows
from relay.store.bulk import insert_many
from relay.store.database import Database
from relay.store.intake import Accept
from relay.store.migrate import upgrade
from relay.store.queue import QueueTable
from relay.store.schema import config, deliveries, jobs, metadata
from tests.support.clock import START
from tests.support.numbers import NUMBERS
from tests.support.postgres import ExistingPostgres, in_thread

NOW = START
LATER = Instant(NOW + 30_000)
HOUR = 3_600_000
WEBHOOK_ID = new_id(WEBHOOK, NOW)
OTHER_WEBHOOK_ID = new_id(WEBHOOK, NOW)
JOB_QUEUE = QueueTable(jobs, lane="webhook_id", order="deadline")
DELIVERY_QUEUE = QueueTable(deliveries, lane="subscription_id", order="due_at")


def migrate_in_thread(url: str) -> None:
    """Bring a database to the present schema, whether or not an event loop runs here."""
    in_thread(lambda: asyncio.run(_upgrade(url)))


async def _upgrade(url: str) -> None:
    await upgrade(url)


def sqlite_copy(template: Path, directory: Path) -> str:
    """The URL of a copy of a migrated SQLite file."""
    copy = directory / "relay.db"
    shutil.copyfile(template, copy)
    return f"sqlite:///{copy}"


def postgres_copy(server: ExistingPostgres) -> str:
    """The URL of a migrated PostgreSQL database."""
    return server.create_database(server.template("store", migrate_in_thread))


async def empty_postgres(url: str) -> None:
    """Delete every row of a migrated PostgreSQL database, and what tests have added to it."""
    tables = [table.name for table in metadata.sorted_tables if table is not config]
    statements = [f'DELETE FROM "{name}"' for name in tables]
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "; ".join([*statements, "UPDATE config SET version = 1", f"DROP TABLE IF EXISTS {NUMBERS}"])
        )
    finally:
        await connection.close()


def seal(table: str, column: str, row_id: str, data: bytes) -> bytes:
    """Stands in for the vault: bound to its place, as the real one is."""
    return f"{table}.{column}.{row_id}:".encode() + data


def unseal(table: str, column: str, row_id: str, sealed: bytes) -> bytes:
    """The way back."""
    place = f"{table}.{column}.{row_id}:".encode()
    assert sealed.startswith(place)
    return sealed.removeprefix(place)


def a_job(**changes: Any) -> Job:
    """A job that is due now and nobody has claimed."""
    job = Job(
        id=new_id(JOB, NOW),
        webhook_id=WEBHOOK_ID,
        provider_job_id=None,
        response_url=None,
        status=JobStatus.FETCHING,
        provider_status=None,
        metadata={},
        deadline=Instant(NOW + 2 * HOUR),
        give_up_at=Instant(NOW + 24 * HOUR),
        created_at=NOW,
        notified_at=NOW,
        completed_at=None,
        result_id=None,
        inline_notification_id=None,
        tracked=False,
        attempts=0,
        step=0,
        due_at=NOW,
        lease_until=None,
        claims=0,
        last_error=None,
    )
    return replace(job, **changes)


def a_notification(**changes: Any) -> Notification:
    """An accepted notification, received now."""
    notification = Notification(
        id=new_id(NOTIFICATION, NOW),
        webhook_id=WEBHOOK_ID,
        job_id=None,
        status=NotificationStatus.ACCEPTED,
        reason=None,
        method="POST",
        suffix="",
        query="",
        content_type="application/json",
        headers={},
        body_size=2,
        received_at=NOW,
    )
    return replace(notification, **changes)


def an_accept(name: str, *, at: Instant = NOW, **changes: Any) -> Accept:
    """A notification that names the provider's job `name` and would make it."""
    job = a_job(id=new_id(JOB, at), provider_job_id=name, due_at=at, created_at=at, notified_at=at)
    webhook_id = changes.pop("webhook_id", WEBHOOK_ID)
    item = Accept(
        config_version=1,
        notification=a_notification(id=new_id(NOTIFICATION, at), webhook_id=webhook_id, received_at=at),
        body=b"{}",
        keys=(("id", name),),
        new_job=replace(job, webhook_id=webhook_id),
        changes=replace(job, webhook_id=webhook_id),
    )
    return replace(item, **changes)


def a_result(job: Job, **changes: Any) -> Result:
    """A completed result of `job` without a payload."""
    result = Result(
        id=new_id(RESULT, NOW),
        job_id=job.id,
        webhook_id=job.webhook_id,
        provider_job_id=job.provider_job_id,
        status=JobStatus.COMPLETED,
        error=None,
        partial=False,
        metadata={},
        content_type=None,
        size_bytes=None,
        sha256=None,
        payload_id=None,
        fetched_at=NOW,
    )
    return replace(result, **changes)


def a_delivery(**changes: Any) -> Delivery:
    """A delivery that is due now and nobody has claimed."""
    result_id = new_id(RESULT, NOW)
    delivery = Delivery(
        id=new_id(DELIVERY, NOW),
        result_id=result_id,
        subscription_id=new_id(SUBSCRIPTION, NOW),
        replay_id=None,
        message_id=result_id,
        status=DeliveryStatus.PENDING,
        attempts=0,
        budget_from=0,
        created_at=NOW,
        settled_at=None,
        http_status=None,
        due_at=NOW,
        lease_until=None,
        claims=0,
        last_error=None,
    )
    return replace(delivery, **changes)


def an_attempt(owner: Job | Delivery, **changes: Any) -> Attempt:
    """The next attempt of a job or a delivery."""
    attempt = Attempt(
        id=new_id(ATTEMPT, NOW),
        owner_id=owner.id,
        number=owner.attempts + 1,
        trigger=Trigger.NEW,
        started_at=NOW,
        duration_ms=12,
        http_status=200,
        error_code=None,
        response_excerpt=None,
    )
    return replace(attempt, **changes)


def a_webhook(**changes: Any) -> Webhook:
    """An active webhook with credentials."""
    webhook = Webhook(
        id=WEBHOOK_ID,
        name="netnut-prod",
        provider="netnut",
        credentials={"username": Secret("u"), "password": Secret("p")},
        verification={},
        origins=("https://provider.example",),
        base_url=None,
        parameters={},
        retention_seconds=7200.0,
        poll_seconds=None,
        fetch_max_in_flight=8,
        fetch_rate_per_second=None,
        untracked="accept",
        metadata={},
        status=WebhookStatus.ACTIVE,
        generation=1,
        previous_valid_until=None,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(webhook, **changes)


def a_subscription(**changes: Any) -> Subscription:
    """An active push subscription for everything."""
    subscription = Subscription(
        id=new_id(SUBSCRIPTION, NOW),
        name="billing",
        kind="push",
        url="https://subscriber.example/hooks",
        webhook_ids=None,
        event_types=None,
        filter=None,
        format="envelope",
        headers={},
        secrets=(Secret("whsec_" + "a" * 32),),
        max_in_flight=8,
        rate_per_second=None,
        status=SubscriptionStatus.ACTIVE,
        status_reason=None,
        metadata={},
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(subscription, **changes)


async def put_jobs(database: Database, *rows: Job) -> None:
    """Insert jobs as they are."""
    await database.write(lambda c: insert_many(c, jobs, job_rows.COLUMNS, [job_rows.to_row(row) for row in rows]))


async def put_deliveries(database: Database, *rows: Delivery) -> None:
    """Insert deliveries as they are."""
    values = [delivery_rows.to_row(row) for row in rows]
    await database.write(lambda c: insert_many(c, deliveries, delivery_rows.COLUMNS, values))


async def job_of(database: Database, job_id: str) -> Job:
    """A job that is there."""
    found = await database.read(lambda c: job_rows.get(c, job_id))
    assert found is not None
    return found


async def delivery_of(database: Database, delivery_id: str) -> Delivery:
    """A delivery that is there."""
    found = await database.read(lambda c: delivery_rows.get(c, delivery_id))
    assert found is not None
    return found


async def rows_of(database: Database, table: Table) -> list[dict[str, Any]]:
    """A whole table, by primary key."""

    def read(connection: Connection) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in connection.execute(select(table).order_by(*table.primary_key))]

    return await database.read(read)


async def count(database: Database, table: Table) -> int:
    """How many rows a table has."""
    return await database.read(lambda c: int(c.execute(select(func.count()).select_from(table)).scalar_one()))


def bump(connection: Connection) -> None:
    """The configuration changed."""
    connection.execute(update(config).values(version=config.c.version + 1))


def hold_until(connection: Connection, released: threading.Event) -> None:
    """Keep a PostgreSQL transaction open until the test says so, for ten seconds at most."""
    for _ in range(500):
        if released.is_set():
            return
        connection.execute(text("SELECT pg_sleep(0.02)"))
    raise TimeoutError("nobody released the transaction")


def bulk_deliveries(connection: Connection, lanes: Sequence[str], total: int, due_at: Instant) -> None:
    """Many due deliveries, spread over `lanes`, without a statement each."""
    serial = itertools.count()
    rows = []
    for number in range(total):
        delivery = a_delivery(subscription_id=lanes[number % len(lanes)], due_at=Instant(due_at - next(serial)))
        rows.append(dict(zip(delivery_rows.COLUMNS, delivery_rows.to_row(delivery), strict=True)))
    connection.execute(insert(deliveries), rows)
