"""When a message of a pull subscription may be taken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("pull_at", sa.BigInteger(), nullable=True))
    only = sa.text("pull_at IS NOT NULL")
    op.create_index(
        "ix_deliveries_pull",
        "deliveries",
        ["subscription_id", "pull_at", "id"],
        sqlite_where=only,
        postgresql_where=only,
    )
