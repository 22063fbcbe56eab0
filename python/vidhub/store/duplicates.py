"""Cameras of this hub that share what one camera has alone. Each look goes through the whole table: no index for it
slows registrations down."""

from __future__ import annotations

from sqlalchemy import Connection

from vidhub.model import CameraState

# Groups that one look finds, and cameras of one group.
MOST_GROUPS = 5_000
MOST_IN_GROUP = 16

_OURS = f"state <> {int(CameraState.RETIRED)} AND home_hub_id = ''"
# Kind -> (what two cameras have in common, who has it).
_LOOKS = {
    "url": (
        "url, camera_id",
        f"camera_streams JOIN cameras ON cameras.id = camera_id WHERE url <> '' AND {_OURS}",
        "url",
    ),
    "mac": (
        "upper(replace(json_extract(device, '$.mac'), '-', ':')) AS mac, id AS camera_id",
        f"cameras WHERE json_extract(device, '$.mac') IS NOT NULL AND {_OURS}",
        "mac",
    ),
    "place": (
        "name, latitude, longitude, id AS camera_id",
        f"cameras WHERE {_OURS}",
        "name, latitude, longitude",
    ),
}
KINDS = tuple(_LOOKS)


def find(conn: Connection, kind: str) -> list[list[str]]:
    """Groups of camera ids: of one stream address, one MAC, or one name at one place."""
    columns, source, key = _LOOKS[kind]
    rows = conn.exec_driver_sql(
        f"SELECT group_concat(DISTINCT camera_id) FROM (SELECT {columns} FROM {source}) "
        f"GROUP BY {key} HAVING count(DISTINCT camera_id) > 1 LIMIT ?",
        (MOST_GROUPS,),
    )
    return [sorted(row[0].split(","))[:MOST_IN_GROUP] for row in rows]
