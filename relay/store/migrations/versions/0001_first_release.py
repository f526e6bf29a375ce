"""Everything that the first release needs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Updated several times in its life: room on the page keeps those updates HOT, and the vacuum comes early.
HOT: dict[str, Any] = {
    "postgresql_with": {"fillfactor": 70, "autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_threshold": 1000}
}


def upgrade() -> None:
    _config()
    _webhooks()
    _subscriptions()
    _api_keys()
    _notifications()
    _jobs()
    _job_keys()
    _results()
    _payload_chunks()
    _spills()
    _deliveries()
    _attempts()
    _replays()
    _nodes()
    _idempotency_keys()
    _sealing_keys()
    op.execute("INSERT INTO config (id, version) VALUES (1, 1)")


def _where(predicate: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(predicate), "postgresql_where": sa.text(predicate)}


def _config() -> None:
    op.create_table(
        "config",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_config"),
    )


def _webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("credentials_sealed", sa.LargeBinary()),
        sa.Column("verification_sealed", sa.LargeBinary()),
        sa.Column("origins", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text()),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("retention_seconds", sa.Float()),
        sa.Column("poll_seconds", sa.Text()),
        sa.Column("fetch_max_in_flight", sa.Integer(), nullable=False),
        sa.Column("fetch_rate_per_second", sa.Float()),
        sa.Column("untracked", sa.Text(), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("previous_valid_until", sa.BigInteger()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index("uq_webhooks_name", "webhooks", ["name"], unique=True, **_where("deleted_at IS NULL"))


def _subscriptions() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("url", sa.Text()),
        sa.Column("webhook_ids", sa.Text()),
        sa.Column("event_types", sa.Text()),
        sa.Column("filter", sa.Text()),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("headers_sealed", sa.LargeBinary()),
        sa.Column("secrets_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret_until", sa.BigInteger()),
        sa.Column("max_in_flight", sa.Integer(), nullable=False),
        sa.Column("rate_per_second", sa.Float()),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_reason", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_subscriptions"),
    )
    op.create_index("uq_subscriptions_name", "subscriptions", ["name"], unique=True, **_where("deleted_at IS NULL"))


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger()),
        sa.Column("expires_at", sa.BigInteger()),
        sa.Column("revoked_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("uq_api_keys_sha256", "api_keys", ["sha256"], unique=True)


def _notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("webhook_id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40)),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("dedupe_key", sa.LargeBinary()),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("suffix", sa.Text(), nullable=False),
        sa.Column("query", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text()),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("headers_sealed", sa.LargeBinary()),
        sa.Column("body", sa.LargeBinary()),
        sa.Column("body_sealed", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("body_size", sa.Integer(), nullable=False),
        sa.Column("payload_id", sa.String(40)),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notifications"),
    )
    op.create_index("ix_notifications_job", "notifications", ["job_id"], **_where("job_id IS NOT NULL"))
    op.create_index("ix_notifications_odd", "notifications", ["status", "id"], **_where("status <> 'accepted'"))
    op.create_index("ix_notifications_webhook", "notifications", ["webhook_id", "id"])
    op.create_index("uq_notifications_dedupe_key", "notifications", ["dedupe_key"], unique=True)


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("webhook_id", sa.String(40), nullable=False),
        sa.Column("provider_job_id", sa.Text()),
        sa.Column("response_url", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("provider_status", sa.Text()),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("give_up_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("notified_at", sa.BigInteger()),
        sa.Column("completed_at", sa.BigInteger()),
        sa.Column("result_id", sa.String(40)),
        sa.Column("inline_notification_id", sa.String(40)),
        sa.Column("tracked", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("step", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("claims", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text()),
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


def _job_keys() -> None:
    op.create_table(
        "job_keys",
        sa.Column("webhook_id", sa.String(40), nullable=False),
        sa.Column("kind", sa.String(4), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("webhook_id", "kind", "value", name="pk_job_keys"),
    )
    op.create_index("ix_job_keys_job", "job_keys", ["job_id"])


def _results() -> None:
    op.create_table(
        "results",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("webhook_id", sa.String(40), nullable=False),
        sa.Column("provider_job_id", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("partial", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text()),
        sa.Column("size_bytes", sa.Integer()),
        sa.Column("sha256", sa.Text()),
        sa.Column("payload_id", sa.String(40)),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_results"),
    )
    op.create_index("ix_results_job", "results", ["job_id"])
    op.create_index("ix_results_webhook", "results", ["webhook_id", "id"])


def _payload_chunks() -> None:
    op.create_table(
        "payload_chunks",
        sa.Column("payload_id", sa.String(40), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("payload_id", "seq", name="pk_payload_chunks"),
    )


def _spills() -> None:
    op.create_table(
        "spills",
        sa.Column("payload_id", sa.String(40), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("payload_id", name="pk_spills"),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("result_id", sa.String(40), nullable=False),
        sa.Column("subscription_id", sa.String(40), nullable=False),
        sa.Column("replay_id", sa.String(40), nullable=False, server_default=""),
        sa.Column("message_id", sa.String(40), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("budget_from", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.BigInteger()),
        sa.Column("http_status", sa.Integer()),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("claims", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text()),
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
        sa.Column("owner_id", sa.String(40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("http_status", sa.Integer()),
        sa.Column("error_code", sa.Text()),
        sa.Column("response_excerpt", sa.Text()),
        sa.PrimaryKeyConstraint("owner_id", "number", name="pk_attempts"),
    )


def _replays() -> None:
    op.create_table(
        "replays",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False),
        sa.Column("subscription_ids", sa.Text()),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("new_message_id", sa.Boolean(), nullable=False),
        sa.Column("rate_per_second", sa.Float()),
        sa.Column("cursor", sa.String(40)),
        sa.Column("upper_id", sa.String(40), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("planned", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_replays"),
    )


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
    )


def _idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("response_sealed", sa.LargeBinary()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency_keys"),
    )


def _sealing_keys() -> None:
    op.create_table(
        "sealing_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("first_used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name="pk_sealing_keys"),
    )
