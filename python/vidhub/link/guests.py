"""Sessions of linked hubs themselves, by which media goes from hub to hub: no view of a person's, one for each copy."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from vidhub.audit import AuditLog
from vidhub.core import Core
from vidhub.errors import InvalidArgument
from vidhub.model import AuditRecord, Principal, PrincipalKind, Profile
from vidhub.store import Store

# A copy is ordered again when its session is over, which its viewers hardly see.
LIFE = timedelta(days=7)
# Time to the first use of a ticket: dialling, TLS and RTSP on a slow line.
TICKET_S = 60.0


class Guests:
    """Opens and ends them, in the core alone; the order is on record first."""

    def __init__(
        self,
        *,
        store: Store,
        audit: AuditLog,
        core: Core,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._audit = audit
        self._core = core
        self._clock = clock

    async def record(self, hub_id: str, camera_id: str, profile: Profile, order_id: str, direction: str) -> None:
        """direction: "in" for media that comes here. No record, no media."""
        facts = {"order": order_id, "profile": profile.name.lower(), "direction": direction}
        entry = AuditRecord.of(_hub(hub_id), "stream.order", f"camera/{camera_id}", detail_json=json.dumps(facts))
        await self._store.write(lambda conn: self._audit.append(conn, [entry]))

    def refused(self, hub_id: str, camera_id: str, reason: str) -> None:
        record = AuditRecord.of(_hub(hub_id), "stream.refused", f"camera/{camera_id}", result=reason)
        self._audit.refusal(record, hub_id=hub_id)

    def open(
        self, hub_id: str, camera_id: str, profile: Profile, *, purpose: str, grant_id: str = ""
    ) -> tuple[str, str]:
        """(session id, ticket)."""
        session_id = f"h{secrets.token_hex(13)}"
        self._core.open_session(
            session_id,
            _hub(hub_id),
            camera_id,
            profile=profile,
            purpose=purpose,
            grant_id=grant_id,
            expire_time=self._clock() + LIFE,
            rtsp_user=f"h{secrets.token_hex(8)}",
            rtsp_password=secrets.token_hex(12),
        )
        return session_id, self._core.issue_ticket(session_id, TICKET_S).text

    def end(self, session_id: str, reason: str) -> None:
        if session_id:
            self._core.end_session(session_id, reason)


def check_path(path: str) -> None:
    """Of another hub's media. One that does not begin with a slash would go on with the port.

    Raises InvalidArgument ORDER_INVALID.
    """
    if not path.startswith("/"):
        raise InvalidArgument("ORDER_INVALID", "the path of a stream begins with a slash")


def _hub(hub_id: str) -> Principal:
    return Principal(PrincipalKind.HUB, hub_id, hub_id=hub_id)
