"""Ids of grants and sessions: in the order of their making, and not to be guessed."""

from __future__ import annotations

import secrets
from datetime import datetime


def new_id(kind: str, now: datetime) -> str:
    """kind: one letter in front, "g" for a grant, "s" for a session."""
    return f"{kind}{int(now.timestamp() * 1000):011x}{secrets.token_hex(8)}"
