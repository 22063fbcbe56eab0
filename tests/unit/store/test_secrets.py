"""Sealed secrets: only with the key, only where they belong, and through a change of keys."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidhub.errors import FailedPrecondition, Internal
from vidhub.model import Camera
from vidhub.store import Secrets, Store, cameras
from vidhub.store.keyfiles import create_private, read_private, write_private
from vidhub.store.secrets import _dump

KEYS = Secrets(Path("unused"), {1: bytes(range(32))}, 1)


@given(st.text(), st.text())
def test_what_is_sealed_opens_in_its_context(secret: str, context: str) -> None:
    sealed = KEYS.seal(secret, context)
    assert KEYS.open_sealed(sealed, context) == secret
    if len(secret) > 4:
        assert secret.encode() not in sealed


@given(st.text(min_size=1), st.data())
def test_any_altered_byte_is_refused(secret: str, data: st.DataObject) -> None:
    sealed = bytearray(KEYS.seal(secret, "camera/1/1"))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises((Internal, FailedPrecondition)):
        KEYS.open_sealed(bytes(sealed), "camera/1/1")


@given(st.binary(min_size=1, max_size=60))
def test_foreign_bytes_are_refused(junk: bytes) -> None:
    with pytest.raises((Internal, FailedPrecondition)):
        KEYS.open_sealed(junk, "camera/1/1")


def test_a_secret_moved_elsewhere_does_not_open() -> None:
    with pytest.raises(Internal, match="SECRET_DAMAGED"):
        KEYS.open_sealed(KEYS.seal("word", "camera/1/1"), "camera/1/2")


def test_the_same_secret_looks_different_each_time() -> None:
    assert KEYS.seal("word", "c") != KEYS.seal("word", "c")


def test_a_lost_key_is_named() -> None:
    other = Secrets(Path("keys.json"), {2: bytes(32)}, 2)
    with pytest.raises(FailedPrecondition, match=r"SECRET_KEY_MISSING.*key 1"):
        other.open_sealed(KEYS.seal("word", "c"), "c")


def test_the_key_file_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "secrets.json"
    sealed = Secrets.open(path).seal("word", "c")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert Secrets.open(path).open_sealed(sealed, "c") == "word"


def test_an_exposed_or_damaged_key_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    Secrets.open(path)
    path.chmod(0o644)
    with pytest.raises(FailedPrecondition, match="KEY_FILE_EXPOSED"):
        Secrets.open(path)
    for text in (b"", b"{}", b'{"current": 1, "keys": {"1": "AAAA"}}', b'{"current": 1, "keys": []}', b"\xff"):
        write_private(path, text)
        with pytest.raises(FailedPrecondition, match="KEY_FILE_DAMAGED"):
            Secrets.open(path)


async def test_rotation_seals_everything_anew(
    store: Store, secrets: Secrets, make_camera: Callable[..., Camera], now: datetime, tmp_path: Path
) -> None:
    given_cameras = [make_camera(i) for i in range(1, 151)]
    await store.write(lambda conn: cameras.upsert_many(conn, given_cameras, secrets, revision=1, now=now))
    path = tmp_path / "keys" / "secrets.json"
    before = Secrets.open(path)
    assert await secrets.rotate(store) == 300
    assert secrets.current_key == 2
    fresh = Secrets.open(path)
    found = await store.read(lambda conn: list(cameras.load_all(conn, fresh)))
    assert [c.streams[0].password for c in found] == [c.streams[0].password for c in given_cameras]
    with pytest.raises(FailedPrecondition, match="SECRET_KEY_MISSING"):
        await store.read(lambda conn: list(cameras.load_all(conn, before)))


async def test_a_rotation_that_was_killed_goes_on(
    store: Store, secrets: Secrets, make_camera: Callable[..., Camera], now: datetime, tmp_path: Path
) -> None:
    await store.write(lambda conn: cameras.upsert_many(conn, [make_camera(1)], secrets, revision=1, now=now))
    # As after a kill: the new key is in the file, nothing is sealed with it yet.
    path = tmp_path / "keys" / "secrets.json"
    half = Secrets.open(path)
    half._use({**half._keys, 2: bytes(32)}, 2)
    write_private(path, _dump(half._keys, 2))
    again = Secrets.open(path)
    await store.write(lambda conn: cameras.upsert_many(conn, [make_camera(2)], again, revision=2, now=now))
    assert await again.rotate(store) == 4
    found = await store.read(lambda conn: list(cameras.load_all(conn, Secrets.open(path))))
    assert [c.streams[1].password for c in found] == ["sub-secret-1", "sub-secret-2"]


def test_private_files_are_made_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "key"
    assert create_private(path, b"one")
    assert not create_private(path, b"two")
    assert read_private(path) == b"one"
    write_private(path, b"three")
    assert read_private(path) == b"three"
    assert [p.name for p in path.parent.iterdir()] == ["key"]
