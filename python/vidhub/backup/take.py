"""Makes a backup: consistent whether the hub runs or not, and there whole or not at all."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from vidhub import __version__
from vidhub.backup import archive
from vidhub.backup.archive import Manifest
from vidhub.backup.workplace import workplace
from vidhub.config import DATABASE
from vidhub.errors import FailedPrecondition, InvalidArgument, Unavailable
from vidhub.store.copy import copy_database
from vidhub.store.keyfiles import read_private, sync_directory, write_private

PREFIX = ".vidhub-backup-"
_KEYS = "keys"
# Outside `keys/`: what only its owner may read, and what all may.
_PRIVATE = ("initial-password",)
_PUBLIC = ("ca.pem", "audit-checkpoint.json")
_ATTEMPTS = 3

# What is being done, octets or pages done, and in all.
Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A backup that is whole. size: octets. sha256: of the file."""

    manifest: Manifest
    size: int
    sha256: str


def take(
    data_dir: Path,
    database: Path,
    target: Path,
    *,
    with_keys: bool,
    record: Callable[[Taken], None],
    told: Told,
) -> Taken:
    """Write `target` (0600). record: puts it on record; where that fails there is no backup.

    Raises InvalidArgument FILE_EXISTS or FILE_NOT_WRITTEN, FailedPrecondition DATA_DIR_EMPTY, KEY_FILE_EXPOSED,
    KEYS_MISSING or KEYS_UNKNOWN, Unavailable STORE_UNAVAILABLE, STORE_CORRUPT or KEYS_CHANGING.
    """
    if not database.exists():
        raise FailedPrecondition("DATA_DIR_EMPTY", f"there is no hub in {data_dir}: check --data-dir")
    if os.path.lexists(target):
        raise _exists(target)
    try:
        with workplace(target.parent, PREFIX) as place:
            return _take(data_dir, database, target, place, with_keys, record, told)
    except OSError as cause:
        raise InvalidArgument(
            "FILE_NOT_WRITTEN", f"{target}: {cause.strerror}: choose another place, or make room"
        ) from cause


def _take(
    data_dir: Path,
    database: Path,
    target: Path,
    place: Path,
    with_keys: bool,
    record: Callable[[Taken], None],
    told: Told,
) -> Taken:
    files = place / "files"
    files.mkdir(mode=0o700)
    # The signed end of the register goes first: the database is then of a later moment, and holds that checkpoint.
    contents = {name: data for name in _PUBLIC if (data := _read(data_dir / name)) is not None}
    contents |= _copied(data_dir, database, files, with_keys, told)
    for name, data in contents.items():
        write_private(files / name, data)
    names = (DATABASE, *sorted(contents))
    manifest = replace(
        _described(files / DATABASE, with_keys),
        files=tuple(archive.member_of(name, files / name) for name in names),
    )
    packed = place / "backup"
    digest = archive.write(packed, manifest, files, lambda done, total: told("file", done, total))
    taken = Taken(manifest, packed.stat().st_size, digest)
    record(taken)
    try:
        os.link(packed, target)  # unlike a rename, refuses when it exists
    except FileExistsError:
        raise _exists(target) from None
    sync_directory(target.parent)
    return taken


def _copied(data_dir: Path, database: Path, files: Path, with_keys: bool, told: Told) -> dict[str, bytes]:
    """The database, and the private files that go with it: keys that change meanwhile would not open its secrets."""
    for _ in range(_ATTEMPTS):
        before = _private(data_dir) if with_keys else {}
        (files / DATABASE).unlink(missing_ok=True)
        copy_database(database, files / DATABASE, lambda done, total: told("database", done, total))
        if not with_keys or _private(data_dir) == before:
            return before
    raise Unavailable("KEYS_CHANGING", "the hub's keys are being changed: try again when that is done")


def _private(data_dir: Path) -> dict[str, bytes]:
    """Raises FailedPrecondition KEYS_MISSING, or KEYS_UNKNOWN for what would be left out without a word."""
    keys = data_dir / _KEYS
    links = keys / "links"
    # Names with a dot in front are of what is under way.
    found = [
        path
        for folder in (keys, links)
        for path in sorted(folder.glob("*"))
        if path != links and not path.name.startswith(".")
    ]
    if not found:
        raise FailedPrecondition("KEYS_MISSING", f"there are no keys in {keys}: start the hub once, or --without-keys")
    strange = [path for path in found if not path.is_file()]
    if strange or len(found) > archive.MOST_FILES // 2:
        raise FailedPrecondition("KEYS_UNKNOWN", f"{(strange or found)[0]} is none of the hub's keys: move it away")
    private = {str(path.relative_to(data_dir)): read_private(path) for path in found}
    return private | {name: read_private(data_dir / name) for name in _PRIVATE if (data_dir / name).exists()}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _described(database: Path, with_keys: bool) -> Manifest:
    """Raises FailedPrecondition DATA_DIR_EMPTY when no hub ever ran on it."""
    with closing(sqlite3.connect(database)) as opened:
        try:
            told = dict(opened.execute("SELECT key, value FROM meta").fetchall())
            (schema,) = opened.execute("SELECT version_num FROM alembic_version").fetchone()
            revision = opened.execute("SELECT value FROM counters WHERE name = 'revision'").fetchone()
            hub = json.loads(told["hub"])
        except (sqlite3.Error, KeyError, TypeError, ValueError) as cause:
            raise FailedPrecondition("DATA_DIR_EMPTY", "no hub has run on this database: check --data-dir") from cause
    return Manifest(
        vidhub=__version__,
        time=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        hub_id=hub["id"],
        hub_name=hub["name"],
        epoch=told["epoch"],
        revision=0 if revision is None else int(revision[0]),
        schema=schema,
        keys=with_keys,
        files=(),
    )


def _exists(target: Path) -> InvalidArgument:
    return InvalidArgument("FILE_EXISTS", f"{target} is there already: choose another name, or move it away")
