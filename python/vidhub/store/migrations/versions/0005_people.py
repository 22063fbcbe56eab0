"""People and grants: one-time passwords, where logins come from, weekly hours, purposes that are out of force."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("users", sa.Column("password_expire_time", sa.BigInteger(), nullable=True))
    op.add_column("users", sa.Column("login_time", sa.BigInteger(), nullable=True))
    op.add_column("logins", sa.Column("source_address", sa.Text(), nullable=False, server_default=""))
    op.add_column("logins", sa.Column("client", sa.Text(), nullable=False, server_default=""))
    op.add_column("grants", sa.Column("weekly_hours", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("purposes", sa.Column("retire_time", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("the store goes forward: put back a backup")
