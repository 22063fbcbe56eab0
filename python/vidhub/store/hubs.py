"""Hubs linked to this one, invited ones among them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from vidhub.model import HubLevel, HubSide, LinkedHub, Revision
from vidhub.store.times import from_us, from_us_or_none, to_us, to_us_or_none

_COLUMNS = (
    "id, name, level, region_code, side, joined, accepted_here, accepted_there, link_address, media_address, ca_pem, "
    "signing_key_pem, epoch, revision, joined_key, end_reason, create_time, accept_time"
)
_MARKS = ", ".join("?" * 18)
# Replacing a row leaves alone what only `set_have` writes, and the time of creation.
_KEPT = ("id", "epoch", "revision", "create_time")
_REPLACED = ", ".join(f"{c} = excluded.{c}" for c in _COLUMNS.split(", ") if c not in _KEPT)


def put(conn: Connection, hub: LinkedHub) -> None:
    """Insert, or replace all but `have` and the time of creation. `create_time` must be set."""
    if hub.create_time is None:
        raise ValueError("a hub is stored with its time of creation")
    have = hub.have or Revision("", 0)
    conn.exec_driver_sql(
        f"INSERT INTO hubs ({_COLUMNS}) VALUES ({_MARKS}) ON CONFLICT (id) DO UPDATE SET {_REPLACED}",
        (
            hub.id,
            hub.name,
            hub.level.value,
            hub.region_code,
            hub.side.value,
            hub.joined,
            hub.accepted_here,
            hub.accepted_there,
            hub.link_address,
            hub.media_address,
            hub.ca_pem,
            hub.signing_key_pem,
            have.epoch,
            have.number,
            hub.joined_key,
            hub.end_reason,
            to_us(hub.create_time),
            to_us_or_none(hub.accept_time),
        ),
    )


def set_have(conn: Connection, hub_id: str, have: Revision | None) -> bool:
    """Up to where its catalogue is known here; False when the hub is gone."""
    values = ("", 0, hub_id) if have is None else (have.epoch, have.number, hub_id)
    return conn.exec_driver_sql("UPDATE hubs SET epoch = ?, revision = ? WHERE id = ?", values).rowcount > 0


def get(conn: Connection, hub_id: str) -> LinkedHub | None:
    row = conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM hubs WHERE id = ?", (hub_id,)).first()
    return None if row is None else _hub(row)


def delete(conn: Connection, hub_id: str) -> bool:
    return conn.exec_driver_sql("DELETE FROM hubs WHERE id = ?", (hub_id,)).rowcount > 0


def load(conn: Connection) -> list[LinkedHub]:
    return [_hub(r) for r in conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM hubs ORDER BY side DESC, name, id")]


def _hub(r: Any) -> LinkedHub:
    return LinkedHub(
        id=r[0],
        name=r[1],
        level=HubLevel(r[2]),
        region_code=r[3],
        side=HubSide(r[4]),
        joined=bool(r[5]),
        accepted_here=bool(r[6]),
        accepted_there=bool(r[7]),
        link_address=r[8],
        media_address=r[9],
        ca_pem=r[10],
        signing_key_pem=r[11],
        have=Revision(r[12], r[13]) if r[12] else None,
        joined_key=r[14],
        end_reason=r[15],
        create_time=from_us(r[16]),
        accept_time=from_us_or_none(r[17]),
    )
