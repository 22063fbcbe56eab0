"""Cameras of other hubs: the link that each came by, the digest of what was told of it, and what was not taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from vidhub.store import bulk, tables
from vidhub.store.times import to_us

# Of each hub; past it the oldest go.
MOST_CONFLICTS = 10_000
# The same camera by a second hub is no conflict, as where a district has two uppers and both have one above them.
OTHER_WAY = "CAMERA_BY_OTHER_WAY"
CLAIMS = ("CAMERA_ID_TAKEN", OTHER_WAY)
_FETCH = 10_000
_STEP = 500


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has an id. hub_id: the link that the camera came by, "" for our own. digest: what was told of it.
    home_hub_id: the hub that registered it, "" for ours."""

    hub_id: str
    digest: bytes
    home_hub_id: str = ""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A camera that `hub_id` offers and that is not taken. holder_hub_id: whose the id is, for CAMERA_ID_TAKEN, or by
    whom the very camera came already, for CAMERA_BY_OTHER_WAY."""

    hub_id: str
    camera_id: str
    reason: str
    holder_hub_id: str = ""

    @property
    def is_claim(self) -> bool:
        """Whether it would be taken were the id not held by what came by another hub, or here."""
        return self.reason in CLAIMS


# What is held.


def put(conn: Connection, hub_id: str, rows: Sequence[tuple[str, bytes, str]]) -> None:
    """rows: (camera id, digest, name of its unit) of cameras whose rows in `cameras` are there."""
    bulk.upsert(conn, tables.remote_cameras, [(camera_id, hub_id, digest, name) for camera_id, digest, name in rows])


def remove(conn: Connection, ids: Sequence[str]) -> None:
    """With their rows in `cameras`: an id of another hub's is not ours to keep."""
    if ids:
        conn.exec_driver_sql("DELETE FROM cameras WHERE id = ?", [(camera_id,) for camera_id in ids])


def holders(conn: Connection, ids: Sequence[str]) -> dict[str, Holder]:
    """Of those ids that are taken, by whom; retired cameras of ours keep theirs."""
    found: dict[str, Holder] = {}
    for marks, part in _parts(ids):
        rows = conn.exec_driver_sql(
            "SELECT c.id, coalesce(r.hub_id, ''), coalesce(r.digest, x''), c.home_hub_id FROM cameras c "
            f"LEFT JOIN remote_cameras r ON r.camera_id = c.id WHERE c.id IN ({marks})",
            part,
        )
        found.update((row[0], Holder(row[1], row[2], row[3])) for row in rows)
    return found


def digests(conn: Connection, hub_id: str) -> list[tuple[str, bytes]]:
    """(camera id, digest) of all that came by the link, in order of id."""
    rows = conn.exec_driver_sql(
        "SELECT camera_id, digest FROM remote_cameras WHERE hub_id = ? ORDER BY camera_id", (hub_id,)
    )
    return [(row[0], row[1]) for row in rows]


def between(conn: Connection, hub_id: str, after: str, last: str) -> list[str]:
    """Ids that came by the link, after `after` up to and including `last`; an empty `last` is open."""
    rows = conn.exec_driver_sql(
        "SELECT camera_id FROM remote_cameras WHERE hub_id = ? AND camera_id > ? AND (camera_id <= ? OR ? = '') "
        "ORDER BY camera_id",
        (hub_id, after, last, last),
    )
    return [str(row[0]) for row in rows]


def first(conn: Connection, hub_id: str, limit: int) -> list[str]:
    """Some that came by the link."""
    rows = conn.exec_driver_sql("SELECT camera_id FROM remote_cameras WHERE hub_id = ? LIMIT ?", (hub_id, limit))
    return [str(row[0]) for row in rows]


def load(conn: Connection) -> Iterator[tuple[str, str, str, str]]:
    """(camera id, the hub whose link it came by, id and name of its unit) of all."""
    rows = conn.exec_driver_sql(
        "SELECT r.camera_id, r.hub_id, c.unit_id, r.unit_name "
        "FROM remote_cameras r JOIN cameras c ON c.id = r.camera_id"
    )
    for part in rows.partitions(_FETCH):
        yield from ((row[0], row[1], row[2], row[3]) for row in part)


# What is not taken.


def put_conflicts(conn: Connection, found: Sequence[Conflict], now: datetime) -> None:
    """Of one hub."""
    if not found:
        return
    us = to_us(now)
    conn.exec_driver_sql(
        "INSERT INTO camera_conflicts (hub_id, camera_id, reason, holder_hub_id, time) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (hub_id, camera_id) DO UPDATE SET reason = excluded.reason, "
        "holder_hub_id = excluded.holder_hub_id",
        [(one.hub_id, one.camera_id, one.reason, one.holder_hub_id, us) for one in found],
    )
    hub_id = found[0].hub_id
    over = conflict_count(conn, hub_id) - MOST_CONFLICTS
    if over > 0:
        conn.exec_driver_sql(
            "DELETE FROM camera_conflicts WHERE hub_id = ? AND camera_id IN "
            "(SELECT camera_id FROM camera_conflicts WHERE hub_id = ? ORDER BY time, camera_id LIMIT ?)",
            (hub_id, hub_id, over),
        )


