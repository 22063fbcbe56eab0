"""Files that only their owner may read: keys, initial passwords, claims. Written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from vidhub.errors import FailedPrecondition, Unavailable


def write_private(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` atomically and durably."""
    try:
        _prepare(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            _fill(handle, data, mode)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as cause:
        raise _unavailable(path, cause) from cause


def create_private(path: Path, data: bytes, *, mode: int = 0o600) -> bool:
    """Write `path` unless it exists; False when somebody was there before."""
    try:
        _prepare(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            _fill(handle, data, mode)
            try:
                os.link(temporary, path)  # unlike a rename, refuses when it exists
            except FileExistsError:
                return False
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as cause:
        raise _unavailable(path, cause) from cause
    return True


def read_private(path: Path) -> bytes:
    """Raises FailedPrecondition KEY_FILE_EXPOSED when others may read it: a key that leaked is no key."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise FailedPrecondition(
                    "KEY_FILE_EXPOSED",
                    f"{path} may be read by others (mode {mode:04o}): chmod 600 it, and change the key if it leaked",
                )
            return file.read()
    except OSError as cause:
        raise _unavailable(path, cause) from cause


def _prepare(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def _fill(handle: int, data: bytes, mode: int) -> None:
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """What was made, linked or renamed in it outlives a power cut."""
    with contextlib.suppress(OSError):  # some file systems refuse; the file itself is synced
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unavailable(path: Path, cause: OSError) -> Unavailable:
    return Unavailable(
        "FILE_UNAVAILABLE",
        f"{path}: {cause.strerror or 'cannot be used'}: check that it exists, its owner and the disk",
    )
