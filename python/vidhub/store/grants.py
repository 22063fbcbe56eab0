"""Grants: who may do what with which cameras, for which purposes, until when; to people, and to linked hubs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from vidhub.model import Action, Grant, Scope, WeeklyHours
from vidhub.store.times import from_us, from_us_or_none, to_us, to_us_or_none

_COLUMNS = (
    "id, username, department, camera_ids, unit_ids, region_prefixes, industries, actions, purposes, "
    "not_before, not_after, reason, created_by, create_time, revoke_time, revoke_reason, hub_id, fields, "
    "weekly_hours"
)
_MARKS = ", ".join("?" * 19)


def insert(conn: Connection, grant: Grant) -> None:
    """`create_time` must be set."""
    if grant.create_time is None:
        raise ValueError("a grant is stored with its time of creation")
    g, s = grant, grant.scope
    lists = (s.camera_ids, s.unit_ids, s.region_prefixes, s.industries, g.actions, g.purposes)
    conn.exec_driver_sql(
        f"INSERT INTO grants ({_COLUMNS}) VALUES ({_MARKS})",
        (
            g.id,
            g.username,
            g.department,
            *(json.dumps(list(x), ensure_ascii=False) for x in lists),
            to_us(g.not_before),
            to_us(g.not_after),
            g.reason,
            g.created_by,
            to_us(grant.create_time),
            to_us_or_none(g.revoke_time),
            g.revoke_reason,
            g.hub_id,
            json.dumps(list(g.fields)),
            json.dumps([[list(one.days), one.start_minute, one.end_minute] for one in g.weekly_hours]),
        ),
    )


def remove(conn: Connection, grant_id: str) -> None:
    """For one that comes anew under the same id: what is taken back is revoked, and stays on record."""
    conn.exec_driver_sql("DELETE FROM grants WHERE id = ?", (grant_id,))


def get(conn: Connection, grant_id: str) -> Grant | None:
    row = conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM grants WHERE id = ?", (grant_id,)).first()
    return None if row is None else _grant(row)


def revoke(conn: Connection, grant_id: str, now: datetime, reason: str) -> bool:
    """False when there is none, or it was revoked before."""
    statement = "UPDATE grants SET revoke_time = ?, revoke_reason = ? WHERE id = ? AND revoke_time IS NULL"
    return conn.exec_driver_sql(statement, (to_us(now), reason, grant_id)).rowcount == 1


def load_active(conn: Connection, now: datetime) -> list[Grant]:
    """Neither revoked nor past its end; its beginning may lie ahead."""
    rows = conn.exec_driver_sql(
        f"SELECT {_COLUMNS} FROM grants WHERE revoke_time IS NULL AND not_after > ? ORDER BY id", (to_us(now),)
    )
    return [_grant(r) for r in rows]


def list_page(
    conn: Connection,
    *,
    username: str = "",
    department: str = "",
    active_at: datetime | None = None,
    matches: Callable[[Grant], bool] | None = None,
    limit: int = 100,
    after: str = "",
) -> list[Grant]:
    """In order of id, from the one after `after`.

    username, department: given together, either will do. active_at: leave out what had ended then.
    matches: a further condition, such as "its scope covers this camera"; pages stay full.
    """
    subjects = [(c, v) for c, v in (("username", username), ("department", department)) if v]
    conditions, values = ["id > ?"], [after]
    if subjects:
        conditions.append("(" + " OR ".join(f"{c} = ?" for c, _ in subjects) + ")")
        values += [v for _, v in subjects]
    if active_at is not None:
        conditions.append("revoke_time IS NULL AND not_after > ?")
    found: list[Grant] = []
    rows = conn.exec_driver_sql(
        f"SELECT {_COLUMNS} FROM grants WHERE {' AND '.join(conditions)} ORDER BY id",
        (*values, *([] if active_at is None else [to_us(active_at)])),
    )
    for row in rows:
        grant = _grant(row)
        if matches is None or matches(grant):
            found.append(grant)
            if len(found) == limit:
                break
    rows.close()
    return found


def _grant(r: Any) -> Grant:
    return Grant(
        id=r[0],
        username=r[1],
        department=r[2],
        scope=Scope(*(tuple(json.loads(x)) for x in r[3:7])),
        actions=tuple(Action(a) for a in json.loads(r[7])),
        purposes=tuple(json.loads(r[8])),
        not_before=from_us(r[9]),
        not_after=from_us(r[10]),
        reason=r[11],
        created_by=r[12],
        create_time=from_us(r[13]),
        revoke_time=from_us_or_none(r[14]),
        revoke_reason=r[15],
        hub_id=r[16],
        fields=tuple(json.loads(r[17])),
        weekly_hours=tuple(WeeklyHours(tuple(days), start, end) for days, start, end in json.loads(r[18])),
    )
