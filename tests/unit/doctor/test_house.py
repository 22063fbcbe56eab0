"""What the doctor says of disk, keys, store and clock: of good ones, and of each that was really broken."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vidhub.audit import AuditLog
from vidhub.config import Config
from vidhub.doctor import clock, database, disk, examine_files, keys
from vidhub.identity import HubKeys
from vidhub.link.probe import Hop
from vidhub.model import AuditRecord, Principal, PrincipalKind
from vidhub.store import Store

# In a mount namespace of its own: a file system of 64 KiB with five files, filled up.
FULL = """
import json, os, pathlib, subprocess, sys
from vidhub.doctor import disk
data = pathlib.Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=5", "full", data], check=True)
for octets in (40_000, 0):
    try:
        for number in range(100):
            (data / f"{octets}-{number}").write_bytes(bytes(octets))
    except OSError:
        pass
print(json.dumps([[check.name, check.reason] for check in disk.checks(data)]))
"""


def by_name(found: list[Hop]) -> dict[str, str]:
    """Reason of each check; those that fail say what to do."""
    assert all(check.message for check in found)
    assert all(check.remedy for check in found if not check.ok)
    return {check.name: check.reason for check in found}


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory with a store."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "keys").mkdir(mode=0o700)
    (folder / "keys" / "ca.key").touch(mode=0o600)
    await (await Store.open(f"sqlite:///{folder / 'vidhub.db'}")).close()
    return folder


async def test_a_good_house_has_nothing_to_tell(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "SLOW_WRITE_S", 60.0)  # whatever else this machine writes
    found = examine_files(Config(data_dir=data))
    assert [check for check in found if not check.ok] == []
    assert {check.name.partition(".")[0] for check in found} == {"disk", "keys", "store", "clock"}


def test_a_house_that_is_not_there(tmp_path: Path) -> None:
    assert by_name(examine_files(Config(data_dir=tmp_path / "none"))) == {"disk.data_dir": "DATA_DIR_EMPTY"}


def test_a_disk_without_room(tmp_path: Path) -> None:
    done = subprocess.run(
        ("unshare", "--mount", "--map-root-user", sys.executable, "-c", FULL, str(tmp_path)),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert dict(json.loads(done.stdout)) == {
        "disk.free": "DISK_NEARLY_FULL",
        "disk.inodes": "DISK_NEARLY_FULL",
        "disk.write": "DATA_DIR_UNUSABLE",
    }


@pytest.mark.parametrize(("slow_ones", "reason"), [(3, "DISK_SLOW"), (2, "")])
def test_a_disk_is_slow_that_takes_its_time_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_ones: int, reason: str
) -> None:
    left = [0.0] * slow_ones

    def sync(_handle: int) -> None:
        monkeypatch.setattr(disk, "SLOW_WRITE_S", left.pop() if left else 60.0)

    monkeypatch.setattr(os, "fsync", sync)
    assert by_name(disk.checks(tmp_path))["disk.write"] == reason
    assert left == []


def test_keys_that_others_may_read(data: Path) -> None:
    assert by_name(keys.checks(data)) == {"keys.modes": "", "keys.owner": ""}
    (data / "keys" / "ca.key").chmod(0o640)
    found = keys.checks(data)
    assert by_name(found)["keys.modes"] == "KEY_FILE_EXPOSED"
    assert "ca.key (0640)" in found[0].message


def test_keys_of_somebody_else(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert by_name(keys.checks(data))["keys.owner"] == "KEY_FILE_OWNER"


async def test_a_store_that_is_damaged(data: Path) -> None:
    path = data / "vidhub.db"
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(os.urandom(40 * 4096))
    assert by_name(database.checks(path)).get("store.integrity", "STORE_CORRUPT") == "STORE_CORRUPT"
    path.write_bytes(b"this is no database at all, " * 1000)
    assert by_name(database.checks(path)) == {"store.file": "STORE_CORRUPT"}
    path.unlink()
    assert by_name(database.checks(path)) == {"store.file": "DATA_DIR_EMPTY"}


async def test_a_store_of_another_release(data: Path) -> None:
    path = data / "vidhub.db"
    for schema, reason in (("0001", ""), ("9999", "STORE_NEWER")):
        with closing(sqlite3.connect(path)) as conn, conn:
            conn.execute("UPDATE alembic_version SET version_num = ?", (schema,))
        found = {check.name: check for check in database.checks(path)}
        assert found["store.schema"].reason == reason
        assert schema in found["store.schema"].message


async def test_a_store_whose_log_can_not_be_folded(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LARGE_LOG_BYTES", 100_000)
    path = data / "vidhub.db"
    with closing(sqlite3.connect(path)) as reader, closing(sqlite3.connect(path)) as writer:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM meta").fetchone()
        with writer:
            writer.execute("CREATE TABLE filler (octets)")
            writer.execute("INSERT INTO filler VALUES (zeroblob(1000000))")
        assert by_name(database.checks(path))["store.log"] == "STORE_LOG_LARGE"


async def test_a_store_without_its_log(data: Path) -> None:
    path = data / "vidhub.db"
    with closing(sqlite3.connect(path)) as conn:
        assert conn.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    assert by_name(database.checks(path))["store.file"] == "STORE_UNAVAILABLE"


async def test_a_register_from_the_future(data: Path) -> None:
    path = data / "vidhub.db"
    assert clock.register(path).message == "the register is empty"
    store = await Store.open(f"sqlite:///{path}")
    audit = await AuditLog.open(store, HubKeys.open(data).hub)
    await audit.record([AuditRecord.of(Principal(PrincipalKind.SYSTEM), "hub.test", "hub/x")])
    await audit.close()
    await store.close()
    assert clock.register(path).ok
    back = clock.register(path, datetime.now(UTC) - timedelta(minutes=10))
    assert (back.reason, "in the future" in back.message) == ("CLOCK_BACK", True)


def test_a_clock_that_was_set() -> None:
    began, monotonic = datetime.now(UTC), time.monotonic()
    assert clock.jump(began, monotonic).ok
    for minutes in (-10, 10):
        assert clock.jump(began + timedelta(minutes=minutes), monotonic).reason == "CLOCK_JUMPED"


def test_what_the_kernel_says_of_its_clock_is_told_and_no_failure() -> None:
    assert clock.synchronised().ok
