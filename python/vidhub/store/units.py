"""Connecting units (接入单位)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Row

from vidhub.model import CameraState, Unit
from vidhub.store.times import from_us, to_us

_COLUMNS = "id, name, region_code, industry, state, create_time"


def put(conn: Connection, unit: Unit) -> None:
    """Insert, or replace all but the time of creation."""
    conn.exec_driver_sql(
        f"INSERT INTO units ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
        "name = excluded.name, region_code = excluded.region_code, industry = excluded.industry, "
        "state = excluded.state",
        (unit.id, unit.name, unit.region_code, unit.industry, unit.state, to_us(unit.create_time)),
    )


def set_state(conn: Connection, unit_id: str, state: str) -> bool:
    return conn.exec_driver_sql("UPDATE units SET state = ? WHERE id = ?", (state, unit_id)).rowcount > 0


def count(conn: Connection) -> int:
    return int(conn.exec_driver_sql("SELECT count(*) FROM units").scalar_one())


def cameras_of(conn: Connection, unit_ids: Sequence[str]) -> dict[str, int]:
    """How many cameras each unit of this hub has; retired ones do not count."""
    marks = ", ".join("?" * len(unit_ids))
    rows = conn.exec_driver_sql(
        f"SELECT unit_id, count(*) FROM cameras WHERE unit_id IN ({marks}) AND home_hub_id = '' AND state <> ? "
        "GROUP BY unit_id",
        (*unit_ids, int(CameraState.RETIRED)),
    )
    return {str(row[0]): int(row[1]) for row in rows}


def get(conn: Connection, unit_id: str) -> Unit | None:
    row = conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM units WHERE id = ?", (unit_id,)).first()
    return None if row is None else _unit(row)


def by_name(conn: Connection, name: str) -> Unit | None:
    row = conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM units WHERE name = ?", (name,)).first()
    return None if row is None else _unit(row)


def load(conn: Connection) -> list[Unit]:
    return [_unit(r) for r in conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM units ORDER BY name, id")]


def _unit(row: Row[tuple[object, ...]]) -> Unit:
    r = tuple(row)
    return Unit(str(r[0]), str(r[1]), str(r[2]), str(r[3]), str(r[4]), from_us(r[5]))  # type: ignore[arg-type]
