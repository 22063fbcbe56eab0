"""Proves a file that `export.py` wrote, by the file alone: no hub, no data directory, bounded memory."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain as joined
from itertools import islice
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import IntegrityError

from vidhub.audit import chain
from vidhub.audit import export as writing
from vidhub.audit.chain import Head
from vidhub.audit.export import COLUMNS, FORMAT, FORMULA, Record, Written, seal_bytes
from vidhub.audit.verify import Verdict, verify
from vidhub.errors import InvalidArgument
from vidhub.store.tables import metadata
from vidhub.store.times import to_us

# The longest record: texts of 1,024 characters and details of 16,384, in JSON of at most six octets each, and the heads
# of all chains that there ever were.
_LONGEST_LINE = 1 << 20
_TABLES = [metadata.tables[name] for name in ("audit_entries", "audit_checkpoints", "audit_heads")]
_ENTRY_COLUMNS = ("chain_id", "seq", "time", *chain.TEXTS, "previous_hash", "hash")
_BATCH = 1_000
_MARK = b"\xef\xbb\xbf"
# What reading a record raises that somebody else wrote.
_FOREIGN = (KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error, csv.Error)


@dataclass(frozen=True, slots=True)
class Proof:
    """is_whole: the file is of the whole register up to its last checkpoint; else of a search, of which each entry is
    proved by its own hash, and all of them by the seal. key_sha256: of the key that sealed it, see `key_digest`."""

    verdict: Verdict
    hub_id: str
    time: str
    filters: dict[str, str]
    is_whole: bool
    checkpoints: int
    key_sha256: str


class _BadError(Exception):
    """A finding about the file."""


def key_digest(key: Ed25519PublicKey) -> str:
    """SHA-256, in hex, of the 32 octets of a public key: what one compares by another way."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def prove(path: Path, *, key_sha256: str = "") -> Proof:
    """key_sha256: of the key that the hub is known by; without it the file's own is believed, and its digest told.

    Needs room for a copy of the file in the directory for temporary files. Raises InvalidArgument EXPORT_INVALID for
    what is no export, FILE_NOT_READ.
    """
    try:
        header, key = _header(path)
        filters = dict(header["filters"])
        proof = Proof(
            Verdict(True, 0, 0), str(header["hub_id"]), str(header["time"]), filters, not filters, 0, key_digest(key)
        )
        wanted = key_sha256.strip().lower()
        try:
            if wanted and wanted != proof.key_sha256:
                raise _BadError("it is sealed by another key than the one that was given")
            seal = _seal(path, key)
            with tempfile.TemporaryDirectory(prefix="vidhub-proof-") as place:
                verdict, checkpoints = _judged(path, key, Path(place) / "register.db", is_whole=proof.is_whole)
            if verdict.intact and (verdict.entries, checkpoints) != (seal.get("entries"), seal.get("checkpoints")):
                raise _BadError("it holds other numbers of records than its seal says")
        except _BadError as bad:
            return replace(proof, verdict=Verdict(False, 0, 0, ("", 0), str(bad)))
        return replace(proof, verdict=verdict, checkpoints=checkpoints)
    except OSError as cause:
        raise InvalidArgument(
            "FILE_NOT_READ", f"{path}: {cause.strerror}: check the path, who may read it, and the room in $TMPDIR"
        ) from cause


def _header(path: Path) -> tuple[Record, Ed25519PublicKey]:
    """Raises InvalidArgument EXPORT_INVALID."""
    try:
        header = next(_records(path))
        key = load_pem_public_key(header["public_key_pem"].encode())
        if header["kind"] != "header" or header["format"] != FORMAT or not isinstance(key, Ed25519PublicKey):
            raise ValueError(header["kind"])
        dict(header["filters"]), header["hub_id"], header["time"]
    except (StopIteration, _BadError, *_FOREIGN) as cause:
        raise InvalidArgument(
            "EXPORT_INVALID", f"{path} does not begin as `vidhub audit export` writes it: choose another file"
        ) from cause
    return header, key


def _seal(path: Path, key: Ed25519PublicKey) -> Record:
    """The last line, which signs all before it."""
    with path.open("rb") as file:
        begin = max(0, file.seek(0, 2) - _LONGEST_LINE)
        file.seek(begin)
        tail = file.read().rstrip(b"\r\n")
        start = tail.rfind(b"\n") + 1
        try:
            seal = next(_parsed([tail[start:].decode()], is_csv=_is_csv(path)))
            if seal["kind"] != "seal":
                raise ValueError(seal["kind"])
        except (StopIteration, *_FOREIGN) as cause:
            raise _BadError("it has no seal: it was cut short") from cause
        digest, left = hashlib.sha256(), begin + start
        file.seek(0)
        while left > 0 and (data := file.read(min(left, 1 << 20))):
            digest.update(data)
            left -= len(data)
    try:
        if bytes.fromhex(seal["sha256"]) != digest.digest():
            raise ValueError(seal["sha256"])
        signature = bytes.fromhex(seal["signature"])
        key.verify(signature, seal_bytes(digest.digest()))
        # It does not sign its own line, so nothing may stand there but what was written.
        line, written = io.BytesIO(), Written(seal["entries"], seal["checkpoints"], digest.digest())
        writing.seal(line, written, signature, format="csv" if _is_csv(path) else "jsonl")
        if line.getvalue().rstrip(b"\r\n") != tail[start:]:
            raise ValueError(tail[start:])
    except (InvalidSignature, *_FOREIGN) as cause:
        raise _BadError("it was altered: the seal does not fit") from cause
    return seal


