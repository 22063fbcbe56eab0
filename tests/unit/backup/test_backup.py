"""The one file: what is taken comes back, and nothing else is taken for one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import sqlite3
import stat
import tarfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import vidhub.app
from vidhub.backup import Restored, Taken, archive, restore, take
from vidhub.backup.workplace import workplace
from vidhub.config import Config, HubOptions
from vidhub.errors import FailedPrecondition, Unavailable, VidhubError
from vidhub.lockfile import DataLock
from vidhub.store.keyfiles import write_private


def quiet(_step: str, _done: int, _total: int) -> None:
    """Nobody watches the progress."""


def back_up(data: Path, target: Path, *, with_keys: bool = True) -> Taken:
    return take(data, data / "vidhub.db", target, with_keys=with_keys, record=lambda _taken: None, told=quiet)


def put_back(file: Path, data: Path, *, keys: Path | None = None, accept_broken_register: bool = False) -> Restored:
    return restore(file, data, keys=keys, accept_broken_register=accept_broken_register, told=quiet)


def administer(data: Path, operation: str, **arguments: object) -> dict[str, object]:
    return vidhub.app.administer(Config(data_dir=data, hub=HubOptions(id="yingtan")), operation, arguments)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a hub with somebody in it, stopped."""
    data = tmp_path_factory.mktemp("original") / "data"
    password = "correct-horse-battery-42"
    administer(data, "user_add", name="zhang", roles=["operator"], password=password)
    write_private(data / "keys" / "links" / "jiangxi.pem", b"a key for an upper hub\n")
    return data


