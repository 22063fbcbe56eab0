"""One process at a time on a data directory: whoever holds the lock owns the store."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from vidhub.errors import FailedPrecondition, Unavailable


class DataLock:
    """Held from construction to `release` or the end of the process, however it ends. The directory becomes 0700."""

    def __init__(self, data_dir: Path) -> None:
        """Raises FailedPrecondition HUB_RUNNING naming the holder, Unavailable DATA_DIR_UNUSABLE."""
        path = data_dir / "lock"
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            data_dir.chmod(0o700)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as cause:
            raise Unavailable(
                "DATA_DIR_UNUSABLE", f"{data_dir}: {cause.strerror}: check --data-dir, its owner and the disk"
            ) from cause
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip()
            os.close(self._handle)
            by = f" by process {holder}" if holder.isdecimal() else ""
            raise FailedPrecondition(
                "HUB_RUNNING", f"{data_dir} is in use{by}: stop that hub first, or choose another --data-dir"
            ) from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Idempotent. The file stays: removing it would let two hold the lock."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> DataLock:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.release()
