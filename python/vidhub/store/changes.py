"""The outbox of the catalogue: which camera changed at which revision, bounded to the newest 65,536."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

KEEP = 65_536
_TRIM_EVERY = 4_096


def append(conn: Connection, rows: Iterable[tuple[int, str, str]]) -> None:
    """rows: (revision, "upserted" | "removed", camera id). A camera counts once per revision, the last kind wins."""
    rows = list(rows)
    if not rows:
        return
    conn.exec_driver_sql(
        "INSERT INTO changes (revision, kind, camera_id) VALUES (?, ?, ?) "
        "ON CONFLICT (revision, camera_id) DO UPDATE SET kind = excluded.kind",
        rows,
    )
    _bound(conn, rows[0][0], rows[-1][0])


def upserted(conn: Connection, revision: int, ids: Sequence[str]) -> None:
    """`append` for many cameras of one revision, each of them once."""
    conn.exec_driver_sql(
        "INSERT INTO changes (revision, kind, camera_id) SELECT ?, 'upserted', value FROM json_each(?)",
        (revision, json.dumps(ids)),
    )
    _bound(conn, revision, revision)


def _bound(conn: Connection, first: int, last: int) -> None:
    if first // _TRIM_EVERY != (last + 1) // _TRIM_EVERY:  # a hub that never stops stays bounded too
        trim(conn)


def trim(conn: Connection, keep: int = KEEP) -> int:
    """Forget the oldest, a whole revision at a time, so that what is left has no hole. Returns how many went."""
    row = conn.exec_driver_sql(
        "SELECT revision FROM changes ORDER BY revision DESC, camera_id DESC LIMIT 1 OFFSET ?", (keep,)
    ).first()
    if row is None:
        return 0
    return conn.exec_driver_sql("DELETE FROM changes WHERE revision <= ?", (row[0],)).rowcount


def load(conn: Connection) -> list[tuple[int, str, str]]:
    """(revision, kind, camera id), oldest first."""
    rows = conn.exec_driver_sql("SELECT revision, kind, camera_id FROM changes ORDER BY revision, camera_id")
    return [(int(r[0]), str(r[1]), str(r[2])) for r in rows]
