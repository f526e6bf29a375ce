"""Pending deliveries are listed by an index in order: however many wait, no more than a page of them is read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    undelivered = sa.text("status <> 'delivered'")
    for name, columns in (
        ("ix_deliveries_odd", ["status", "id"]),
        ("ix_deliveries_subscription_odd", ["subscription_id", "status", "id"]),
    ):
        op.drop_index(name, "deliveries")
        op.create_index(name, "deliveries", columns, sqlite_where=undelivered, postgresql_where=undelivered)
