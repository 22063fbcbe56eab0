"""Secrets at rest: AES-256-GCM, the key's number in front, what the secret belongs to as associated data.

Layout of a sealed secret: version (1 byte, 1) | key number (4 bytes, big endian) | nonce (12) | ciphertext and tag.
The keys live in a file apart from the database, so that a copy of the database alone gives nothing away.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection

from vidhub.errors import FailedPrecondition, Internal
from vidhub.store.keyfiles import create_private, read_private, write_private

if TYPE_CHECKING:
    from vidhub.store.store import Store

_HEAD = struct.Struct(">BI")
_VERSION = 1
_NONCE = 12
_BATCH = 200


class Secrets:
    """Seals and opens. Belongs to one data directory; keys change by `rotate`."""

    def __init__(self, path: Path, keys: Mapping[int, bytes], current: int) -> None:
        self._path = path
        self._use(dict(keys), current)

    @classmethod
    def open(cls, path: Path) -> Secrets:
        """Read the key file, or make it: `DATA/keys/secrets.json` by convention."""
        if not path.exists():
            create_private(path, _dump({1: AESGCM.generate_key(256)}, 1))
        keys, current = _parse(path, read_private(path))
        return cls(path, keys, current)

    @property
    def current_key(self) -> int:
        return self._current

    def sealing(self) -> tuple[bytes, bytes]:
        """(what stands in front, key) of what is sealed now, for `core.record_rows`, which seals by the hundred."""
        return self._head, self._keys[self._current]

    def seal(self, secret: str, context: str) -> bytes:
        """Empty stays empty: that there is none is no secret."""
        if not secret:
            return b""
        nonce = os.urandom(_NONCE)
        return self._head + nonce + self._cipher.encrypt(nonce, secret.encode(), context.encode())

    def open_sealed(self, sealed: bytes, context: str) -> str:
        """Raises FailedPrecondition SECRET_KEY_MISSING; Internal SECRET_DAMAGED when this is not what was sealed."""
        if not sealed:
            return ""
        if len(sealed) < _HEAD.size + _NONCE + 16 or sealed[0] != _VERSION:
            raise Internal("SECRET_DAMAGED", f"the secret of {context} cannot be read: set it again")
        (_, number) = _HEAD.unpack_from(sealed)
        cipher = self._ciphers.get(number)
        if cipher is None:
            raise FailedPrecondition(
                "SECRET_KEY_MISSING",
                f"the secret of {context} was sealed with key {number}, not in {self._path}: put the key file back",
            )
        body = _HEAD.size + _NONCE
        try:
            return cipher.decrypt(sealed[_HEAD.size : body], sealed[body:], context.encode()).decode()
        except (InvalidTag, UnicodeDecodeError) as cause:
            raise Internal("SECRET_DAMAGED", f"the secret of {context} cannot be read: set it again") from cause

    async def rotate(self, store: Store) -> int:
        """Seal everything with a new key and drop the old ones; returns how many secrets were sealed anew.

        May be killed at any point and run again: the new key is durable before its first use, an old one goes last.
        """
        number = max(self._keys) + 1
        self._use({**self._keys, number: AESGCM.generate_key(256)}, number)
        write_private(self._path, _dump(self._keys, number))
        total = 0
        for step in (_reseal_streams, _reseal_sessions):
            while done := await store.write(lambda conn, step=step: step(conn, self), bulk=True):  # type: ignore[misc]
                total += done
        self._use({number: self._keys[number]}, number)
        write_private(self._path, _dump(self._keys, number))
        return total

    def _use(self, keys: dict[int, bytes], current: int) -> None:
        self._keys = keys
        self._current = current
        self._ciphers = {number: AESGCM(key) for number, key in keys.items()}
        self._cipher = self._ciphers[current]
        self._head = _HEAD.pack(_VERSION, current)

    def _reseal(self, sealed: bytes, context: str) -> bytes:
        return self.seal(self.open_sealed(sealed, context), context)


def stream_context(camera_id: str, profile: int) -> str:
    return f"camera/{camera_id}/{profile}"


def session_context(session_id: str) -> str:
    return f"session/{session_id}"


def _reseal_streams(conn: Connection, secrets: Secrets) -> int:
    rows = conn.exec_driver_sql(
        "SELECT camera_id, profile, password FROM camera_streams "
        "WHERE length(password) > 0 AND substr(password, 1, 5) <> ? LIMIT ?",
        (secrets._head, _BATCH),
    ).all()
    if rows:
        conn.exec_driver_sql(
            "UPDATE camera_streams SET password = ? WHERE camera_id = ? AND profile = ?",
            [(secrets._reseal(r[2], stream_context(r[0], r[1])), r[0], r[1]) for r in rows],
        )
    return len(rows)


def _reseal_sessions(conn: Connection, secrets: Secrets) -> int:
    rows = conn.exec_driver_sql(
        "SELECT id, rtsp_password FROM sessions "
        "WHERE length(rtsp_password) > 0 AND substr(rtsp_password, 1, 5) <> ? LIMIT ?",
        (secrets._head, _BATCH),
    ).all()
    if rows:
        conn.exec_driver_sql(
            "UPDATE sessions SET rtsp_password = ? WHERE id = ?",
            [(secrets._reseal(r[1], session_context(r[0])), r[0]) for r in rows],
        )
    return len(rows)


def _dump(keys: Mapping[int, bytes], current: int) -> bytes:
    text = {"current": current, "keys": {str(n): base64.b64encode(k).decode() for n, k in keys.items()}}
    return json.dumps(text, indent=1).encode() + b"\n"


def _parse(path: Path, data: bytes) -> tuple[dict[int, bytes], int]:
    try:
        text = json.loads(data)
        keys = {int(n): base64.b64decode(k, validate=True) for n, k in text["keys"].items()}
        current = int(text["current"])
        if current not in keys or any(len(k) != 32 or not 0 < n < 2**32 for n, k in keys.items()):
            raise ValueError("incomplete")
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as cause:
        raise FailedPrecondition("KEY_FILE_DAMAGED", f"{path} is no key file: put back a copy of it") from cause
    return keys, current
