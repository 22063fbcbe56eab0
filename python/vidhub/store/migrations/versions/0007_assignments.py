"""Ids of cameras that a supervisor has given to one hub."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "camera_assignments",
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("hub_id", sa.String(length=64), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("camera_id"),
    )


def downgrade() -> None:
    raise NotImplementedError("the store goes forward: put back a backup")