@pytest.fixture(scope="module")
def made(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("made") / "hub.backup"
    back_up(original, target)
    return target


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where to restore; nothing may be there after a refusal."""
    return tmp_path / "place" / "data"


def refused(file: Path, data: Path, **how: object) -> str:
    """The reason; nothing has been written."""
    with pytest.raises(VidhubError) as raised:
        put_back(file, data, **how)  # type: ignore[arg-type]
    assert not data.exists()
    assert not data.parent.exists() or not list(data.parent.iterdir())
    assert str(file) in raised.value.message or file.name in raised.value.message
    return raised.value.reason


def members(file: Path) -> dict[str, bytes]:
    """By the tar of others."""
    with tarfile.open(file) as opened:
        return {one.name: opened.extractfile(one).read() for one in opened}  # type: ignore[union-attr]


def forged(target: Path, contents: dict[str, bytes], **changed: object) -> Path:
    """A backup by another hand: its manifest fits what is in it, but for what is `changed`."""
    manifest = json.loads(contents.pop("manifest.json"))
    manifest["files"] = [{"name": name, "size": len(data), "sha256": _sha256(data)} for name, data in contents.items()]
    manifest |= changed
    with tarfile.open(target, "w:gz", format=tarfile.GNU_FORMAT) as packed:
        for name, data in {"manifest.json": json.dumps(manifest).encode(), **contents}.items():
            head = tarfile.TarInfo(name)
            head.size = len(data)
            packed.addfile(head, io.BytesIO(data))
    # The tar of others fills up its last record.
    text = gzip.decompress(target.read_bytes())
    end = max(i for i in range(0, len(text), 512) if any(text[i : i + 512])) + 512
    target.write_bytes(gzip.compress(text[:end] + bytes(1024), mtime=0))
    return target


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_database(made: Path, target: Path, change: Callable[[sqlite3.Connection], object]) -> Path:
    contents = members(made)
    database = target.with_suffix(".db")
    database.write_bytes(contents["vidhub.db"])
    with closing(sqlite3.connect(database)) as opened, opened:
        change(opened)
    contents["vidhub.db"] = database.read_bytes()
    database.unlink()
    return forged(target, contents)


# What comes back.


def test_the_hub_that_comes_back_is_the_hub_that_was(original: Path, made: Path, place: Path):
    done = put_back(made, place)
    for name in ("hub.key", "access.key", "ca.key", "secrets.json", "links/jiangxi.pem"):
        assert (place / "keys" / name).read_bytes() == (original / "keys" / name).read_bytes()
    assert (place / "ca.pem").read_bytes() == (original / "ca.pem").read_bytes()
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.rglob("*") if path.is_file()}
    assert modes.pop("ca.pem") == 0o644
    assert set(modes.values()) == {0o600}
    assert done.manifest.hub_id == "yingtan"
    users = administer(place, "user_list")["users"]
    assert [one["name"] for one in users] == ["zhang"]  # type: ignore[index,attr-defined]


def test_it_begins_a_new_epoch_once_and_its_register_says_so(original: Path, made: Path, place: Path):
    def epoch(data: Path) -> str:
        with closing(sqlite3.connect(data / "vidhub.db")) as opened:
            return str(opened.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0])

    done = put_back(made, place)
    verdict = administer(place, "audit_verify")
    assert (verdict["intact"], verdict["chains"]) == (True, 2)
    (entry,) = verdict["restores"]  # type: ignore[misc]
    detail = json.loads(entry["detailJson"])
    assert entry["principal"] == "system"
    assert entry["seq"] == "1"  # of a chain of its own
    assert detail["backup_sha256"] == _sha256(made.read_bytes())
    assert (detail["old_epoch"], detail["epoch"]) == (epoch(original), done.epoch)
    assert done.epoch != epoch(original)
    assert epoch(place) == done.epoch  # opened again since, and the same
    assert administer(original, "audit_verify")["restores"] == []


def test_every_login_of_then_is_over(original: Path, tmp_path: Path, place: Path, made: Path):
    def log_in(opened: sqlite3.Connection) -> None:
        (user,) = opened.execute("SELECT id FROM users").fetchone()
        opened.execute(
            "INSERT INTO logins (id, user_id, create_time, expire_time, revoke_reason) VALUES ('l', ?, 1, ?, '')",
            (user, 4_000_000_000_000_000),
        )

    put_back(with_database(made, tmp_path / "b", log_in), place)
    with closing(sqlite3.connect(place / "vidhub.db")) as opened:
        assert opened.execute("SELECT revoke_time > 0, revoke_reason FROM logins").fetchall() == [(1, "HUB_RESTORED")]


def test_a_backup_of_a_backup_of_a_backup_proves(original: Path, made: Path, tmp_path: Path):
    file = made
    for turn in range(1, 4):
        data = tmp_path / f"d{turn}"
        put_back(file, data)
        verdict = administer(data, "audit_verify")
        assert (verdict["intact"], len(verdict["restores"])) == (True, turn)  # type: ignore[arg-type]
        file = tmp_path / f"b{turn}"
        back_up(data, file)


def test_without_keys_there_are_none_in_it_and_they_are_wanted_back(original: Path, tmp_path: Path, place: Path):
    file = tmp_path / "b"
    assert not back_up(original, file, with_keys=False).manifest.keys
    assert set(members(file)) == {"manifest.json", "vidhub.db", "ca.pem", "audit-checkpoint.json"}
    for key in (original / "keys").glob("*.*"):
        secret = max(key.read_text().split("\n"), key=len).strip().encode()
        assert secret not in gzip.decompress(file.read_bytes())
    assert refused(file, place) == "BACKUP_WITHOUT_KEYS"
    put_back(file, place, keys=original / "keys")
    assert (place / "keys" / "links" / "jiangxi.pem").read_bytes() == b"a key for an upper hub\n"
    assert administer(place, "audit_verify")["intact"]


def test_the_keys_of_another_hub_are_refused(original: Path, made: Path, tmp_path: Path, place: Path):
    file, other = tmp_path / "b", tmp_path / "other"
    back_up(original, file, with_keys=False)
    administer(other, "user_add", name="li", roles=["operator"], password="correct-horse-battery-42")
    assert refused(file, place, keys=other / "keys") == "BACKUP_OTHER_KEYS"
    # A key for the register's proof alone is another's.
    mixed = tmp_path / "mixed"
    shutil.copytree(original / "keys", mixed)
    shutil.copy2(other / "keys" / "hub.key", mixed / "hub.key")
    assert refused(file, place, keys=mixed) == "REGISTER_BROKEN"
    assert refused(made, place, keys=original / "keys") == "BACKUP_HAS_KEYS"


# What a backup asks for.


def test_it_is_for_its_owner_alone_and_replaces_nothing(original: Path, tmp_path: Path):
    file = tmp_path / "b"
    taken = back_up(original, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (taken.size, taken.sha256) == (file.stat().st_size, _sha256(file.read_bytes()))
    before = file.read_bytes()
    with pytest.raises(VidhubError, match="FILE_EXISTS"):
        back_up(original, file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_what_cannot_be_put_on_record_is_not_taken(original: Path, tmp_path: Path):
    def record(_taken: Taken) -> None:
        raise Unavailable("STORE_UNAVAILABLE", "the disk is full")

    with pytest.raises(Unavailable):
        take(original, original / "vidhub.db", tmp_path / "b", with_keys=True, record=record, told=quiet)
    assert not list(tmp_path.iterdir())


def test_a_key_that_changes_meanwhile_is_taken_with_its_database(original: Path, tmp_path: Path):
    data = Path(shutil.copytree(original, tmp_path / "data"))
    key, copies = data / "keys" / "secrets.json", 0

    def told(step: str, done: int, total: int) -> None:
        nonlocal copies
        if step == "database" and done == total:
            copies += 1
            if copies == 1:
                key.write_text(key.read_text() + "\n")

    take(data, data / "vidhub.db", tmp_path / "b", with_keys=True, record=lambda _taken: None, told=told)
    assert copies == 2
    assert members(tmp_path / "b")["keys/secrets.json"] == key.read_bytes()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: (data / "keys" / "hub.key").chmod(0o644), "KEY_FILE_EXPOSED"),
        (lambda data: (data / "keys" / "folder").mkdir(), "KEYS_UNKNOWN"),
        (lambda data: shutil.rmtree(data / "keys"), "KEYS_MISSING"),
        (lambda data: (data / "vidhub.db").unlink(), "DATA_DIR_EMPTY"),
        (lambda data: (data / "vidhub.db").write_bytes(b""), "DATA_DIR_EMPTY"),
        (lambda data: (data / "vidhub.db").write_bytes(b"no database" * 1000), "STORE_CORRUPT"),
    ],
)
def test_no_backup_is_made_of_what_could_not_come_back(
    original: Path, tmp_path: Path, spoil: Callable[[Path], object], reason: str
):
    data = Path(shutil.copytree(original, tmp_path / "data"))
    spoil(data)
    with pytest.raises(VidhubError) as raised:
        back_up(data, tmp_path / "b")
    assert raised.value.reason == reason
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_damaged_page_is_found_when_the_backup_is_made(original: Path, tmp_path: Path):
    data = Path(shutil.copytree(original, tmp_path / "data"))
    with closing(sqlite3.connect(data / "vidhub.db")) as opened:
        (page,) = opened.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'users'").fetchone()
        (size,) = opened.execute("PRAGMA page_size").fetchone()
    with (data / "vidhub.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))
    with pytest.raises(Unavailable, match="STORE_CORRUPT"):
        back_up(data, tmp_path / "b")


# What is refused.


def test_a_file_cut_off_anywhere_is_refused(made: Path, tmp_path: Path, place: Path):
    whole, file = made.read_bytes(), tmp_path / "b"
    reasons = set()
    for length in [*range(2, len(whole), len(whole) // 100), *range(len(whole) - 12, len(whole))]:
        file.write_bytes(whole[:length])
        reasons.add(refused(file, place))
    assert reasons == {"BACKUP_TRUNCATED"}


def unpacked(data: bytes | bytearray) -> bytes | None:
    """None for what is no whole gzip."""
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return None


def test_a_file_with_a_changed_byte_anywhere_is_refused(made: Path, tmp_path: Path, place: Path):
    whole, file = made.read_bytes(), tmp_path / "b"
    content, choice = unpacked(whole), random.Random(7)
    # The time, flags and system in gzip's head (octets 3 to 9) say nothing to us.
    places = [0, 1, 2, *choice.sample(range(10, len(whole)), 200), *range(len(whole) - 8, len(whole))]
    reasons = set()
    for at in places:
        changed = bytearray(whole)
        changed[at] ^= 1 << choice.randrange(8)
        if unpacked(changed) == content:
            continue  # padding between the blocks of the packing: it says the same as before
        file.write_bytes(changed)
        reasons.add(refused(file, place))
    assert reasons <= {"BACKUP_DAMAGED", "BACKUP_TRUNCATED", "BACKUP_FOREIGN"}
    assert "BACKUP_DAMAGED" in reasons


@pytest.mark.parametrize("content", [b"", b"\x1f", b"hello", b"SQLite format 3\x00" + bytes(4096)])
def test_what_is_not_packed_at_all_is_foreign(tmp_path: Path, place: Path, content: bytes):
    (tmp_path / "b").write_bytes(content)
    assert refused(tmp_path / "b", place) == "BACKUP_FOREIGN"


def test_the_archive_of_another_program_is_foreign(tmp_path: Path, place: Path):
    with tarfile.open(tmp_path / "b", "w:gz", format=tarfile.GNU_FORMAT) as packed:
        packed.add(__file__, "test.py")
    assert refused(tmp_path / "b", place) == "BACKUP_FOREIGN"
    with tarfile.open(tmp_path / "c", "w:gz", format=tarfile.GNU_FORMAT) as packed:
        head = tarfile.TarInfo("manifest.json")
        head.size = 2
        packed.addfile(head, io.BytesIO(b"{}"))
    assert refused(tmp_path / "c", place) == "BACKUP_FOREIGN"


def test_what_a_newer_release_made_is_said_to_be_newer(made: Path, tmp_path: Path, place: Path):
    assert refused(forged(tmp_path / "b", members(made), version=2, vidhub="9.0.0"), place) == "BACKUP_NEWER"

    def newer(opened: sqlite3.Connection) -> None:
        opened.execute("UPDATE alembic_version SET version_num = '9999'")

    assert refused(with_database(made, tmp_path / "c", newer), place) == "BACKUP_NEWER"


@pytest.mark.parametrize(
    "name", ["../escaped", "/tmp/escaped", "keys/../../escaped", "keys/a/b", "run", "keys/.hidden"]
)
def test_a_name_that_is_none_of_ours_is_refused(made: Path, tmp_path: Path, place: Path, name: str):
    file = forged(tmp_path / "b", {**members(made), name: b"x"})
    assert refused(file, place) == "BACKUP_DAMAGED"
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    "changed",
    [
        {"files": []},
        {"files": "vidhub.db"},
        {"files": [{"name": "vidhub.db", "size": 1}]},
        {"files": [{"name": "ca.pem", "size": 1, "sha256": "0" * 64}]},
        {"revision": "7"},
        {"keys": 1},
        {"hub_id": None},
        {"version": "1"},
        {"version": 0},
    ],
)
def test_a_manifest_that_makes_no_sense_is_damage(made: Path, tmp_path: Path, place: Path, changed: dict[str, object]):
    assert refused(forged(tmp_path / "b", members(made), **changed), place) == "BACKUP_DAMAGED"


def test_contents_that_are_not_those_of_the_manifest_are_damage(made: Path, tmp_path: Path, place: Path):
    true = json.loads(members(made)["manifest.json"])["files"]
    contents = members(made)
    contents["keys/hub.key"] = contents["keys/access.key"]
    assert refused(forged(tmp_path / "b", contents, files=true), place) == "BACKUP_DAMAGED"
    fewer = {name: data for name, data in members(made).items() if name != "keys/ca.key"}
    assert refused(forged(tmp_path / "c", fewer), place) == "BACKUP_DAMAGED"
    assert refused(forged(tmp_path / "d", members(made), hub_id="another"), place) == "BACKUP_DAMAGED"


def test_a_link_in_the_place_of_a_file_is_refused(made: Path, tmp_path: Path, place: Path):
    contents = members(made)
    with tarfile.open(tmp_path / "b", "w:gz", format=tarfile.GNU_FORMAT) as packed:
        for name in json.loads(contents["manifest.json"])["files"]:
            head = tarfile.TarInfo(name["name"])
            if name["name"] == "vidhub.db":
                manifest = tarfile.TarInfo("manifest.json")
                manifest.size = len(contents["manifest.json"])
                packed.addfile(manifest, io.BytesIO(contents["manifest.json"]))
                head.type, head.linkname = tarfile.SYMTYPE, "/etc/passwd"
            packed.addfile(head, io.BytesIO(b""))
    assert refused(tmp_path / "b", place) == "BACKUP_DAMAGED"


def test_sizes_are_bounded_before_anything_is_read(made: Path, tmp_path: Path, place: Path):
    """A file of a few octets that says it is enormous costs neither memory nor disk."""
    head = tarfile.TarInfo("manifest.json")
    head.size = archive.LARGEST_FILE + 1
    (tmp_path / "b").write_bytes(gzip.compress(head.tobuf(tarfile.GNU_FORMAT)))
    assert refused(tmp_path / "b", place) == "BACKUP_DAMAGED"
    huge = [{"name": "vidhub.db", "size": 2**60, "sha256": "0" * 64}]
    with pytest.raises(Unavailable, match="DISK_FULL"):
        put_back(forged(tmp_path / "c", members(made), files=huge), place)
    assert not list(place.parent.iterdir())
    many = [{"name": f"keys/{n}", "size": 0, "sha256": "0" * 64} for n in range(archive.MOST_FILES)]
    true = json.loads(members(made)["manifest.json"])["files"]
    assert refused(forged(tmp_path / "d", members(made), files=[*true, *many]), place) == "BACKUP_DAMAGED"


def test_a_register_that_was_altered_comes_back_only_when_told_so_and_says_it(made: Path, tmp_path: Path, place: Path):
    def alter(opened: sqlite3.Connection) -> None:
        for (name,) in opened.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            opened.execute(f"DROP TRIGGER {name}")
        opened.execute("UPDATE audit_entries SET principal = 'user/nobody' WHERE seq = 1")

    file = with_database(made, tmp_path / "b", alter)
    assert refused(file, place) == "REGISTER_BROKEN"
    assert not put_back(file, place, accept_broken_register=True).register.intact
    verdict = administer(place, "audit_verify")
    assert not verdict["intact"]
    assert not json.loads(verdict["restores"][0]["detailJson"])["register_intact"]  # type: ignore[index]


# Where it may be put.


def test_a_directory_that_holds_something_is_left_alone(made: Path, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(FailedPrecondition, match="DATA_DIR_NOT_EMPTY"):
        put_back(made, data)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "photo.jpg"]


def test_a_hub_that_runs_is_said_to_run(original: Path, made: Path, tmp_path: Path):
    data = Path(shutil.copytree(original, tmp_path / "data"))
    with DataLock(data), pytest.raises(FailedPrecondition, match=f"HUB_RUNNING.*process {os.getpid()}"):
        put_back(made, data)
    with pytest.raises(FailedPrecondition, match="DATA_DIR_NOT_EMPTY"):
        put_back(made, data)


def test_an_empty_directory_is_taken(made: Path, tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    put_back(made, data)
    assert administer(data, "audit_verify")["intact"]


def test_what_a_killed_one_left_is_swept_and_what_another_works_in_is_not(tmp_path: Path):
    for name in ("lock", "key"):  # one that was killed at work
        (tmp_path / ".work-left").mkdir(exist_ok=True)
        (tmp_path / ".work-left" / name).write_text("secret")
    (tmp_path / ".work-begun").mkdir()  # and one just before
    (tmp_path / ".work-other").write_text("somebody else's")
    with workplace(tmp_path, ".work-") as first, workplace(tmp_path, ".work-") as second:
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {first.name, second.name, ".work-other"}
        assert stat.S_IMODE(first.stat().st_mode) == 0o700
    assert [path.name for path in tmp_path.iterdir()] == [".work-other"]
