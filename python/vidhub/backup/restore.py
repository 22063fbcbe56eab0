"""Makes a data directory of a backup: everything is proved beside it first, then it appears by one rename.

The hub that comes back is of an earlier moment, and says so: its catalogue begins a new epoch, so that whoever watches
lists again; its register goes on in a new chain that begins with the restore, so that no entry written since is
contradicted; every login is over, since one that was ended meanwhile would be good again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from vidhub.audit import AuditLog
from vidhub.audit.verify import Verdict, verify
from vidhub.backup.archive import LARGEST_FILE, MOST_FILES, Manifest, Reader
from vidhub.backup.workplace import workplace
from vidhub.config import DATABASE
from vidhub.errors import FailedPrecondition, InvalidArgument, Unavailable, VidhubError
from vidhub.identity import CertificateAuthority, HubKeys
from vidhub.lockfile import DataLock
from vidhub.model import AuditRecord
from vidhub.store import Secrets, Store, cameras, meta, sessions, users
from vidhub.store.copy import check_database
from vidhub.store.keyfiles import read_private, sync_directory, write_private
from vidhub.store.times import now

PREFIX = ".vidhub-restore-"
ANCHOR = "audit-checkpoint.json"
ACTION = "hub.restore"
# Without one of these it is not this hub any more.
KEYS = ("hub.key", "access.key", "ca.key", "secrets.json")
# Beside what is unpacked: what SQLite and the migrations need.
_SPARE_BYTES = 64 * 1024 * 1024

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Restored:
    """sessions: those open then, which end as SESSION_LOST at the next start. register: what its proof said."""

    manifest: Manifest
    epoch: str
    cameras: int
    sessions: int
    register: Verdict


def restore(file: Path, data_dir: Path, *, keys: Path | None, accept_broken_register: bool, told: Told) -> Restored:
    """Make `data_dir`, which must not exist or be empty. keys: a copy of the hub's folder `keys`, for a backup without.

    Raises InvalidArgument FILE_NOT_READ, BACKUP_FOREIGN, BACKUP_TRUNCATED or BACKUP_DAMAGED, FailedPrecondition
    BACKUP_NEWER, BACKUP_WITHOUT_KEYS, BACKUP_HAS_KEYS, BACKUP_OTHER_KEYS, REGISTER_BROKEN, HUB_RUNNING,
    DATA_DIR_NOT_EMPTY or DATA_DIR_MOUNTED, Unavailable DATA_DIR_UNUSABLE or DISK_FULL.
    """
    data_dir = data_dir.absolute()
    _check_target(data_dir)
    try:
        opened = file.open("rb")
    except OSError as cause:
        raise InvalidArgument("FILE_NOT_READ", f"{file}: {cause.strerror}: give the path of a backup") from cause
    with opened:
        reader = Reader(file, opened)
        _check_keys(file, reader.manifest, keys)
        try:
            data_dir.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with workplace(data_dir.parent, PREFIX) as place:
                staged = place / "data"
                staged.mkdir(mode=0o700)
                _unpack(reader, staged, keys, told)
                opened.seek(0)
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
                restored = asyncio.run(_settle(file, reader.manifest, staged, digest, accept_broken_register, told))
                _publish(staged, data_dir)
                return restored
        except OSError as cause:
            raise Unavailable(
                "DATA_DIR_UNUSABLE",
                f"{cause.filename or data_dir}: {cause.strerror}: check --data-dir, the owner of the directory that it "
                "is made in, and the disk",
            ) from cause


def _check_target(data_dir: Path) -> None:
    try:
        names = {path.name for path in data_dir.iterdir()}
    except FileNotFoundError:
        return
    except OSError as cause:
        raise Unavailable("DATA_DIR_UNUSABLE", f"{data_dir}: {cause.strerror}: check --data-dir") from cause
    if {"lock", DATABASE} <= names:
        DataLock(data_dir).release()  # raises HUB_RUNNING where one does
    if names:
        raise FailedPrecondition(
            "DATA_DIR_NOT_EMPTY", f"{data_dir} is not empty: choose another --data-dir, or move away what is there"
        )
    if data_dir.is_mount():
        raise FailedPrecondition(
            "DATA_DIR_MOUNTED", f"{data_dir} is a mount, which can't appear at once: choose a directory in it"
        )


def _check_keys(file: Path, manifest: Manifest, keys: Path | None) -> None:
    if not manifest.keys and keys is None:
        raise FailedPrecondition(
            "BACKUP_WITHOUT_KEYS", f"{file} holds no keys: give a copy of the hub's folder keys with --keys DIR"
        )
    if manifest.keys and keys is not None:
        raise FailedPrecondition("BACKUP_HAS_KEYS", f"{file} holds the keys itself: leave out --keys")


def _unpack(reader: Reader, staged: Path, keys: Path | None, told: Told) -> None:
    need, free = reader.manifest.total + _SPARE_BYTES, shutil.disk_usage(staged).free
    if need > free:
        raise Unavailable("DISK_FULL", f"{need} octets are needed beside {staged.parent.parent}, {free} are free")
    reader.unpack(staged, lambda done, total: told("file", done, total))
    if keys is not None:
        names = [*KEYS, *(f"links/{path.name}" for path in (keys / "links").glob("[!.]*"))]
        for name in names[:MOST_FILES]:
            data = read_private(keys / name)
            if len(data) > LARGEST_FILE:
                raise InvalidArgument("KEY_FILE_DAMAGED", f"{keys / name} is no key: give the hub's folder keys")
            write_private(staged / "keys" / name, data)
    if (staged / "ca.pem").exists():
        (staged / "ca.pem").chmod(0o644)


async def _settle(
    file: Path, manifest: Manifest, staged: Path, digest: str, accept_broken_register: bool, told: Told
) -> Restored:
    """Prove that it is one hub, and make it the hub that was restored."""
    steps = 5
    told("proof", 0, steps)
    missing = [name for name in ("ca.pem", *(f"keys/{name}" for name in KEYS)) if not (staged / name).exists()]
    if missing:
        raise InvalidArgument("BACKUP_DAMAGED", f"{file} is damaged, it has no {missing[0]}: take an older one")
    with _as_damage(file, manifest):
        await asyncio.to_thread(check_database, staged / DATABASE)
        told("proof", 1, steps)
        # A database without its word of the last opening begins a new epoch: see `store/origin.py`.
        store = await Store.open(f"sqlite:///{staged / DATABASE}")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        told("proof", 2, steps)
        with _as_damage(file, manifest):
            keys = HubKeys.open(staged)
            secrets = Secrets.open(staged / "keys" / "secrets.json")
            CertificateAuthority.open(staged, manifest.hub_id)
            found = await store.read(lambda conn: _read_all(conn, secrets))
        told("proof", 3, steps)
        anchor_path = staged / ANCHOR
        anchor = anchor_path.read_bytes() if anchor_path.exists() else None
        public = keys.hub.public_key()
        register = await store.read(lambda conn: verify(conn, public, anchor=anchor))
        if not register.intact and not accept_broken_register:
            raise FailedPrecondition(
                "REGISTER_BROKEN",
                f"the register of use in {file} is broken ({register.reason}): take an older backup and its keys, or "
                "restore it as it is with --accept-broken-register, which is put on record",
            )
        told("proof", 4, steps)
        hub, open_sessions, cameras_ = found
        if hub.get("id") != manifest.hub_id:
            raise InvalidArgument("BACKUP_DAMAGED", f"{file} is damaged, it is not of hub {manifest.hub_id}")
        await store.write(_begin_anew)
        audit = await AuditLog.open(store, keys.hub, anchor=anchor_path)
        epoch = await store.read(meta.epoch)
        detail = {
            "backup_sha256": digest,
            "backup_time": manifest.time,
            "entries": register.entries,
            "register_intact": register.intact,
            "old_epoch": manifest.epoch,
            "epoch": epoch,
        }
        record = AuditRecord("system", ACTION, f"hub/{manifest.hub_id}", detail_json=json.dumps(detail))
        await store.write(lambda conn: audit.append(conn, [record]))
        await audit.close()
        told("proof", steps, steps)
        return Restored(manifest, epoch, cameras_, open_sessions, register)


def _read_all(conn: Connection, secrets: Secrets) -> tuple[dict[str, str], int, int]:
    """Opens every secret: a key that is missing is found now, not at the next start."""
    hub = json.loads(meta.get(conn, "hub", "{}"))
    open_sessions = len(sessions.load_open(conn, secrets))
    return hub, open_sessions, sum(1 for _ in cameras.load_all(conn, secrets))


def _begin_anew(conn: Connection) -> None:
    meta.put(conn, "audit_chain", "")
    # What was open then is closed at the next start as after a crash.
    meta.set_clean_shutdown(conn, False)
    time = now()
    users.revoke_logins(conn, [login.id for login in users.live_logins(conn, time)], time, "HUB_RESTORED")


@contextlib.contextmanager
def _as_damage(file: Path, manifest: Manifest) -> Iterator[None]:
    try:
        yield
    except VidhubError as error:
        if error.reason == "STORE_NEWER":
            raise FailedPrecondition(
                "BACKUP_NEWER", f"{file} was made by vidhub {manifest.vidhub}: restore it with that one"
            ) from error
        if error.reason in ("CA_MISMATCH", "SECRET_KEY_MISSING", "SECRET_DAMAGED"):
            raise FailedPrecondition(
                "BACKUP_OTHER_KEYS", f"the keys are not those of {file}: give those that the hub had then"
            ) from error
        if error.reason in ("STORE_CORRUPT", "KEY_FILE_DAMAGED"):
            raise InvalidArgument("BACKUP_DAMAGED", f"{file} is damaged, {error.message}: take an older one") from error
        raise


def _publish(staged: Path, data_dir: Path) -> None:
    """From here on it is there, whole."""
    for path in (staged / "keys" / "links", staged / "keys", staged):
        sync_directory(path)
    try:
        staged.rename(data_dir)  # takes the place of an empty directory, of nothing else
    except OSError as cause:
        _check_target(data_dir)
        raise cause
    sync_directory(data_dir.parent)
