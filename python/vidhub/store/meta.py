"""What the store knows of itself: epoch, revision, who the hub is, whether it was stopped cleanly."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection

from vidhub.model import Revision

_REVISION = "revision"


def get(conn: Connection, key: str, default: str = "") -> str:
    row = conn.exec_driver_sql("SELECT value FROM meta WHERE key = ?", (key,)).first()
    return default if row is None else str(row[0])


def put(conn: Connection, key: str, value: str) -> None:
    conn.exec_driver_sql(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def numbers(conn: Connection, prefix: str) -> dict[str, int]:
    """Values of the keys that begin with `prefix`, by what follows it."""
    rows = conn.exec_driver_sql(
        "SELECT substr(key, ?), value FROM meta WHERE substr(key, 1, ?) = ?", (len(prefix) + 1, len(prefix), prefix)
    )
    return {str(row[0]): int(row[1]) for row in rows}


def epoch(conn: Connection) -> str:
    return get(conn, "epoch")


def new_epoch(conn: Connection) -> str:
    """Say that revisions told before mean nothing any more: the store is new, or was put back from a copy."""
    value = uuid.uuid4().hex
    put(conn, "epoch", value)
    conn.exec_driver_sql("DELETE FROM changes")
    return value


def revision(conn: Connection) -> Revision:
    """The newest revision of the catalogue."""
    row = conn.exec_driver_sql("SELECT value FROM counters WHERE name = ?", (_REVISION,)).first()
    return Revision(epoch=epoch(conn), number=0 if row is None else int(row[0]))


def next_revision(conn: Connection, n: int = 1) -> int:
    """Take `n` consecutive revision numbers and return the first; they count only if the transaction commits."""
    return next_number(conn, _REVISION, n)


def next_number(conn: Connection, name: str, n: int = 1) -> int:
    """Take `n` consecutive numbers of a counter of any name, from 1 on, and return the first."""
    if n < 1:
        raise ValueError("n must be positive")
    row = conn.exec_driver_sql(
        "INSERT INTO counters (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value RETURNING value",
        (name, n),
    ).one()
    return int(row[0]) - n + 1


def was_clean_shutdown(conn: Connection) -> bool:
    return get(conn, "clean_shutdown", "1") == "1"


def set_clean_shutdown(conn: Connection, clean: bool) -> None:
    """False while a hub runs, True as its last write: what is false at start-up tells of a crash."""
    put(conn, "clean_shutdown", "1" if clean else "0")