def _judged(path: Path, key: Ed25519PublicKey, register: Path, *, is_whole: bool) -> tuple[Verdict, int]:
    """The verdict on what the file holds, and its checkpoints. It becomes a register again, and is proved as one."""
    engine = create_engine(f"sqlite:///{register}")
    try:
        with engine.begin() as conn:
            # Nobody needs it after a crash.
            conn.exec_driver_sql("PRAGMA synchronous=OFF")
            metadata.create_all(conn, tables=_TABLES)
            checkpoints = _load(conn, _records(path))
        with engine.connect() as conn:
            return verify(conn, key) if is_whole else _verify_part(conn, key), checkpoints
    except IntegrityError as cause:
        raise _BadError("it holds a record twice") from cause
    except _FOREIGN as cause:
        raise _BadError("it holds what no hub wrote") from cause
    finally:
        engine.dispose()


def _load(conn: Connection, records: Iterator[Record]) -> int:
    """How many checkpoints there are."""
    insert = f"INSERT INTO audit_entries ({', '.join(_ENTRY_COLUMNS)}) VALUES ({', '.join('?' * 17)})"
    checkpoints = 0
    next(records)
    while batch := list(islice(records, _BATCH)):
        entries = [_row(record) for record in batch if record["kind"] == "entry"]
        signed = [record for record in batch if record["kind"] == "checkpoint"]
        if entries:
            conn.exec_driver_sql(insert, entries)
        for record in signed:
            number = record["number"]
            conn.exec_driver_sql(
                "INSERT INTO audit_checkpoints (number, time, signature) VALUES (?, ?, ?)",
                (number, _us(record["time"]), bytes.fromhex(record["signature"])),
            )
            heads = [(number, h["chain_id"], h["seq"], bytes.fromhex(h["hash"])) for h in record["heads"]]
            if heads:
                conn.exec_driver_sql("INSERT INTO audit_heads (number, chain_id, seq, hash) VALUES (?, ?, ?, ?)", heads)
        checkpoints += len(signed)
        if len(entries) + len(signed) + sum(record["kind"] == "seal" for record in batch) != len(batch):
            raise _BadError("it holds a record of no kind of ours")
    return checkpoints


def _verify_part(conn: Connection, key: Ed25519PublicKey) -> Verdict:
    """Each entry by its hash, neighbours by the hash of the one before, and what checkpoints sign of them."""
    for number, time_us, signature in conn.exec_driver_sql("SELECT number, time, signature FROM audit_checkpoints"):
        rows = conn.exec_driver_sql("SELECT chain_id, seq, hash FROM audit_heads WHERE number = ?", (number,))
        try:
            key.verify(signature, chain.checkpoint_bytes(number, time_us, [Head(*row) for row in rows]))
        except InvalidSignature:
            return Verdict(False, 0, 0, ("", 0), f"checkpoint {number} was altered: its signature does not fit")
    last = Head("", 0, chain.ZERO)
    entries, chains = 0, 0
    for row in conn.exec_driver_sql(f"SELECT {', '.join(_ENTRY_COLUMNS)} FROM audit_entries ORDER BY chain_id, seq"):
        chain_id, seq, previous, found = row[0], row[1], row[15], row[16]
        if chain.entry_hash(chain_id, seq, row[2], row[3:15], previous) != found:
            return Verdict(False, entries, chains, (chain_id, seq), "this entry was altered: its hash does not fit")
        if (last.chain_id, last.seq) == (chain_id, seq - 1) and previous != last.hash:
            return Verdict(
                False, entries, chains, (chain_id, seq), "this entry was altered: it does not follow the one before"
            )
        chains += chain_id != last.chain_id
        entries += 1
        last = Head(chain_id, seq, found)
    foreign = conn.exec_driver_sql(
        "SELECT e.chain_id, e.seq FROM audit_entries e JOIN audit_heads h "
        "ON h.chain_id = e.chain_id AND h.seq = e.seq WHERE h.hash <> e.hash ORDER BY 1, 2 LIMIT 1"
    ).first()
    if foreign is not None:
        return Verdict(
            False, entries, chains, (foreign[0], foreign[1]), "this is not the entry that a checkpoint signed"
        )
    return Verdict(True, entries, chains)


def _records(path: Path) -> Iterator[Record]:
    is_csv = _is_csv(path)
    with path.open(encoding="utf-8-sig" if is_csv else "utf-8", newline="") as text:
        yield from _parsed(_lines(text), is_csv=is_csv, named=is_csv)


def _lines(text: Any) -> Iterator[str]:
    while line := text.readline(_LONGEST_LINE):
        yield line


def _parsed(lines: Any, *, is_csv: bool, named: bool = False) -> Iterator[Record]:
    """named: the first line names the columns."""
    if not is_csv:
        yield from (cast("Record", json.loads(line)) for line in lines)
        return
    csv.field_size_limit(_LONGEST_LINE)
    rows = csv.reader(lines)
    if named and tuple(next(rows, ())) != COLUMNS:
        raise _BadError("its columns are others")
    yield from map(_of_cells, rows)


def _of_cells(cells: list[str]) -> Record:
    plain = (cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell for cell in cells)
    record: Record = dict(zip(COLUMNS, plain, strict=True))
    if record["kind"] != "entry":
        return cast("Record", json.loads(record["detail_json"]))
    return {**record, "seq": int(record["seq"])}


def _is_csv(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MARK)) == _MARK


def _row(record: Record) -> tuple[Any, ...]:
    """An entry as the store has it."""
    texts = (record[name] for name in chain.TEXTS)
    hashes = (bytes.fromhex(record["previous_hash"]), bytes.fromhex(record["hash"]))
    return tuple(joined((record["chain_id"], record["seq"], _us(record["time"])), texts, hashes))


def _us(text: str) -> int:
    return to_us(datetime.fromisoformat(text))
