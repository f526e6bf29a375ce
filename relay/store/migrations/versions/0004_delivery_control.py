"""Several signing secrets, a schedule and a time limit per subscription; breakers and events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("subscriptions", sa.Column("secret_ends", sa.Text()))
    op.add_column("subscriptions", sa.Column("schedule_seconds", sa.Text()))
    op.add_column("subscriptions", sa.Column("timeout_seconds", sa.Float()))
    op.create_table(
        "breakers",
        sa.Column("subscription_id", sa.String(40), nullable=False),
        sa.Column("failing_since", sa.BigInteger(), nullable=False),
        sa.Column("opened_at", sa.BigInteger()),
        sa.Column("next_probe_at", sa.BigInteger()),
        sa.Column("probe_until", sa.BigInteger()),
        sa.Column("probes", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text()),
        sa.PrimaryKeyConstraint("subscription_id", name="pk_breakers"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.String(40), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("once", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("uq_events_once", "events", ["once"], unique=True)
