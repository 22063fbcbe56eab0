"""Links to other hubs: who they are, what is shared with them, what they share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("grants", sa.Column("hub_id", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("grants", sa.Column("fields", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("sessions", sa.Column("asked_by_hub_id", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("sessions", sa.Column("view_id", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("sessions", sa.Column("trace_id", sa.String(length=32), nullable=False, server_default=""))
    op.create_table(
        "hubs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("region_code", sa.String(length=6), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("joined", sa.Boolean(), nullable=False),
        sa.Column("accepted_here", sa.Boolean(), nullable=False),
        sa.Column("accepted_there", sa.Boolean(), nullable=False),
        sa.Column("link_address", sa.Text(), nullable=False),
        sa.Column("media_address", sa.Text(), nullable=False),
        sa.Column("ca_pem", sa.Text(), nullable=False),
        sa.Column("signing_key_pem", sa.Text(), nullable=False),
        sa.Column("epoch", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("joined_key", sa.String(length=64), nullable=False),
        sa.Column("end_reason", sa.String(length=64), nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("accept_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "remote_cameras",
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("hub_id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("unit_name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("camera_id"),
    )
    op.create_index("remote_cameras_by_hub", "remote_cameras", ["hub_id", "camera_id"], unique=False)
    op.create_table(
        "camera_conflicts",
        sa.Column("hub_id", sa.String(length=64), nullable=False),
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("holder_hub_id", sa.String(length=64), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hub_id", "camera_id"),
    )


def downgrade() -> None:
    raise NotImplementedError("the store goes forward: put back a backup")