def clear_conflicts(conn: Connection, hub_id: str, ids: Sequence[str] | None = None) -> None:
    """Those of these cameras, or all of the hub's."""
    if ids is None:
        conn.exec_driver_sql("DELETE FROM camera_conflicts WHERE hub_id = ?", (hub_id,))
    elif ids:
        statement = "DELETE FROM camera_conflicts WHERE hub_id = ? AND camera_id = ?"
        conn.exec_driver_sql(statement, [(hub_id, camera_id) for camera_id in ids])


def conflict_count(conn: Connection, hub_id: str) -> int:
    statement = "SELECT count(*) FROM camera_conflicts WHERE hub_id = ?"
    return int(conn.exec_driver_sql(statement, (hub_id,)).scalar_one())


def dispute_count(conn: Connection, hub_id: str) -> int:
    """Of those what came by another way is none."""
    statement = "SELECT count(*) FROM camera_conflicts WHERE hub_id = ? AND reason <> ?"
    return int(conn.exec_driver_sql(statement, (hub_id, OTHER_WAY)).scalar_one())


def conflicts(conn: Connection, hub_id: str, limit: int) -> list[Conflict]:
    """The newest first."""
    rows = conn.exec_driver_sql(
        "SELECT hub_id, camera_id, reason, holder_hub_id FROM camera_conflicts WHERE hub_id = ? "
        "ORDER BY time DESC, camera_id LIMIT ?",
        (hub_id, limit),
    )
    return [Conflict(*row) for row in rows]


def conflicts_after(conn: Connection, hub_ids: Sequence[str], after: tuple[str, str], limit: int) -> list[Conflict]:
    """Of these hubs, from the place (camera id, hub id) on, that one included; in this order."""
    marks = ", ".join("?" * len(hub_ids))
    rows = conn.exec_driver_sql(
        "SELECT hub_id, camera_id, reason, holder_hub_id FROM camera_conflicts "
        f"WHERE hub_id IN ({marks}) AND (camera_id, hub_id) >= (?, ?) ORDER BY camera_id, hub_id LIMIT ?",
        (*hub_ids, *after, limit),
    )
    return [Conflict(*row) for row in rows]


def conflicts_between(conn: Connection, hub_id: str, after: str, last: str) -> set[str]:
    rows = conn.exec_driver_sql(
        "SELECT camera_id FROM camera_conflicts WHERE hub_id = ? AND camera_id > ? AND (camera_id <= ? OR ? = '')",
        (hub_id, after, last, last),
    )
    return {str(row[0]) for row in rows}


def conflicts_over(conn: Connection, ids: Sequence[str]) -> list[Conflict]:
    """Whoever offers one of these ids, and was refused."""
    found: list[Conflict] = []
    for marks, part in _parts(ids):
        rows = conn.exec_driver_sql(
            f"SELECT hub_id, camera_id, reason, holder_hub_id FROM camera_conflicts WHERE camera_id IN ({marks})", part
        )
        found.extend(Conflict(*row) for row in rows)
    return found


# What a supervisor has settled.


def assign(conn: Connection, camera_id: str, hub_id: str, now: datetime) -> None:
    """The id is this hub's from now on; an earlier word is void."""
    conn.exec_driver_sql(
        "INSERT INTO camera_assignments (camera_id, hub_id, time) VALUES (?, ?, ?) "
        "ON CONFLICT (camera_id) DO UPDATE SET hub_id = excluded.hub_id, time = excluded.time",
        (camera_id, hub_id, to_us(now)),
    )


def assignments(conn: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Of these ids those that were given to a hub, and to which."""
    found: dict[str, str] = {}
    for marks, part in _parts(ids):
        rows = conn.exec_driver_sql(
            f"SELECT camera_id, hub_id FROM camera_assignments WHERE camera_id IN ({marks})", part
        )
        found.update((row[0], row[1]) for row in rows)
    return found


def clear_assignments(conn: Connection, hub_id: str) -> None:
    conn.exec_driver_sql("DELETE FROM camera_assignments WHERE hub_id = ?", (hub_id,))


def _parts(ids: Sequence[str]) -> Iterable[tuple[str, tuple[str, ...]]]:
    for start in range(0, len(ids), _STEP):
        part = tuple(ids[start : start + _STEP])
        yield ", ".join("?" * len(part)), part
