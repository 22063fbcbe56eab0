"""Every table. The migrations build them; `test_migrations` holds both to the same shape.

Times are microseconds since 1970 UTC, lists are JSON text, secrets are sealed bytes (see `secrets.py`).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("key", String(128), primary_key=True),
    Column("value", Text, nullable=False),
)

# Counters that must never repeat: the catalogue's revision, serials of camera ids.
counters = Table(
    "counters",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

regions = Table(
    "regions",
    metadata,
    Column("code", String(6), primary_key=True),
    Column("name", Text, nullable=False),
    Column("parent_code", String(6), nullable=False),
)

purposes = Table(
    "purposes",
    metadata,
    Column("kind", String(64), primary_key=True),
    Column("title", Text, nullable=False),
    Column("title_en", Text, nullable=False),
    Column("wants_reference", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
    # Set: out of force; grants and records go on naming it.
    Column("retire_time", BigInteger),
)

units = Table(
    "units",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("region_code", String(6), nullable=False),
    Column("industry", String(2), nullable=False),
    Column("state", String(16), nullable=False),
    Column("create_time", BigInteger, nullable=False),
)

certificates = Table(
    "certificates",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("subject_id", String(64), nullable=False),
    Column("token_id", String(64), nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("use_time", BigInteger),
    Column("revoke_time", BigInteger),
    Column("revoke_reason", Text, nullable=False),
    Index("certificates_by_subject", "kind", "subject_id"),
    Index("certificates_by_end", "not_after"),
)

users = Table(
    "users",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("department", Text, nullable=False),
    Column("unit_id", String(64), nullable=False),
    Column("roles", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("suspended", Boolean, nullable=False),
    Column("must_change_password", Boolean, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    # Of a one-time password.
    Column("password_expire_time", BigInteger),
    # Of the newest login.
    Column("login_time", BigInteger),
)

# A login is a family of refresh tokens that replace each other; ending it ends them all.
logins = Table(
    "logins",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("user_id", String(64), ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("expire_time", BigInteger, nullable=False),
    Column("revoke_time", BigInteger),
    Column("revoke_reason", Text, nullable=False),
    Column("source_address", Text, nullable=False, server_default=""),
    # What the client calls itself.
    Column("client", Text, nullable=False, server_default=""),
    Index("logins_by_user", "user_id"),
    Index("logins_by_end", "expire_time"),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", LargeBinary(32), primary_key=True),
    Column("login_id", String(64), ForeignKey("logins.id", ondelete="CASCADE"), nullable=False),
    Column("use_time", BigInteger),
    Index("refresh_tokens_by_login", "login_id"),
)

# unit_id and region_code have no foreign key: cameras of lower hubs name units and divisions that live there.
cameras = Table(
    "cameras",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("name", Text, nullable=False),
    Column("unit_id", String(64), nullable=False),
    Column("region_code", String(6), nullable=False),
    Column("industry", String(2), nullable=False),
    Column("place_category", Integer, nullable=False),
    Column("latitude", Float, nullable=False),
    Column("longitude", Float, nullable=False),
    Column("address", Text, nullable=False),
    Column("place_basis", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("retention_days", Integer, nullable=False),
    Column("signage_text", Text, nullable=False),
    Column("signage_date", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("state", Integer, nullable=False),
    Column("state_time", BigInteger),
    Column("state_reason", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("home_hub_id", String(64), nullable=False),
    Column("near_secret_unit", Boolean, nullable=False, server_default="0"),
    Column("consent", Text, nullable=False, server_default=""),
    Index("cameras_by_unit", "unit_id"),
)

camera_streams = Table(
    "camera_streams",
    metadata,
    Column("camera_id", String(20), ForeignKey("cameras.id", ondelete="CASCADE"), primary_key=True),
    Column("profile", Integer, primary_key=True),
    Column("url", Text, nullable=False),
    Column("username", Text, nullable=False),
    Column("password", LargeBinary, nullable=False),
    Column("transport", Integer, nullable=False),
    Column("codec", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("frame_rate", Float, nullable=False),
)

# The outbox: what changed in the catalogue, in order. Bounded, see `changes.py`.
changes = Table(
    "changes",
    metadata,
    Column("revision", BigInteger, primary_key=True),
    Column("camera_id", String(20), primary_key=True),
    Column("kind", String(16), nullable=False),
)

grants = Table(
    "grants",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("username", String(64), nullable=False),
    Column("department", Text, nullable=False),
    Column("camera_ids", Text, nullable=False),
    Column("unit_ids", Text, nullable=False),
    Column("region_prefixes", Text, nullable=False),
    Column("industries", Text, nullable=False),
    Column("actions", Text, nullable=False),
    Column("purposes", Text, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("revoke_time", BigInteger),
    Column("revoke_reason", Text, nullable=False),
    # A sharing rule is a grant to a linked hub; `fields`: the parts of the record that go along.
    Column("hub_id", String(64), nullable=False, server_default=""),
    Column("fields", Text, nullable=False, server_default="[]"),
    # [[days, start_minute, end_minute], …], by the hub's clock.
    Column("weekly_hours", Text, nullable=False, server_default="[]"),
    Index("grants_by_end", "not_after"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("camera_id", String(20), nullable=False),
    Column("principal", Text, nullable=False),
    Column("viewer_name", Text, nullable=False),
    Column("purpose_kind", String(64), nullable=False),
    Column("purpose_reference", Text, nullable=False),
    Column("purpose_note", Text, nullable=False),
    Column("grant_id", String(64), nullable=False),
    Column("profile", Integer, nullable=False),
    Column("open_time", BigInteger, nullable=False),
    Column("expire_time", BigInteger, nullable=False),
    Column("rtsp_user", Text, nullable=False),
    Column("rtsp_password", LargeBinary, nullable=False),
    Column("end_time", BigInteger),
    Column("end_reason", Text, nullable=False),
    # Of a view from another hub: the linked hub that asked, and its name for the view there.
    Column("asked_by_hub_id", String(64), nullable=False, server_default=""),
    Column("view_id", String(64), nullable=False, server_default=""),
    Column("trace_id", String(32), nullable=False, server_default=""),
    Index("sessions_by_time", "open_time", "id"),
    Index("sessions_by_camera", "camera_id", "open_time"),
    Index("sessions_by_principal", "principal", "open_time"),
    Index("sessions_by_end", "end_time"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("chain_id", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("principal", Text, nullable=False),
    Column("principal_unit", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("purpose_kind", Text, nullable=False),
    Column("purpose_reference", Text, nullable=False),
    Column("grant_id", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("source_address", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("detail_json", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("previous_hash", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Index("audit_by_time", "time", "chain_id", "seq"),
    Index("audit_by_principal", "principal", "time"),
    Index("audit_by_resource", "resource", "time"),
    Index("audit_by_trace", "trace_id", "time"),
    Index("audit_by_session", "session_id", "time"),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
)

audit_heads = Table(
    "audit_heads",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("chain_id", String(64), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Index("audit_heads_by_chain", "chain_id", "seq"),
)

# Hubs linked to this one. side: where they stand, "upper" or "lower". What only an upper one has: where to dial it, and
# the CA that its certificate is checked by. epoch, revision: up to where its catalogue is known here.
hubs = Table(
    "hubs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("level", String(16), nullable=False),
    Column("region_code", String(6), nullable=False),
    Column("side", String(8), nullable=False),
    Column("joined", Boolean, nullable=False),
    Column("accepted_here", Boolean, nullable=False),
    Column("accepted_there", Boolean, nullable=False),
    Column("link_address", Text, nullable=False),
    Column("media_address", Text, nullable=False),
    Column("ca_pem", Text, nullable=False),
    Column("signing_key_pem", Text, nullable=False),
    Column("epoch", String(64), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("joined_key", String(64), nullable=False),
    Column("end_reason", String(64), nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("accept_time", BigInteger),
)

# Cameras of other hubs beside their row in `cameras`: the link that they come by, the digest of what it said, and what
# their hub calls their unit.
remote_cameras = Table(
    "remote_cameras",
    metadata,
    Column("camera_id", String(20), ForeignKey("cameras.id", ondelete="CASCADE"), primary_key=True),
    Column("hub_id", String(64), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("unit_name", Text, nullable=False),
    Index("remote_cameras_by_hub", "hub_id", "camera_id"),
)

# Cameras that a linked hub offers and that are not taken, and why; bounded, the oldest go.
camera_conflicts = Table(
    "camera_conflicts",
    metadata,
    Column("hub_id", String(64), primary_key=True),
    Column("camera_id", String(20), primary_key=True),
    Column("reason", String(64), nullable=False),
    Column("holder_hub_id", String(64), nullable=False),
    Column("time", BigInteger, nullable=False),
)

# Ids that a supervisor has given to one hub, a linked one or this: it takes over from whoever brought them first.
camera_assignments = Table(
    "camera_assignments",
    metadata,
    Column("camera_id", String(20), primary_key=True),
    Column("hub_id", String(64), nullable=False),
    Column("time", BigInteger, nullable=False),
)

# What happened, until somebody knows; held in memory whole, and bounded there.
events = Table(
    "events",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("severity", Integer, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", String(64), nullable=False),
    Column("count", BigInteger, nullable=False),
    Column("camera_ids", Text, nullable=False),
    Column("unit_id", String(64), nullable=False),
    Column("region_code", String(6), nullable=False),
    Column("hub_id", String(64), nullable=False),
    Column("principal", Text, nullable=False),
    Column("detail_json", Text, nullable=False),
    Column("begin_time", BigInteger, nullable=False),
    Column("last_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("acknowledge_by", Text, nullable=False),
    Column("acknowledge_time", BigInteger),
    Column("acknowledge_note", Text, nullable=False),
)
