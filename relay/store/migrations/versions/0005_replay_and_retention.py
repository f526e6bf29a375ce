"""Lists by rare states, replays that count, attempts that say where the time went, retention of each webhook's own."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _lists()
    _replays()
    _retention()
    for name in ("dns_ms", "connect_ms", "first_byte_ms"):
        op.add_column("attempts", sa.Column(name, sa.Integer(), nullable=True))


def _where(predicate: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(predicate), "postgresql_where": sa.text(predicate)}


def _lists() -> None:
    open_or_done = _where("status <> 'completed' AND status <> 'fetching'")
    op.create_index("ix_jobs_odd", "jobs", ["status", "id"], **open_or_done)
    op.create_index("ix_jobs_webhook_odd", "jobs", ["webhook_id", "status", "id"], **open_or_done)
    odd = _where("status <> 'completed'")
    op.create_index("ix_results_odd", "results", ["status", "id"], **odd)
    op.create_index("ix_results_webhook_odd", "results", ["webhook_id", "status", "id"], **odd)
    taken = _where("status <> 'accepted'")
    op.create_index("ix_notifications_webhook_odd", "notifications", ["webhook_id", "status", "id"], **taken)
    ended = _where("status <> 'delivered' AND status <> 'pending'")
    op.drop_index("ix_deliveries_odd", "deliveries")
    op.create_index("ix_deliveries_odd", "deliveries", ["status", "id"], **ended)
    op.create_index("ix_deliveries_subscription_odd", "deliveries", ["subscription_id", "status", "id"], **ended)
    op.drop_index("ix_deliveries_replay", "deliveries")
    op.create_index("ix_deliveries_replay", "deliveries", ["replay_id", "status", "id"], **_where("replay_id <> ''"))


def _replays() -> None:
    op.add_column("replays", sa.Column("delivered", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("replays", sa.Column("failed", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("replays", sa.Column("expected", sa.Integer(), nullable=True))
    op.add_column("replays", sa.Column("next_due_at", sa.BigInteger(), nullable=True))
    op.add_column("replays", sa.Column("finished_at", sa.BigInteger(), nullable=True))
    for column, states in (("delivered", "'delivered'"), ("failed", "'exhausted', 'cancelled'")):
        mine = f"replay_id = replays.id AND replay_id <> '' AND status IN ({states})"
        op.execute(f"UPDATE replays SET {column} = (SELECT count(*) FROM deliveries WHERE {mine})")


def _retention() -> None:
    op.add_column("webhooks", sa.Column("retention_days", sa.Float(), nullable=True))
    op.add_column("webhooks", sa.Column("retention_bytes", sa.BigInteger(), nullable=True))
    op.add_column("idempotency_keys", sa.Column("job_id", sa.String(40), nullable=True))
    op.create_index("ix_idempotency_keys_job", "idempotency_keys", ["job_id"], **_where("job_id IS NOT NULL"))
    op.create_table(
        "usage",
        sa.Column("webhook_id", sa.String(40), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("counted_to", sa.String(40), nullable=False),
        sa.PrimaryKeyConstraint("webhook_id", name="pk_usage"),
    )
