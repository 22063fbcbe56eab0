"""Cameras near military and secret-bearing units, and their consent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cameras", sa.Column("near_secret_unit", sa.Boolean(), nullable=False, server_default="0"))
    op.add_column("cameras", sa.Column("consent", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    raise NotImplementedError("the store goes forward: put back a backup")
