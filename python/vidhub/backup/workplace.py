"""A private directory to work in beside the place of the result, so that the result appears whole by one rename."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def workplace(beside: Path, prefix: str) -> Iterator[Path]:
    """A new directory (0700) in `beside`, gone afterwards. What killed ones left there is removed first."""
    _sweep(beside, prefix)
    place, handle = _claim(beside, prefix)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(handle)


def _claim(beside: Path, prefix: str) -> tuple[Path, int]:
    """The directory, and the lock that tells others that it is in use for as long as we live."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=prefix, dir=beside))
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if place.exists():  # else another one swept it before it was locked
                return place, handle
            os.close(handle)


def _sweep(beside: Path, prefix: str) -> None:
    for left in beside.glob(f"{prefix}*"):
        try:
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # somebody else's, or gone
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except BlockingIOError:  # at work
            pass
        finally:
            os.close(handle)
