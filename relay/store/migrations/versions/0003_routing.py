"""How many subscriptions wanted a result, so that those that nobody wanted can be listed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("results", sa.Column("matched", sa.Integer(), nullable=True))
    nobody = sa.text("matched = 0")
    op.create_index("ix_results_unrouted", "results", ["id"], sqlite_where=nobody, postgresql_where=nobody)
