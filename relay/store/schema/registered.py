"""What people register: webhooks, subscriptions, keys, and the version that guards every cached copy of them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)

from relay.store.schema.columns import id_column, instant_column, metadata, only

config = Table(  # one row; guards every process's cached webhooks, subscriptions and keys
    "config",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", BigInteger, nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    id_column(),
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
    instant_column("previous_valid_until"),
    instant_column("created_at", nullable=False),
    instant_column("updated_at", nullable=False),
    instant_column("deleted_at"),
    Column("retention_days", Float),  # NULL = as the setting says
    Column("retention_bytes", BigInteger),
    Column("notification_rate_per_second", Float),
    Index(
        "uq_webhooks_name",
        "name",
        unique=True,
        **only("deleted_at IS NULL"),
    ),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    id_column(),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("url", Text),
    Column("webhook_ids", Text),
    Column("event_types", Text),
    Column("filter", Text),
    Column("format", Text, nullable=False),
    Column("headers_sealed", LargeBinary),
    Column("secrets_sealed", LargeBinary, nullable=False),
    instant_column("previous_secret_until"),
    Column("max_in_flight", Integer, nullable=False),
    Column("rate_per_second", Float),
    Column("metadata", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_reason", Text),
    instant_column("created_at", nullable=False),
    instant_column("updated_at", nullable=False),
    instant_column("deleted_at"),
    Column("secret_ends", Text),
    Column("schedule_seconds", Text),
    Column("timeout_seconds", Float),
    Index(
        "uq_subscriptions_name",
        "name",
        unique=True,
        **only("deleted_at IS NULL"),
    ),
)

api_keys = Table(
    "api_keys",
    metadata,
    id_column(),
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    instant_column("created_at", nullable=False),
    instant_column("last_used_at"),
    instant_column("expires_at"),
    instant_column("revoked_at"),
    Index("uq_api_keys_sha256", "sha256", unique=True),
)
