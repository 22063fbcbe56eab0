"""What can be seen of a hub from outside: its directory and this machine. Works whatever state the hub is in."""

from __future__ import annotations

from vidhub.config import Config
from vidhub.doctor import clock, database, disk, keys
from vidhub.link.probe import Hop
from vidhub.store.engine import database_path


def examine_files(config: Config) -> list[Hop]:
    """Disk, keys, store and clock; blocks for as long as the disk does, and half a minute for a large store."""
    path = database_path(config.database_url)
    data = config.data_dir
    if not data.is_dir():
        return [Hop("disk.data_dir", "DATA_DIR_EMPTY", f"there is no directory {data}", "check --data-dir")]
    return [
        *disk.checks(data),
        *keys.checks(data),
        *database.checks(path),
        clock.synchronised(),
        clock.register(path),
    ]
