"""Golden results are sums of scores, not only counts of right answers: boxes and masks are right in part.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Applies the change."""
    with op.batch_alter_table("rollout_device") as table:
        for name in ("golden_right", "golden_incumbent_right"):
            table.alter_column(name, existing_type=sa.Integer(), type_=sa.Float(), existing_nullable=True)
