"""The one file: a gzipped tar of `manifest.json` and what it lists, in its order, each with size and SHA-256.

`tar tzf` shows it. It is read member by member, never unpacked by names of its own choice, and each size is bounded
before it is read, so that a file from anywhere does no harm.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from vidhub.config import DATABASE
from vidhub.errors import FailedPrecondition, InvalidArgument, Unavailable

FORMAT = "vidhub-backup"
# Raised when a reader of today could no longer make a hub of what is written.
VERSION = 1
MANIFEST = "manifest.json"
# Of the manifest, and of each file but the database; of the files of one backup.
LARGEST_FILE = 1024 * 1024
MOST_FILES = 256

_NAME = re.compile(
    r"vidhub\.db|ca\.pem|audit-checkpoint\.json|initial-password|keys/(links/)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,71}"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAGIC = b"\x1f\x8b"
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the backup. size: octets."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of. time: RFC 3339, UTC. schema: of the database. keys: whether it holds the keys."""

    vidhub: str
    time: str
    hub_id: str
    hub_name: str
    epoch: str
    revision: int
    schema: str
    keys: bool
    files: tuple[Member, ...]

    @property
    def total(self) -> int:
        return sum(one.size for one in self.files)


def member_of(name: str, path: Path) -> Member:
    """Reads the file once for its size and hash."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Member(name, file.tell(), digest.hexdigest())


def write(target: Path, manifest: Manifest, place: Path, told: Callable[[int, int], None]) -> str:
    """Write `target` (0600) from the files in `place`, durably; its SHA-256.

    told: octets of the files taken, and in all.
    """
    head = json.dumps({"format": FORMAT, "version": VERSION, **asdict(manifest)}, ensure_ascii=False, indent=1).encode()
    done = 0
    handle = os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    with os.fdopen(handle, "w+b") as out:
        with gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=6, mtime=0) as packed:
            _begin_member(packed, MANIFEST, len(head))
            _end_member(packed, packed.write(head))
            for one in manifest.files:
                _begin_member(packed, one.name, one.size)
                with (place / one.name).open("rb") as file:
                    while data := file.read(_CHUNK):
                        packed.write(data)
                        done += len(data)
                        told(done, manifest.total)
                _end_member(packed, one.size)
            packed.write(bytes(2 * tarfile.BLOCKSIZE))
        out.flush()
        os.fsync(out.fileno())
        out.seek(0)
        return hashlib.file_digest(out, "sha256").hexdigest()


class Reader:
    """A backup that is being read: the manifest first, then every file in turn, then the proof that it is whole."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        """Reads the manifest. Raises InvalidArgument BACKUP_FOREIGN, BACKUP_TRUNCATED or BACKUP_DAMAGED,
        FailedPrecondition BACKUP_NEWER."""
        self._path = path
        if file.read(len(_MAGIC)) != _MAGIC:
            raise self._foreign()
        file.seek(0)
        self._packed = gzip.GzipFile(fileobj=file, mode="rb")
        with self._named():
            name, size = self._next()
            if name != MANIFEST:
                raise self._foreign()
            text = io.BytesIO()
            self._copy(size, text)
            self.manifest = self._parse(text.getvalue())

    def unpack(self, place: Path, told: Callable[[int, int], None]) -> None:
        """Write every file into `place` (0600, durably), and read to the very end. told: octets, and in all.

        Raises as above, and OSError of the place.
        """
        done = 0
        for one in self.manifest.files:
            target = place / one.name
            if target.parent != place:
                (place / "keys").mkdir(mode=0o700, exist_ok=True)
                target.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
                with self._named():
                    if self._next() != (one.name, one.size):
                        raise self._damaged("its files are not those of its manifest")
                for data in self._chunks(one.size):
                    out.write(data)
                    done += len(data)
                    told(done, self.manifest.total)
                out.flush()
                os.fsync(out.fileno())
            if member_of(one.name, target).sha256 != one.sha256:
                raise self._damaged(f"{one.name} has another hash")
        with self._named():
            end = self._packed.read(2 * tarfile.BLOCKSIZE)
            if len(end) < 2 * tarfile.BLOCKSIZE:
                raise EOFError
            if any(end) or self._packed.read(1):
                raise self._damaged("something follows its end")

    def _next(self) -> tuple[str, int]:
        head = self._packed.read(tarfile.BLOCKSIZE)
        if len(head) < tarfile.BLOCKSIZE:
            raise EOFError
        found = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
        if found.type != tarfile.REGTYPE:
            raise self._damaged("it holds what is no file")
        largest = None if found.name == DATABASE else LARGEST_FILE
        if found.size < 0 or (largest is not None and found.size > largest):
            raise self._damaged(f"a file in it has {found.size} octets")
        return found.name, found.size

    def _copy(self, size: int, out: IO[bytes]) -> None:
        for data in self._chunks(size):
            out.write(data)

    def _chunks(self, size: int) -> Iterator[bytes]:
        """The content of a member; its padding is read too."""
        left = size
        while left:
            with self._named():
                data = self._packed.read(min(left, _CHUNK))
                if not data:
                    raise EOFError
            left -= len(data)
            yield data
        with self._named():
            if len(self._packed.read(-size % tarfile.BLOCKSIZE)) != -size % tarfile.BLOCKSIZE:
                raise EOFError

    def _parse(self, text: bytes) -> Manifest:
        try:
            found: Any = json.loads(text)
            if not isinstance(found, dict) or found.get("format") != FORMAT:
                raise self._foreign()
            if not isinstance(found["version"], int) or found["version"] < 1:
                raise ValueError("version")
            if found["version"] > VERSION:
                raise FailedPrecondition(
                    "BACKUP_NEWER", f"{self._path} was made by vidhub {found.get('vidhub')}: restore it with that one"
                )
            words = {name: _word(found[name]) for name in ("vidhub", "time", "hub_id", "hub_name", "epoch", "schema")}
            revision, has_keys, files = found["revision"], found["keys"], found["files"]
            members = tuple(Member(_word(one["name"]), int(one["size"]), _word(one["sha256"])) for one in files)
            names = [one.name for one in members]
            if (
                type(revision) is not int
                or type(has_keys) is not bool
                or not 0 < len(members) <= MOST_FILES
                or len(set(names)) != len(names)
                or DATABASE not in names
                or not all(_NAME.fullmatch(one.name) and _SHA256.fullmatch(one.sha256) for one in members)
            ):
                raise ValueError("fields")
        except (ValueError, KeyError, TypeError, RecursionError) as cause:
            raise self._damaged("its manifest can't be read") from cause
        return Manifest(**words, revision=revision, keys=has_keys, files=members)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """What reading may raise, in our words."""
        try:
            yield
        except EOFError as cause:
            raise InvalidArgument(
                "BACKUP_TRUNCATED", f"{self._path} ends too early: copy it again from where it was made"
            ) from cause
        except (zlib.error, gzip.BadGzipFile, tarfile.TarError, UnicodeError, ValueError) as cause:
            raise self._damaged("its packing is broken") from cause
        except OSError as cause:
            raise Unavailable("FILE_NOT_READ", f"{self._path}: {cause.strerror}: check the disk it is on") from cause

    def _damaged(self, what: str) -> InvalidArgument:
        return InvalidArgument(
            "BACKUP_DAMAGED", f"{self._path} is damaged, {what}: copy it again, or take an older one"
        )

    def _foreign(self) -> InvalidArgument:
        return InvalidArgument("BACKUP_FOREIGN", f"{self._path} is no backup that vidhub made: give the path of one")


def _word(value: object) -> str:
    if not isinstance(value, str) or len(value) > 1_024:
        raise ValueError("no word")
    return value


def _begin_member(packed: gzip.GzipFile, name: str, size: int) -> None:
    head = tarfile.TarInfo(name)
    head.size, head.mode = size, 0o600
    packed.write(head.tobuf(tarfile.GNU_FORMAT))


def _end_member(packed: gzip.GzipFile, size: int) -> None:
    packed.write(bytes(-size % tarfile.BLOCKSIZE))
