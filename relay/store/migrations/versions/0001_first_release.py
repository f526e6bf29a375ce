"""Everything that the first release needs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Updated several times in its life: room on the page keeps those updates HOT, and the vacuum comes early.
HOT: dict[str, Any] = {
    "postgresql_with": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_threshold": 1000}
}


def upgrade() -> None:
    _access()
    _webhooks()
    _subscriptions()
    _notifications()
    _jobs()
    _captures()
    _job_keys_and_payloads()
    _results()
    _deliveries()
    _attempts()
    _replays()
    _bookkeeping()
    op.execute("INSERT INTO config (id, version) VALUES (1, 1)")


def _columns(
    kind: TypeEngine[Any], *names: str, nullable: bool = False, server_default: Any = None
) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=nullable, server_default=server_default) for name in names]


def _where(predicate: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(predicate), "postgresql_where": sa.text(predicate)}


def _access() -> None:
    op.create_table(
        "config",
        *_columns(sa.Integer(), "id"),
        *_columns(sa.BigInteger(), "version"),
        sa.PrimaryKeyConstraint("id", name="pk_config"),
    )
    op.create_table(
        "api_keys",
        *_columns(sa.String(40), "id"),
        *_columns(sa.Text(), "name", "scope", "sha256"),
        *_columns(sa.BigInteger(), "created_at"),
        *_columns(sa.BigInteger(), "last_used_at", "expires_at", "revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("uq_api_keys_sha256", "api_keys", ["sha256"], unique=True)


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        *_columns(sa.String(40), "id"),
        *_columns(sa.Text(), "name", "provider"),
        *_columns(sa.LargeBinary(), "credentials_sealed", "verification_sealed", nullable=True),
        *_columns(sa.Text(), "origins"),
        *_columns(sa.Text(), "base_url", nullable=True),
        *_columns(sa.Text(), "parameters"),
        *_columns(sa.Float(), "retention_seconds", nullable=True),
        *_columns(sa.Text(), "poll_seconds", nullable=True),
        *_columns(sa.Integer(), "fetch_max_in_flight"),
        *_columns(sa.Float(), "fetch_rate_per_second", nullable=True),
        *_columns(sa.Text(), "untracked", "metadata", "status"),
        *_columns(sa.Integer(), "generation"),
        *_columns(sa.BigInteger(), "previous_valid_until", nullable=True),
        *_columns(sa.BigInteger(), "created_at", "updated_at"),
        *_columns(sa.BigInteger(), "deleted_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("uq_webhooks_name", "webhooks", ["name"], unique=True, **_where("deleted_at IS NULL"))


def _subscriptions() -> None:
    op.create_table(
        "subscriptions",
        *_columns(sa.String(40), "id"),
        *_columns(sa.Text(), "name", "kind"),
        *_columns(sa.Text(), "url", "webhook_ids", "event_types", "filter", nullable=True),
        *_columns(sa.Text(), "format"),
        *_columns(sa.LargeBinary(), "headers_sealed", nullable=True),
        *_columns(sa.LargeBinary(), "secrets_sealed"),
        *_columns(sa.BigInteger(), "previous_secret_until", nullable=True),
        *_columns(sa.Integer(), "max_in_flight"),
        *_columns(sa.Float(), "rate_per_second", nullable=True),
        *_columns(sa.Text(), "metadata", "status"),
        *_columns(sa.Text(), "status_reason", nullable=True),
        *_columns(sa.BigInteger(), "created_at", "updated_at"),
        *_columns(sa.BigInteger(), "deleted_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
    )
    op.create_index("uq_subscriptions_name", "subscriptions", ["name"], unique=True, **_where("deleted_at IS NULL"))


def _notifications() -> None:
    op.create_table(
        "notifications",
        *_columns(sa.String(40), "id", "webhook_id"),
        *_columns(sa.String(40), "job_id", nullable=True),
        *_columns(sa.Text(), "status"),
        *_columns(sa.Text(), "reason", nullable=True),
        *_columns(sa.LargeBinary(), "dedupe_key", nullable=True),
        *_columns(sa.Text(), "method", "suffix", "query"),
        *_columns(sa.Text(), "content_type", nullable=True),
        *_columns(sa.Text(), "headers"),
        *_columns(sa.LargeBinary(), "headers_sealed", "body", nullable=True),
        *_columns(sa.Boolean(), "body_sealed", server_default=sa.text("false")),
        *_columns(sa.Integer(), "body_size"),
        *_columns(sa.String(40), "payload_id", nullable=True),
        *_columns(sa.BigInteger(), "received_at"),
        sa.PrimaryKeyConstraint("id", name="pk_notifications"),
    )
    op.create_index("ix_notifications_job", "notifications", ["job_id"], **_where("job_id IS NOT NULL"))
    op.create_index("ix_notifications_odd", "notifications", ["status", "id"], **_where("status <> 'accepted'"))
    op.create_index("ix_notifications_webhook", "notifications", ["webhook_id", "id"])
    op.create_index("uq_notifications_dedupe_key", "notifications", ["dedupe_key"], unique=True)


def _captures() -> None:
    op.create_table(
        "captures",
        *_columns(sa.String(40), "webhook_id"),
        *_columns(sa.Text(), "kind"),
        *_columns(sa.String(64), "shape"),
        *_columns(sa.Integer(), "http_status", nullable=True),
        *_columns(sa.Text(), "content_type", nullable=True),
        *_columns(sa.Text(), "excerpt"),
        *_columns(sa.String(40), "job_id", nullable=True),
        *_columns(sa.BigInteger(), "captured_at"),
        sa.PrimaryKeyConstraint("webhook_id", "kind", "shape", name="pk_captures"),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        *_columns(sa.String(40), "id", "webhook_id"),
        *_columns(sa.Text(), "provider_job_id", "response_url", nullable=True),
        *_columns(sa.Text(), "status"),
        *_columns(sa.Text(), "provider_status", nullable=True),
        *_columns(sa.Text(), "metadata"),
        *_columns(sa.BigInteger(), "deadline", "give_up_at", "created_at"),
        *_columns(sa.BigInteger(), "notified_at", "completed_at", nullable=True),
        *_columns(sa.String(40), "result_id", "inline_notification_id", nullable=True),
        *_columns(sa.Boolean(), "tracked", server_default=sa.text("false")),
        *_columns(sa.Integer(), "attempts", "step", server_default="0"),
        *_columns(sa.BigInteger(), "due_at", "lease_until", nullable=True),
        *_columns(sa.Integer(), "claims", server_default="0"),
        *_columns(sa.Text(), "last_error", nullable=True),
        *_columns(sa.Boolean(), "submitted", server_default=sa.text("false")),
        *_columns(sa.Text(), "result_path", "status_url", "cancel_url", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        **HOT,
    )
    op.create_index(
        "ix_jobs_deadline",
        "jobs",
        ["webhook_id", "deadline", "id", "due_at"],
        **_where("due_at IS NOT NULL"),
    )
    op.create_index("ix_jobs_due", "jobs", ["due_at", "webhook_id", "deadline", "id"], **_where("due_at IS NOT NULL"))
    op.create_index("ix_jobs_webhook", "jobs", ["webhook_id", "id"])


def _job_keys_and_payloads() -> None:
    op.create_table(
        "job_keys",
        *_columns(sa.String(40), "webhook_id"),
        *_columns(sa.String(4), "kind"),
        *_columns(sa.Text(), "value"),
        *_columns(sa.String(40), "job_id"),
        sa.PrimaryKeyConstraint("webhook_id", "kind", "value", name="pk_job_keys"),
    )
    op.create_index("ix_job_keys_job", "job_keys", ["job_id"])
    op.create_table(
        "payload_chunks",
        *_columns(sa.String(40), "payload_id"),
        *_columns(sa.Integer(), "seq"),
        *_columns(sa.LargeBinary(), "data"),
        sa.PrimaryKeyConstraint("payload_id", "seq", name="pk_payload_chunks"),
    )
    op.create_table(
        "spills",
        *_columns(sa.String(40), "payload_id"),
        *_columns(sa.BigInteger(), "created_at"),
        sa.PrimaryKeyConstraint("payload_id", name="pk_spills"),
    )


def _results() -> None:
    op.create_table(
        "results",
        *_columns(sa.String(40), "id", "job_id", "webhook_id"),
        *_columns(sa.Text(), "provider_job_id", nullable=True),
        *_columns(sa.Text(), "status"),
        *_columns(sa.Text(), "error", nullable=True),
        *_columns(sa.Boolean(), "partial", server_default=sa.text("false")),
        *_columns(sa.Text(), "metadata"),
        *_columns(sa.Text(), "content_type", nullable=True),
        *_columns(sa.Integer(), "size_bytes", nullable=True),
        *_columns(sa.Text(), "sha256", nullable=True),
        *_columns(sa.String(40), "payload_id", nullable=True),
        *_columns(sa.BigInteger(), "fetched_at"),
        sa.PrimaryKeyConstraint("id", name="pk_results"),
    )
    op.create_index("ix_results_job", "results", ["job_id"])
    op.create_index("ix_results_webhook", "results", ["webhook_id", "id"])


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        *_columns(sa.String(40), "id", "result_id", "subscription_id"),
        *_columns(sa.String(40), "replay_id", server_default=""),
        *_columns(sa.String(40), "message_id"),
        *_columns(sa.Text(), "status"),
        *_columns(sa.Integer(), "attempts", "budget_from", server_default="0"),
        *_columns(sa.BigInteger(), "created_at"),
        *_columns(sa.BigInteger(), "settled_at", nullable=True),
        *_columns(sa.Integer(), "http_status", nullable=True),
        *_columns(sa.BigInteger(), "due_at", "lease_until", nullable=True),
        *_columns(sa.Integer(), "claims", server_default="0"),
        *_columns(sa.Text(), "last_error", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        **HOT,
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["due_at", "subscription_id", "id"],
        **_where("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_lane",
        "deliveries",
        ["subscription_id", "due_at", "id"],
        **_where("due_at IS NOT NULL"),
    )
    op.create_index("ix_deliveries_odd", "deliveries", ["status", "id"], **_where("status <> 'delivered'"))
    op.create_index("ix_deliveries_replay", "deliveries", ["replay_id", "status"], **_where("replay_id <> ''"))
    op.create_index("ix_deliveries_subscription", "deliveries", ["subscription_id", "id"])
    op.create_index("uq_deliveries_result", "deliveries", ["result_id", "subscription_id", "replay_id"], unique=True)


def _attempts() -> None:
    op.create_table(
        "attempts",
        *_columns(sa.String(40), "owner_id"),
        *_columns(sa.Integer(), "number"),
        *_columns(sa.String(40), "id"),
        *_columns(sa.Text(), "trigger"),
        *_columns(sa.BigInteger(), "started_at"),
        *_columns(sa.Integer(), "duration_ms"),
        *_columns(sa.Integer(), "http_status", nullable=True),
        *_columns(sa.Text(), "error_code", "response_excerpt", nullable=True),
        sa.PrimaryKeyConstraint("owner_id", "number", name="pk_attempts"),
    )


def _replays() -> None:
    op.create_table(
        "replays",
        *_columns(sa.String(40), "id"),
        *_columns(sa.Text(), "status", "filter"),
        *_columns(sa.Text(), "subscription_ids", nullable=True),
        *_columns(sa.Text(), "mode"),
        *_columns(sa.Boolean(), "new_message_id"),
        *_columns(sa.Float(), "rate_per_second", nullable=True),
        *_columns(sa.String(40), "cursor", nullable=True),
        *_columns(sa.String(40), "upper_id"),
        *_columns(sa.Integer(), "total", server_default="0"),
        *_columns(sa.Boolean(), "planned", server_default=sa.text("false")),
        *_columns(sa.BigInteger(), "created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_replays"),
    )


def _bookkeeping() -> None:
    op.create_table(
        "nodes",
        *_columns(sa.String(40), "id"),
        *_columns(sa.Text(), "role"),
        *_columns(sa.BigInteger(), "started_at", "seen_at"),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
    )
    op.create_table(
        "idempotency_keys",
        *_columns(sa.Text(), "key", "fingerprint"),
        *_columns(sa.Integer(), "status", nullable=True),
        *_columns(sa.LargeBinary(), "response_sealed", nullable=True),
        *_columns(sa.BigInteger(), "created_at"),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    )
    op.create_table(
        "sealing_keys",
        *_columns(sa.Text(), "key_id"),
        *_columns(sa.BigInteger(), "first_used_at"),
        sa.PrimaryKeyConstraint("key_id", name="pk_sealing_keys"),
    )
