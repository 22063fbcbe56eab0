"""A copy of the database as it was at one moment, while others go on writing: SQLite's own online backup."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from vidhub.errors import Unavailable
from vidhub.store.engine import translated

_PAGES = 1_024


def copy_database(source: Path, target: Path, told: Callable[[int, int], None]) -> None:
    """Make `target`, a file of its own (0600) that needs no side file.

    told: pages copied, and in all. Writers are not kept waiting; their log (WAL) grows meanwhile.
    Raises Unavailable STORE_UNAVAILABLE or STORE_CORRUPT.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    address = f"file:{quote(str(source.absolute()))}?mode=rw"
    try:
        with (
            closing(sqlite3.connect(address, uri=True, isolation_level=None)) as theirs,
            closing(sqlite3.connect(target, isolation_level=None)) as ours,
        ):
            # What is written from here on is not seen, so that the copy need never begin again.
            theirs.execute("BEGIN")
            theirs.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            theirs.backup(ours, pages=_PAGES, progress=lambda _status, left, total: told(total - left, total))
            theirs.execute("COMMIT")
            ours.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as cause:
        raise translated(cause) from cause
    check_database(target)


def check_database(path: Path) -> None:
    """Raises Unavailable STORE_CORRUPT unless SQLite finds every page and index of the file in order."""
    try:
        with closing(sqlite3.connect(path)) as opened:
            found = opened.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as cause:
        raise translated(cause) from cause
    if found != ("ok",):
        raise Unavailable("STORE_CORRUPT", f"the database is damaged ({str(found[0])[:200]}): restore an older copy")
