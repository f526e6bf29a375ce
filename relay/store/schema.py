"""The tables. Instants are milliseconds (BIGINT), structures are JSON text, sealed columns are bytes.

The row that waits is the queue entry: `jobs` wait to be fetched, `deliveries` wait to be sent. Their queue columns are

    due_at       when the row next needs a worker; NULL = settled. Indexed, so it moves only on reschedule and settle.
    lease_until  who works on it keeps it until then. In no index, so that claims and heartbeats stay HOT on PostgreSQL.
    claims       counts claims and is the fence: every later write says `AND claims = :mine`.
    last_error   for people.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)


def _id(name: str = "id", *, primary_key: bool = True) -> Column[str]:
    return Column(name, String(40), primary_key=primary_key)


def _instant(name: str, *, nullable: bool = True) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _only(condition: str) -> dict[str, Any]:
    """A partial index: rows for which the condition holds."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def queue_columns() -> list[Column[Any]]:
    """The four columns that make a row a queue entry."""
    return [
        Column("due_at", BigInteger),
        Column("lease_until", BigInteger),
        Column("claims", Integer, nullable=False, server_default="0"),
        Column("last_error", Text),
    ]


# A row that is updated several times needs room on its PostgreSQL page, or the update cannot stay HOT.
HOT: dict[str, Any] = {
    "postgresql_with": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_threshold": 1000}
}

config = Table(  # one row; guards every process's cached webhooks, subscriptions and keys
    "config",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", BigInteger, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("credentials_sealed", LargeBinary),
    Column("verification_sealed", LargeBinary),
    Column("origins", Text, nullable=False),
    Column("base_url", Text),
    Column("parameters", Text, nullable=False),
    Column("retention_seconds", Float),
    Column("poll_seconds", Text),
    Column("fetch_max_in_flight", Integer, nullable=False),
    Column("fetch_rate_per_second", Float),
    Column("untracked", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    _instant("previous_valid_until"),
    _instant("created_at", nullable=False),
    _instant("updated_at", nullable=False),
    _instant("deleted_at"),
    Index(
        "uq_webhooks_name",
        "name",
        unique=True,
        **_only("deleted_at IS NULL"),
    ),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("url", Text),
    Column("webhook_ids", Text),
    Column("event_types", Text),
    Column("filter", Text),
    Column("format", Text, nullable=False),
    Column("headers_sealed", LargeBinary),
    Column("secrets_sealed", LargeBinary, nullable=False),
    _instant("previous_secret_until"),
    Column("max_in_flight", Integer, nullable=False),
    Column("rate_per_second", Float),
    Column("metadata", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text),
    _instant("created_at", nullable=False),
    _instant("updated_at", nullable=False),
    _instant("deleted_at"),
    Index(
        "uq_subscriptions_name",
        "name",
        unique=True,
        **_only("deleted_at IS NULL"),
    ),
)

api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    _instant("created_at", nullable=False),
    _instant("last_used_at"),
    _instant("expires_at"),
    _instant("revoked_at"),
    Index("uq_api_keys_sha256", "sha256", unique=True),
)

notifications = Table(
    "notifications",
    metadata,
    _id(),
    Column("webhook_id", String(40), nullable=False),
    Column("job_id", String(40)),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("dedupe_key", LargeBinary),  # NULL for rejected ones: they must not shadow the authentic one
    Column("method", Text, nullable=False),
    Column("suffix", Text, nullable=False),
    Column("query", Text, nullable=False),
    Column("content_type", Text),
    Column("headers", Text, nullable=False),
    Column("headers_sealed", LargeBinary),  # a rejected one keeps all its headers, to be verified again
    Column("body", LargeBinary),
    Column("body_sealed", Boolean, nullable=False, server_default=text("false")),
    Column("body_size", Integer, nullable=False),
    Column("payload_id", String(40)),  # a body too large for the row
    _instant("received_at", nullable=False),
    Index("uq_notifications_dedupe_key", "dedupe_key", unique=True),
    Index("ix_notifications_webhook", "webhook_id", "id"),
    Index(
        "ix_notifications_job",
        "job_id",
        **_only("job_id IS NOT NULL"),
    ),
    Index(
        "ix_notifications_odd",
        "status",
        "id",
        **_only("status <> 'accepted'"),
    ),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("webhook_id", String(40), nullable=False),
    Column("provider_job_id", Text),
    Column("response_url", Text),
    Column("status", Text, nullable=False),
    Column("provider_status", Text),
    Column("metadata", Text, nullable=False),
    _instant("deadline", nullable=False),
    _instant("give_up_at", nullable=False),
    _instant("created_at", nullable=False),
    _instant("notified_at"),
    _instant("completed_at"),
    Column("result_id", String(40)),
    Column("inline_notification_id", String(40)),
    Column("tracked", Boolean, nullable=False, server_default=text("false")),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("step", Integer, nullable=False, server_default="0"),
    *queue_columns(),
    Index("ix_jobs_webhook", "webhook_id", "id"),
    Index(
        "ix_jobs_due",
        "due_at",
        "webhook_id",
        "deadline",
        "id",
        **_only("due_at IS NOT NULL"),
    ),
    Index(
        "ix_jobs_deadline",
        "webhook_id",
        "deadline",
        "id",
        "due_at",
        **_only("due_at IS NOT NULL"),
    ),
    **HOT,
)

