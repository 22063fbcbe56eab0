"""Whether the data directory has room, and takes what is written to it in good time."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from vidhub.link.probe import Hop

# As the alerts have it (ops/prometheus): under it somebody should act.
LEAST_FREE_BYTES = 1 << 30
LEAST_FREE_SHARE = 0.05
# Every answer to a write waits for this.
SLOW_WRITE_S = 0.5
_LOOKS = 3
_BLOCK = b"\0" * 4096


def checks(data_dir: Path) -> list[Hop]:
    """data_dir: must exist."""
    room = os.statvfs(data_dir)
    return [_free(data_dir, room), _inodes(data_dir, room), _write(data_dir)]


def _free(data_dir: Path, room: os.statvfs_result) -> Hop:
    free, size = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
    told = f"{_size(free)} of {_size(size)} are free at {data_dir}"
    if free < min(LEAST_FREE_BYTES, LEAST_FREE_SHARE * size):
        return Hop(
            "disk.free", "DISK_NEARLY_FULL", told, "free some space, or move the data directory to a larger disk"
        )
    return Hop("disk.free", "", told)


def _inodes(data_dir: Path, room: os.statvfs_result) -> Hop:
    if not room.f_files:
        return Hop("disk.inodes", "", "this file system does not count them")
    told = f"{room.f_favail:,} of {room.f_files:,} inodes are free at {data_dir}"
    if room.f_favail < LEAST_FREE_SHARE * room.f_files:
        return Hop("disk.inodes", "DISK_NEARLY_FULL", told, "remove files that nobody needs: it has too many")
    return Hop("disk.inodes", "", told)


def _write(data_dir: Path) -> Hop:
    """A block written and synced, as each commit is. One that takes its time may have met a moment's work of somebody
    else: the disk is slow when it is so each time."""
    try:
        for _ in range(_LOOKS):
            took = _sync(data_dir)
            if took <= SLOW_WRITE_S:
                break
    except OSError as cause:
        return Hop(
            "disk.write",
            "DATA_DIR_UNUSABLE",
            f"{data_dir} takes nothing: {cause.strerror}",
            "free some space, and see that the directory is the hub's own and the disk is mounted for writing",
        )
    told = f"a block is durable after {took * 1000:.1f} ms"
    if took > SLOW_WRITE_S:
        return Hop("disk.write", "DISK_SLOW", told, "every change waits for that: use a faster disk, or one of its own")
    return Hop("disk.write", "", told)


def _sync(data_dir: Path) -> float:
    """Seconds until a block is durable."""
    began = time.monotonic()
    with tempfile.TemporaryFile(dir=data_dir) as file:
        file.write(_BLOCK)
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - began


def _size(octets: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if octets < 1024:
            return f"{octets:.0f} {unit}"
        octets /= 1024
    return f"{octets:.1f} TiB"
