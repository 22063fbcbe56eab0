"""Whether the store can be read, is whole and of this release. It only reads, by a connection of its own."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from vidhub.errors import VidhubError
from vidhub.link.probe import Hop
from vidhub.store.engine import known_schemas, translated

# SQLite folds its log into the file at 4 MB; a log of this size is held open by a reader that never ends.
LARGE_LOG_BYTES = 256 * 1024 * 1024
# Of the check of every page; a larger database is checked in part.
PATIENCE_S = 30.0
_STEPS = 10_000


def checks(database: Path) -> list[Hop]:
    """Everything up to what makes the rest senseless."""
    if not database.exists():
        return [Hop("store.file", "DATA_DIR_EMPTY", f"there is no {database}", "check --data-dir")]
    address = f"file:{quote(str(database.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=5)) as conn:
            conn.execute("PRAGMA query_only=ON")
            found = [_opens(conn, database), _schema(conn), _whole(conn)]
    except sqlite3.Error as cause:
        told = translated(cause)
        reason = told.reason if isinstance(told, VidhubError) else "STORE_CORRUPT"
        message = told.message if isinstance(told, VidhubError) else str(cause)
        return [Hop("store.file", reason, f"{database}: {message}", "restore a copy: `vidhub restore`")]
    return [*found, _log(database)]


def _opens(conn: sqlite3.Connection, database: Path) -> Hop:
    mode = str(conn.execute("PRAGMA journal_mode").fetchone()[0])
    if mode != "wal":
        told = f"{database} has journal mode {mode}"
        return Hop("store.file", "STORE_UNAVAILABLE", told, "put it on a local disk, and start the hub")
    return Hop("store.file", "", f"{database}, {database.stat().st_size / 2**20:.1f} MiB")


def _schema(conn: sqlite3.Connection) -> Hop:
    row = conn.execute("SELECT version_num FROM alembic_version").fetchone()
    (known, *older), found = known_schemas(), "" if row is None else str(row[0])
    if found == known:
        return Hop("store.schema", "", f"{found}, that of this release")
    if found in older:
        return Hop("store.schema", "", f"{found}: this release brings it to {known} when it starts")
    return Hop(
        "store.schema",
        "STORE_NEWER",
        f"the database has schema {found or 'none'}, this release knows {known}",
        "start the newer release, or restore a copy that was made before",
    )


def _whole(conn: sqlite3.Connection) -> Hop:
    until = time.monotonic() + PATIENCE_S
    conn.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    try:
        wrong = [str(row[0]) for row in conn.execute("PRAGMA quick_check(5)")]
    except sqlite3.OperationalError as cause:
        if getattr(cause, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
            raise
        return Hop("store.integrity", "", f"not all was looked at within {PATIENCE_S:.0f} s; what was is whole")
    finally:
        conn.set_progress_handler(None, 0)
    if wrong != ["ok"]:
        return Hop(
            "store.integrity",
            "STORE_CORRUPT",
            f"the database is damaged: {wrong[0][:200]}",
            "stop the hub, keep the file, and restore a copy: `vidhub restore`",
        )
    return Hop("store.integrity", "", "every page is whole")


def _log(database: Path) -> Hop:
    log = database.with_name(f"{database.name}-wal")
    try:
        size = log.stat().st_size
    except OSError:
        size = 0
    told = f"{size / 2**20:.1f} MiB wait in the log (WAL)"
    if size > LARGE_LOG_BYTES:
        return Hop(
            "store.log", "STORE_LOG_LARGE", told, "end programs that hold the database open, then restart the hub"
        )
    return Hop("store.log", "", told)
