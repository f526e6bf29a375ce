"""What comes of it: results with their payloads, deliveries, attempts, replays."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    text,
)

from relay.store.schema.columns import HOT, id_column, instant_column, metadata, only, queue_columns

results = Table(
    "results",
    metadata,
    id_column(),
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
    instant_column("fetched_at", nullable=False),
    Column("matched", Integer),  # subscriptions that wanted it when it was stored; NULL = stored before this was noted
    Index("ix_results_job", "job_id"),
    Index("ix_results_webhook", "webhook_id", "id"),
    Index(
        "ix_results_unrouted",
        "id",
        **only("matched = 0"),
    ),
    Index("ix_results_odd", "status", "id", **only("status <> 'completed'")),
    Index("ix_results_webhook_odd", "webhook_id", "status", "id", **only("status <> 'completed'")),
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
    instant_column("created_at", nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    id_column(),
    Column("result_id", String(40), nullable=False),
    Column("subscription_id", String(40), nullable=False),
    Column("replay_id", String(40), nullable=False, server_default=""),  # '' = not a replay; NULL would not be unique
    Column("message_id", String(40), nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("budget_from", Integer, nullable=False, server_default="0"),
    instant_column("created_at", nullable=False),
    instant_column("settled_at"),
    Column("http_status", Integer),
    *queue_columns(),
    instant_column("pull_at"),  # pull subscriptions: when it may be taken (again); their `due_at` is NULL
    Index("uq_deliveries_result", "result_id", "subscription_id", "replay_id", unique=True),
    Index("ix_deliveries_subscription", "subscription_id", "id"),
    Index("ix_deliveries_odd", "status", "id", **only("status <> 'delivered'")),
    Index("ix_deliveries_subscription_odd", "subscription_id", "status", "id", **only("status <> 'delivered'")),
    Index(
        "ix_deliveries_replay",
        "replay_id",
        "status",
        "id",
        **only("replay_id <> ''"),
    ),
    Index(
        "ix_deliveries_due",
        "due_at",
        "subscription_id",
        "id",
        **only("due_at IS NOT NULL"),
    ),
    Index(
        "ix_deliveries_lane",
        "subscription_id",
        "due_at",
        "id",
        **only("due_at IS NOT NULL"),
    ),
    Index(
        "ix_deliveries_pull",
        "subscription_id",
        "pull_at",
        "id",
        **only("pull_at IS NOT NULL"),
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
    instant_column("started_at", nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("http_status", Integer),
    Column("error_code", Text),
    Column("response_excerpt", Text),
    Column("dns_ms", Integer),  # of a connection that was opened for it; NULL where one was there already
    Column("connect_ms", Integer),
    Column("first_byte_ms", Integer),
)

replays = Table(
    "replays",
    metadata,
    id_column(),
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
    Column("delivered", Integer, nullable=False, server_default="0"),  # kept as its deliveries are settled
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("expected", Integer),  # how many will come of it, once that has been counted
    instant_column("next_due_at"),  # where its rate has got to; of a cancelled one: since when nothing was pending
    instant_column("finished_at"),
    instant_column("created_at", nullable=False),
)
