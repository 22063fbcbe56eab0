"""Cameras and their streams. Camera states that come and go live in the core; here are those that last."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from vidhub.model import Camera, CameraState, CameraStream, LegalRecord, Location, Profile, Revision
from vidhub.store import bulk, meta, tables
from vidhub.store.secrets import Secrets, stream_context
from vidhub.store.times import from_us, from_us_or_none, to_us, to_us_or_none

_COLUMNS = ", ".join(c.name for c in tables.cameras.columns)
_STREAM_COLUMNS = ", ".join(c.name for c in tables.camera_streams.columns)
_FETCH = 1_000
# (id, name, unit, region, industry, place category, latitude, longitude, quarantined, revision, streams, home hub), a
# stream being (profile, url, username, password, transport).
CoreRow = tuple[str, str, str, str, str, int, float, float, bool, int, list[tuple[int, str, str, str, int]], str]
_STATES = {int(s): s for s in CameraState}
_PROFILES = {int(p): p for p in Profile}
# States that are kept; the others are what the core last saw, and begin anew with it.
_LASTING = (CameraState.QUARANTINED, CameraState.RETIRED)


def upsert_many(conn: Connection, cameras: Sequence[Camera], secrets: Secrets, *, revision: int, now: datetime) -> None:
    """Insert or replace whole cameras with their streams, at `revision`; the time of creation of known ones stays.

    A stream's password is taken as given: who replaces a camera and wants to keep it reads it first.
    """
    now_us = to_us(now)
    rows, streams = [], []
    for c in cameras:
        lasting = c.state in _LASTING
        legal, location = c.legal, c.location
        rows.append(
            (
                c.id,
                c.name,
                c.unit_id,
                c.region_code,
                c.industry,
                c.place_category,
                location.latitude,
                location.longitude,
                location.address,
                legal.place_basis,
                legal.purpose,
                legal.scope,
                legal.retention_days,
                legal.signage_text,
                legal.signage_date,
                json.dumps(dict(c.device), ensure_ascii=False) if c.device else "{}",
                int(c.state) if lasting else int(CameraState.UNKNOWN),
                to_us_or_none(c.state_time) if lasting else None,
                c.state_reason if lasting else "",
                revision,
                now_us,
                now_us,
                c.home_hub_id,
                legal.near_secret_unit,
                legal.consent,
            )
        )
        for s in c.streams:
            profile = int(s.profile)
            sealed = secrets.seal(s.password, stream_context(c.id, profile)) if s.password else b""
            streams.append(
                (c.id, profile, s.url, s.username, sealed, s.transport, s.codec, s.width, s.height, s.frame_rate)
            )
    bulk.upsert(conn, tables.cameras, rows, keep=("create_time",))
    if rows:
        conn.exec_driver_sql("DELETE FROM camera_streams WHERE camera_id = ?", [(r[0],) for r in rows])
    bulk.upsert(conn, tables.camera_streams, streams)


_NEW = (
    "INSERT INTO cameras (unit_id, revision, create_time, update_time, state, state_reason, home_hub_id, id, name, "
    "region_code, industry, place_category, latitude, longitude, address, place_basis, purpose, scope, retention_days, "
    "signage_text, signage_date, device) VALUES",
    f"(?1, ?2, ?3, ?3, {int(CameraState.UNKNOWN)}, '', ''{', ?' * 15})",
)
_NEW_STREAMS = (
    "INSERT INTO camera_streams (camera_id, profile, url, username, password, transport, codec, width, height, "
    "frame_rate) VALUES",
    "(?, ?, ?, ?, ?, ?, '', 0, 0, 0.0)",
)


def insert_rows(
    conn: Connection,
    rows: tuple[Sequence[object], Sequence[object]],
    *,
    unit_id: str,
    revision: int,
    now: datetime,
) -> None:
    """New cameras of one unit; rows as `core.record_rows` gives them. None of the ids may be there."""
    values, streams = rows
    bulk.insert(conn, *_NEW, values, (unit_id, revision, to_us(now)))
    bulk.insert(conn, *_NEW_STREAMS, streams)


def known(conn: Connection, ids: Iterable[str]) -> set[str]:
    """Which of these ids are taken, by retired cameras too."""
    rows = conn.exec_driver_sql(
        "SELECT id FROM cameras WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),)
    )
    return {row[0] for row in rows}


def get(conn: Connection, camera_id: str, secrets: Secrets | None = None) -> Camera | None:
    """One camera, retired ones too; passwords only with `secrets`."""
    found = list_full(conn, [camera_id], secrets)
    return found[0] if found else None


def list_full(conn: Connection, ids: Iterable[str], secrets: Secrets | None = None) -> list[Camera]:
    """Cameras in the order of `ids`, unknown ones left out, retired ones in; passwords only with `secrets`."""
    wanted = list(ids)
    if not wanted:
        return []
    epoch = meta.epoch(conn)
    found: dict[str, Camera] = {}
    for start in range(0, len(wanted), 500):
        part = tuple(wanted[start : start + 500])
        marks = ", ".join("?" * len(part))
        streams: dict[str, list[Any]] = {}
        statement = f"SELECT {_STREAM_COLUMNS} FROM camera_streams WHERE camera_id IN ({marks}) ORDER BY profile"
        for row in conn.exec_driver_sql(statement, part):
            streams.setdefault(row[0], []).append(row)
        for row in conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM cameras WHERE id IN ({marks})", part):
            found[row[0]] = _camera(row, streams.get(row[0], ()), secrets, epoch)
    return [found[i] for i in wanted if i in found]


def load_all(conn: Connection, secrets: Secrets | None = None, *, include_retired: bool = False) -> Iterator[Camera]:
    """Every camera in order of id; reads along, so memory stays bounded. Passwords only with `secrets`."""
    epoch = meta.epoch(conn)
    where = "" if include_retired else f"WHERE state <> {int(CameraState.RETIRED)}"
    rows = conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM cameras {where} ORDER BY id")
    streams = _stream_groups(conn)
    group = next(streams, None)
    for part in rows.partitions(_FETCH):
        for row in part:
            camera_id = row[0]
            while group is not None and group[0] < camera_id:
                group = next(streams, None)
            own = group[1] if group is not None and group[0] == camera_id else ()
            yield _camera(row, own, secrets, epoch)


def load_rows(conn: Connection, secrets: Secrets) -> Iterator[CoreRow]:
    """What the core holds of every camera that is not retired, in order of id, as its tuples (`_core.CameraRow`).

    For the start of a hub: three times as fast as `load_all`, and a fraction of its memory.
    """
    rows = conn.exec_driver_sql(
        "SELECT id, name, unit_id, region_code, industry, place_category, latitude, longitude, state, revision, "
        "home_hub_id FROM cameras WHERE state <> ? ORDER BY id",
        (int(CameraState.RETIRED),),
    )
    groups = _stream_groups(conn, "camera_id, profile, url, username, password, transport")
    group = next(groups, None)
    quarantined, unseal = int(CameraState.QUARANTINED), secrets.open_sealed
    for part in rows.partitions(_FETCH):
        for *basic, state, revision, home_hub_id in part:
            camera_id = basic[0]
            while group is not None and group[0] < camera_id:
                group = next(groups, None)
            own = group[1] if group is not None and group[0] == camera_id else ()
            streams = [(p, url, user, unseal(s, stream_context(c, p)), how) for c, p, url, user, s, how in own]
            yield (*basic, state == quarantined, revision, streams, home_hub_id)


def _stream_groups(conn: Connection, columns: str = _STREAM_COLUMNS) -> Iterator[tuple[str, list[Any]]]:
    """(camera id, its stream rows); `columns` begin with camera_id."""
    rows = conn.exec_driver_sql(f"SELECT {columns} FROM camera_streams ORDER BY camera_id, profile")
    current, group = "", list[Any]()
    for part in rows.partitions(_FETCH):
        for row in part:
            if row[0] != current:
                if group:
                    yield current, group
                current, group = row[0], []
            group.append(row)
    if group:
        yield current, group


def set_state(
    conn: Connection, camera_id: str, state: CameraState, reason: str, *, revision: int, now: datetime
) -> bool:
    """Quarantine, retire, or bring back (UNKNOWN); False when there is no such camera."""
    statement = (
        "UPDATE cameras SET state = ?, state_reason = ?, state_time = ?, update_time = ?, revision = ? WHERE id = ?"
    )
    us = to_us(now)
    return conn.exec_driver_sql(statement, (int(state), reason, us, us, revision, camera_id)).rowcount == 1


def set_stream_media(
    conn: Connection, camera_id: str, profile: Profile, *, codec: str, width: int, height: int, frame_rate: float
) -> bool:
    """Keep what the hub saw of a stream; no revision, it is an observation."""
    statement = (
        "UPDATE camera_streams SET codec = ?, width = ?, height = ?, frame_rate = ? WHERE camera_id = ? AND profile = ?"
    )
    values = (codec, width, height, frame_rate, camera_id, int(profile))
    return conn.exec_driver_sql(statement, values).rowcount == 1


def has_unit(conn: Connection, unit_id: str) -> bool:
    """Whether a camera is of this unit, retired ones too."""
    return conn.exec_driver_sql("SELECT 1 FROM cameras WHERE unit_id = ? LIMIT 1", (unit_id,)).first() is not None


def count(conn: Connection) -> int:
    statement = "SELECT count(*) FROM cameras WHERE state <> ?"
    return int(conn.exec_driver_sql(statement, (int(CameraState.RETIRED),)).scalar_one())


def _camera(r: Any, streams: Iterable[Any], secrets: Secrets | None, epoch: str) -> Camera:
    # By position: at a start this runs for every camera there is, and names cost a quarter more.
    return Camera(
        r[0],
        r[1],
        r[2],
        r[3],
        r[4],
        r[5],
        Location(r[6], r[7], r[8]),
        tuple([_stream(s, secrets) for s in streams]),
        LegalRecord(r[9], r[10], r[11], r[12], r[13], r[14], bool(r[23]), r[24]),
        () if r[15] == "{}" else tuple(json.loads(r[15]).items()),
        _STATES[r[16]],
        from_us_or_none(r[17]),
        r[18],
        Revision(epoch, r[19]),
        from_us(r[20]),
        from_us(r[21]),
        r[22],
    )


def _stream(r: Any, secrets: Secrets | None) -> CameraStream:
    camera_id, profile, url, username, sealed, transport, codec, width, height, frame_rate = r
    password = secrets.open_sealed(sealed, stream_context(camera_id, profile)) if sealed and secrets else ""
    return CameraStream(_PROFILES[profile], url, username, password, transport, codec, width, height, frame_rate)
