"""Events: the log holds them in memory whole, here they outlive it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from vidhub.model import Acknowledgement, Event, Severity
from vidhub.store.times import from_us, from_us_or_none, to_us, to_us_or_none

_COLUMNS = (
    "id, number, kind, severity, subject, reason, count, camera_ids, unit_id, region_code, hub_id, principal, "
    "detail_json, begin_time, last_time, end_time, acknowledge_by, acknowledge_time, acknowledge_note"
)
# Who has acknowledged it stays: a row from before may be written after.
_ACKNOWLEDGED = ("acknowledge_by", "acknowledge_time", "acknowledge_note")
_REPLACED = ", ".join(f"{c} = excluded.{c}" for c in _COLUMNS.split(", ")[1:] if c not in _ACKNOWLEDGED)
_KEPT = ", ".join(
    f"{c} = CASE WHEN events.acknowledge_time IS NULL THEN excluded.{c} ELSE events.{c} END" for c in _ACKNOWLEDGED
)
_PUT = (
    f"INSERT INTO events ({_COLUMNS}) VALUES ({', '.join('?' * 19)}) "
    f"ON CONFLICT (id) DO UPDATE SET {_REPLACED}, {_KEPT}"
)
_COUNTER = "events"


def put(conn: Connection, events: Iterable[Event]) -> None:
    """Insert or replace."""
    rows = [_row(event) for event in events]
    if rows:
        conn.exec_driver_sql(_PUT, rows)


def delete(conn: Connection, ids: Sequence[str]) -> None:
    if ids:
        conn.exec_driver_sql("DELETE FROM events WHERE id = ?", [(one,) for one in ids])


def load(conn: Connection) -> list[Event]:
    """All, those that changed last at the end."""
    return [_event(r) for r in conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM events ORDER BY number, id")]


def reserved(conn: Connection) -> int:
    """Up to which number events may have been told of."""
    row = conn.exec_driver_sql("SELECT value FROM counters WHERE name = ?", (_COUNTER,)).first()
    return 0 if row is None else int(row[0])


def reserve(conn: Connection, number: int) -> None:
    conn.exec_driver_sql(
        "INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_COUNTER, number),
    )


def _row(event: Event) -> tuple[Any, ...]:
    known = event.acknowledgement
    return (
        event.id,
        event.number,
        event.kind,
        int(event.severity),
        event.subject,
        event.reason,
        event.count,
        json.dumps(event.camera_ids),
        event.unit_id,
        event.region_code,
        event.hub_id,
        event.principal,
        event.detail_json,
        to_us(event.begin_time),
        to_us(event.last_time),
        to_us_or_none(event.end_time),
        "" if known is None else known.by,
        None if known is None else to_us(known.time),
        "" if known is None else known.note,
    )


def _event(r: Any) -> Event:
    return Event(
        id=r[0],
        number=r[1],
        kind=r[2],
        severity=Severity(r[3]),
        subject=r[4],
        reason=r[5],
        count=r[6],
        camera_ids=tuple(json.loads(r[7])),
        unit_id=r[8],
        region_code=r[9],
        hub_id=r[10],
        principal=r[11],
        detail_json=r[12],
        begin_time=from_us(r[13]),
        last_time=from_us(r[14]),
        end_time=from_us_or_none(r[15]),
        acknowledgement=None if r[17] is None else Acknowledgement(r[16], from_us(r[17]), r[18]),
    )
