"""The register of use is followed by trace and by session too."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("audit_by_trace", "audit_entries", ["trace_id", "time"])
    op.create_index("audit_by_session", "audit_entries", ["session_id", "time"])


def downgrade() -> None:
    raise NotImplementedError("the store goes forward: put back a backup")
