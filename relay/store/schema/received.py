"""What comes in and what it is about: notifications, jobs, and the keys a job is found by."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    text,
)

from relay.store.schema.columns import HOT, id_column, instant_column, metadata, only, queue_columns

notifications = Table(
    "notifications",
    metadata,
    id_column(),
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
    instant_column("received_at", nullable=False),
    Index("uq_notifications_dedupe_key", "dedupe_key", unique=True),
    Index("ix_notifications_webhook", "webhook_id", "id"),
    Index(
        "ix_notifications_job",
        "job_id",
        **only("job_id IS NOT NULL"),
    ),
    Index("ix_notifications_odd", "status", "id", **only("status <> 'accepted'")),
    Index("ix_notifications_webhook_odd", "webhook_id", "status", "id", **only("status <> 'accepted'")),
)

jobs = Table(
    "jobs",
    metadata,
    id_column(),
    Column("webhook_id", String(40), nullable=False),
    Column("provider_job_id", Text),
    Column("response_url", Text),
    Column("status", Text, nullable=False),
    Column("provider_status", Text),
    Column("metadata", Text, nullable=False),
    instant_column("deadline", nullable=False),
    instant_column("give_up_at", nullable=False),
    instant_column("created_at", nullable=False),
    instant_column("notified_at"),
    instant_column("completed_at"),
    Column("result_id", String(40)),
    Column("inline_notification_id", String(40)),
    Column("tracked", Boolean, nullable=False, server_default=text("false")),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("step", Integer, nullable=False, server_default="0"),
    *queue_columns(),
    Column("submitted", Boolean, nullable=False, server_default=text("false")),
    Column("result_path", Text),
    Column("status_url", Text),
    Column("cancel_url", Text),
    Index("ix_jobs_webhook", "webhook_id", "id"),
    Index("ix_jobs_odd", "status", "id", **only("status <> 'completed' AND status <> 'fetching'")),
    Index(
        "ix_jobs_webhook_odd",
        "webhook_id",
        "status",
        "id",
        **only("status <> 'completed' AND status <> 'fetching'"),
    ),
    Index(
        "ix_jobs_due",
        "due_at",
        "webhook_id",
        "deadline",
        "id",
        **only("due_at IS NOT NULL"),
    ),
    Index(
        "ix_jobs_deadline",
        "webhook_id",
        "deadline",
        "id",
        "due_at",
        **only("due_at IS NOT NULL"),
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

captures = Table(  # the first message of each shape that a provider sent, for people who write profiles
    "captures",
    metadata,
    Column("webhook_id", String(40), primary_key=True),
    Column("kind", Text, primary_key=True),  # notification | pending | completed | failed | submit | cancel
    Column("shape", String(64), primary_key=True),  # SHA-256 of the names and types in it
    Column("http_status", Integer),
    Column("content_type", Text),
    Column("excerpt", Text, nullable=False),  # secrets redacted
    Column("job_id", String(40)),  # whose message it was: what is erased of a job is erased here too
    instant_column("captured_at", nullable=False),
)
