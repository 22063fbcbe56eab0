"""Sessions across starts: what a crash left open is closed, what a clean stop left goes on."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection

from vidhub.access.book import SessionBook
from vidhub.access.ends import End, write_end
from vidhub.audit import AuditLog
from vidhub.errors import NotFound, PermissionDenied
from vidhub.model import Principal, PrincipalKind, Session, User
from vidhub.store import Secrets, Store, certificates, sessions, users

_CHUNK = 200


async def reload(
    store: Store, secrets: Secrets, audit: AuditLog, book: SessionBook, hub_id: str, *, was_clean: bool
) -> int:
    """At start-up, after cameras and grants. What a crash left open is closed with SESSION_LOST; after a clean stop the
    sessions go on, and can be renewed, but for those that other hubs have a part in: of these they know nothing now.
    How many have ended."""
    now = datetime.now(UTC)

    def read(conn: Connection) -> tuple[list[Session], dict[str, User], set[str]]:
        held = (one for one in certificates.load(conn, now) if one.kind == "unit" and one.revoke_time is None)
        people = {user.name: user for user in users.load(conn)}
        return sessions.load_open(conn, secrets), people, {one.subject_id for one in held}

    left, people, units = await store.read(read)
    lost: list[tuple[str, End]] = []
    for session in left:
        reason = "SESSION_LOST" if not was_clean else _take_up(book, hub_id, session, people, units, now)
        if reason:
            lost.append((session.id, End(now, reason)))

    for start in range(0, len(lost), _CHUNK):
        part = lost[start : start + _CHUNK]

        def work(conn: Connection, part: list[tuple[str, End]] = part) -> None:
            for session_id, end in part:
                write_end(conn, audit, session_id, end)

        await store.write(work)
    return len(lost)


def _take_up(
    book: SessionBook, hub_id: str, session: Session, people: dict[str, User], units: set[str], now: datetime
) -> str:
    """Gives a session of the last run back to the core; the reason why not, or "".

    units: those that hold a good certificate.
    """
    if session.expire_time <= now:
        return "SESSION_EXPIRED"
    kind, _, name = session.principal.partition("/")
    if kind == PrincipalKind.UNIT.value:
        if name not in units:
            return "CERTIFICATE_REVOKED"
        principal = Principal(PrincipalKind.UNIT, name, hub_id=hub_id, unit_id=name, trace_id=session.trace_id)
    else:
        user = people.get(name)
        if kind != PrincipalKind.USER.value or user is None or session.asked_by_hub_id:
            return "SESSION_LOST"
        if user.suspended:
            return "USER_SUSPENDED"
        principal = Principal(
            PrincipalKind.USER,
            user.name,
            hub_id=hub_id,
            display_name=user.display_name,
            department=user.department,
            unit_id=user.unit_id,
            roles=user.roles,
            trace_id=session.trace_id,
        )
    try:
        if book.is_of_other_hub(session.camera_id):
            return "SESSION_LOST"
        book.judge(principal, session.camera_id, session.purpose)
        book.admit(principal, session)
    except NotFound:
        return "CAMERA_RETIRED"
    except PermissionDenied:
        return "POLICY_CHANGED"
    return ""