job_keys = Table(  # by what a notification can name a job
    "job_keys",
    metadata,
    Column("webhook_id", String(40), primary_key=True),
    Column("kind", String(4), primary_key=True),  # id | url | ref
    Column("value", Text, primary_key=True),
    Column("job_id", String(40), nullable=False),
    Index("ix_job_keys_job", "job_id"),
)

results = Table(
    "results",
    metadata,
    _id(),
    Column("job_id", String(40), nullable=False),
    Column("webhook_id", String(40), nullable=False),
    Column("provider_job_id", Text),
    Column("status", Text, nullable=False),
    Column("error", Text),
    Column("partial", Boolean, nullable=False, server_default=text("false")),
    Column("metadata", Text, nullable=False),
    Column("content_type", Text),
    Column("size_bytes", Integer),
    Column("sha256", Text),
    Column("payload_id", String(40)),
    _instant("fetched_at", nullable=False),
    Index("ix_results_job", "job_id"),
    Index("ix_results_webhook", "webhook_id", "id"),
)

payload_chunks = Table(
    "payload_chunks",
    metadata,
    Column("payload_id", String(40), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

spills = Table(  # payloads written ahead of the row that will own them; what nobody links is collected
    "spills",
    metadata,
    Column("payload_id", String(40), primary_key=True),
    _instant("created_at", nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    _id(),
    Column("result_id", String(40), nullable=False),
    Column("subscription_id", String(40), nullable=False),
    Column("replay_id", String(40), nullable=False, server_default=""),  # '' = not a replay; NULL would not be unique
    Column("message_id", String(40), nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("budget_from", Integer, nullable=False, server_default="0"),
    _instant("created_at", nullable=False),
    _instant("settled_at"),
    Column("http_status", Integer),
    *queue_columns(),
    Index("uq_deliveries_result", "result_id", "subscription_id", "replay_id", unique=True),
    Index("ix_deliveries_subscription", "subscription_id", "id"),
    Index(
        "ix_deliveries_odd",
        "status",
        "id",
        **_only("status <> 'delivered'"),
    ),
    Index(
        "ix_deliveries_replay",
        "replay_id",
        "status",
        **_only("replay_id <> ''"),
    ),
    Index(
        "ix_deliveries_due",
        "due_at",
        "subscription_id",
        "id",
        **_only("due_at IS NOT NULL"),
    ),
    Index(
        "ix_deliveries_lane",
        "subscription_id",
        "due_at",
        "id",
        **_only("due_at IS NOT NULL"),
    ),
    **HOT,
)

attempts = Table(
    "attempts",
    metadata,
    Column("owner_id", String(40), primary_key=True),  # the job or the delivery
    Column("number", Integer, primary_key=True),
    Column("id", String(40), nullable=False),
    Column("trigger", Text, nullable=False),
    _instant("started_at", nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("http_status", Integer),
    Column("error_code", Text),
    Column("response_excerpt", Text),
)

replays = Table(
    "replays",
    metadata,
    _id(),
    Column("status", Text, nullable=False),
    Column("filter", Text, nullable=False),
    Column("subscription_ids", Text),
    Column("mode", Text, nullable=False),
    Column("new_message_id", Boolean, nullable=False),
    Column("rate_per_second", Float),
    Column("cursor", String(40)),
    Column("upper_id", String(40), nullable=False),
    Column("total", Integer, nullable=False, server_default="0"),
    Column("planned", Boolean, nullable=False, server_default=text("false")),
    _instant("created_at", nullable=False),
)

nodes = Table(  # who is alive; caps and rates are divided over them
    "nodes",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("role", Text, nullable=False),
    _instant("started_at", nullable=False),
    _instant("seen_at", nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", Text, primary_key=True),  # SHA-256 of API key id, route and the caller's key
    Column("fingerprint", Text, nullable=False),
    Column("status", Integer),
    Column("response_sealed", LargeBinary),
    _instant("created_at", nullable=False),
)

sealing_keys = Table(  # which encryption keys rows were sealed with; a missing one stops the start
    "sealing_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    _instant("first_used_at", nullable=False),
)
