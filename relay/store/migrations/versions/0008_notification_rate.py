"""How many notifications a second a webhook takes, where that is limited."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("notification_rate_per_second", sa.Float(), nullable=True))
