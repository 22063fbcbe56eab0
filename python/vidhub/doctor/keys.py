"""Whether what only the hub may read can be read by others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vidhub.config import DATABASE
from vidhub.link.probe import Hop

_DIRECTORIES = (".", "keys")
_FILES = ("initial-password", DATABASE, f"{DATABASE}-wal", f"{DATABASE}.opened", "admin.sock")
# More are not named; what is wrong with a hundred is wrong with all.
_NAMED = 5
# Files that are looked at.
_MOST = 10_000


def checks(data_dir: Path) -> list[Hop]:
    """One check of modes, one of owners. data_dir: must exist."""
    exposed, foreign, looked = [], [], 0
    for path in _private(data_dir):
        looked += 1
        try:
            found = path.lstat()
        except OSError:
            continue  # a side file of the store that has gone meanwhile
        if stat.S_IMODE(found.st_mode) & 0o077:
            exposed.append(f"{path} ({stat.S_IMODE(found.st_mode):04o})")
        if found.st_uid != os.geteuid():
            foreign.append(str(path))
    return [_modes(exposed, looked), _owner(foreign, data_dir)]


def _private(data_dir: Path) -> Iterator[Path]:
    for name in (*_DIRECTORIES, *_FILES):
        if (path := data_dir / name).exists():
            yield path
    for number, path in enumerate(sorted((data_dir / "keys").rglob("*"))):
        if number >= _MOST:
            return
        yield path


def _modes(exposed: list[str], looked: int) -> Hop:
    if exposed:
        return Hop(
            "keys.modes",
            "KEY_FILE_EXPOSED",
            f"others may read {_some(exposed)}",
            "chmod go-rwx them; and if somebody else uses this machine, change those keys",
        )
    return Hop("keys.modes", "", f"{looked} files and folders are for their owner alone")


def _owner(foreign: list[str], data_dir: Path) -> Hop:
    if foreign:
        return Hop(
            "keys.owner",
            "KEY_FILE_OWNER",
            f"not of the user that runs this: {_some(foreign)}",
            f"run this as the hub's user, or chown -R that user {data_dir}",
        )
    return Hop("keys.owner", "", f"all are of user {os.geteuid()}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
