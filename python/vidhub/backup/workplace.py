"""A private directory to work in beside the place of the result, so that the result appears whole by one rename."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_LOCK = "lock"


@contextlib.contextmanager
def workplace(beside: Path, prefix: str) -> Iterator[Path]:
    """A new directory (0700) in `beside`, gone afterwards. What killed ones left there is removed first."""
    _sweep(beside, prefix)
    place, handle = _claim(beside, prefix)
    try:
        yield place
    finally:
        os.close(handle)  # first: a network file system keeps what is removed while it is open
        _remove(place)


def _claim(beside: Path, prefix: str) -> tuple[Path, int]:
    """The directory, and the lock that tells others that it is in use for as long as we live."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=prefix, dir=beside))
        with contextlib.suppress(FileNotFoundError):  # another one swept it before it was locked
            handle = os.open(place / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if place.exists():
                return place, handle
            os.close(handle)


def _sweep(beside: Path, prefix: str) -> None:
    for left in beside.glob(f"{prefix}*"):
        try:
            handle = os.open(left / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            with contextlib.suppress(OSError):
                left.rmdir()  # killed before it was locked, or when all was removed: so it is empty
            continue
        except OSError:  # somebody else's
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(left)
        except BlockingIOError:  # at work
            pass
        finally:
            os.close(handle)


def _remove(place: Path) -> None:
    """The lock goes last, so that what is killed here is swept by the next one."""
    with contextlib.suppress(OSError):
        for path in place.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink(missing_ok=True)
    shutil.rmtree(place, ignore_errors=True)
