"""Sessions: one principal watching one camera, from its opening to its end."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from vidhub.model import Profile, Purpose, Session
from vidhub.store.secrets import Secrets, session_context
from vidhub.store.times import from_us, from_us_or_none, to_us, to_us_or_none

_COLUMNS = (
    "id, camera_id, principal, viewer_name, purpose_kind, purpose_reference, purpose_note, grant_id, profile, "
    "open_time, expire_time, rtsp_user, rtsp_password, end_time, end_reason, asked_by_hub_id, view_id, trace_id"
)
_MARKS = ", ".join("?" * 18)


def insert(conn: Connection, session: Session, secrets: Secrets) -> None:
    s = session
    conn.exec_driver_sql(
        f"INSERT INTO sessions ({_COLUMNS}) VALUES ({_MARKS})",
        (
            s.id,
            s.camera_id,
            s.principal,
            s.viewer_name,
            s.purpose.kind,
            s.purpose.reference,
            s.purpose.note,
            s.grant_id,
            int(s.profile),
            to_us(s.open_time),
            to_us(s.expire_time),
            s.rtsp_user,
            secrets.seal(s.rtsp_password, session_context(s.id)),
            to_us_or_none(s.end_time),
            s.end_reason,
            s.asked_by_hub_id,
            s.view_id,
            s.trace_id,
        ),
    )


def get(conn: Connection, session_id: str, secrets: Secrets | None = None) -> Session | None:
    """The RTSP password is given only with `secrets`."""
    row = conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM sessions WHERE id = ?", (session_id,)).first()
    return None if row is None else _session(row, secrets)


def renew(conn: Connection, session_id: str, expire_time: datetime) -> bool:
    """False when there is none, or it has ended."""
    statement = "UPDATE sessions SET expire_time = ? WHERE id = ? AND end_time IS NULL"
    return conn.exec_driver_sql(statement, (to_us(expire_time), session_id)).rowcount == 1


def end(conn: Connection, session_id: str, now: datetime, reason: str) -> bool:
    """False when there is none, or it had ended: of several who end it, one is told True and writes the record."""
    statement = (
        "UPDATE sessions SET end_time = ?, end_reason = ?, rtsp_password = x'' WHERE id = ? AND end_time IS NULL"
    )
    return conn.exec_driver_sql(statement, (to_us(now), reason, session_id)).rowcount == 1


def load_open(conn: Connection, secrets: Secrets | None = None) -> list[Session]:
    """Every session without an end, oldest first."""
    rows = conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM sessions WHERE end_time IS NULL ORDER BY open_time, id")
    return [_session(r, secrets) for r in rows]


def list_page(
    conn: Connection,
    *,
    camera_id: str = "",
    principal: str = "",
    camera_unit_id: str = "",
    include_ended: bool = False,
    limit: int = 100,
    after: str = "",
) -> list[Session]:
    """Newest first, from the one after the session `after`; without passwords.

    camera_unit_id: sessions on cameras of that unit, and those it opened itself. What another hub calls by the same
    id is no unit of ours.
    """
    conditions, values = ["1 = 1"], list[str]()
    for column, value in (("camera_id", camera_id), ("principal", principal)):
        if value:
            conditions.append(f"{column} = ?")
            values.append(value)
    if camera_unit_id:
        conditions.append(
            "(principal = ? OR camera_id IN (SELECT id FROM cameras WHERE unit_id = ? AND home_hub_id = ''))"
        )
        values += [f"unit/{camera_unit_id}", camera_unit_id]
    if not include_ended:
        conditions.append("end_time IS NULL")
    if after:
        conditions.append("(open_time, id) < (SELECT open_time, id FROM sessions WHERE id = ?)")
        values.append(after)
    rows = conn.exec_driver_sql(
        f"SELECT {_COLUMNS} FROM sessions WHERE {' AND '.join(conditions)} ORDER BY open_time DESC, id DESC LIMIT ?",
        (*values, limit),
    )
    return [_session(r, None) for r in rows]


def _session(r: Any, secrets: Secrets | None) -> Session:
    return Session(
        id=r[0],
        camera_id=r[1],
        principal=r[2],
        viewer_name=r[3],
        purpose=Purpose(r[4], r[5], r[6]),
        grant_id=r[7],
        profile=Profile(r[8]),
        open_time=from_us(r[9]),
        expire_time=from_us(r[10]),
        rtsp_user=r[11],
        rtsp_password="" if secrets is None else secrets.open_sealed(r[12], session_context(r[0])),
        end_time=from_us_or_none(r[13]),
        end_reason=r[14],
        asked_by_hub_id=r[15],
        view_id=r[16],
        trace_id=r[17],
    )
