"""Notices that the database was put back from a copy: its revisions would repeat, so it must start a new epoch.

Each opening writes a fresh word into the database and into a small file beside it. A copy put back later holds a word
of some earlier opening. The file goes first and names both words until the database has the new one, so a kill in
between is not taken for a copy.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import structlog
from sqlalchemy import Connection

from vidhub.errors import FailedPrecondition
from vidhub.store import meta
from vidhub.store.keyfiles import read_private, write_private

log = structlog.get_logger(__name__)


def settle(conn: Connection, database: Path) -> str:
    """Give a new store, or one that was put back, an epoch of its own. Inside the first transaction of an opening;
    the word it returns goes to `settled` once that is durable."""
    path = _path(database)
    before = meta.get(conn, "opened")
    epoch = meta.epoch(conn)
    if not epoch:
        meta.new_epoch(conn)
    elif before not in _words(path):
        log.warning("the database was put back from a copy: a new epoch begins", path=str(database), old_epoch=epoch)
        meta.new_epoch(conn)
    word = uuid.uuid4().hex
    write_private(path, json.dumps([word, before]).encode())
    meta.put(conn, "opened", word)
    return word


def settled(database: Path, word: str) -> None:
    """From here on a copy of before is a copy."""
    write_private(_path(database), json.dumps([word]).encode())


def _path(database: Path) -> Path:
    return database.with_name(f"{database.name}.opened")


def _words(path: Path) -> tuple[str, ...]:
    if not path.exists():
        return ()
    try:
        return tuple(str(word) for word in json.loads(read_private(path)))
    except (ValueError, TypeError, FailedPrecondition):
        return ()
