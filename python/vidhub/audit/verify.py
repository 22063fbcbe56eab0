"""Proves the register of use: every hash, every seq, every checkpoint; bounded memory, one state of the store."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from vidhub.audit import chain
from vidhub.audit.chain import Head

_FETCH = 500
_COLUMNS = f"chain_id, seq, time, {', '.join(chain.TEXTS)}, previous_hash, hash"
_SHAPE = (str, int, int, *(str for _ in chain.TEXTS), bytes, bytes)


@dataclass(frozen=True, slots=True)
class Verdict:
    """first_bad: (chain_id, seq) where the register breaks; ("", 0) when it is a checkpoint that is bad."""

    intact: bool
    entries: int
    chains: int
    first_bad: tuple[str, int] | None = None
    reason: str = ""


class _BrokenError(Exception):
    def __init__(self, chain_id: str, seq: int, reason: str) -> None:
        super().__init__(reason)
        self.place = (chain_id, seq)
        self.reason = reason


def verify(
    conn: Connection, key: Ed25519PublicKey, *, known: Head | None = None, anchor: bytes | None = None
) -> Verdict:
    """known: a head that must be there. anchor: the newest checkpoint as kept outside the store."""
    driver: Any = conn.connection.driver_connection
    kept = driver.text_factory
    # Altered bytes need not be UTF-8; they must come out as what they are, not as an exception.
    driver.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    counted = _Counter()
    try:
        _check_checkpoints(conn, key, anchor)
        _check_chains(conn, known, counted)
    except _BrokenError as broken:
        return Verdict(False, counted.entries, counted.chains, broken.place, broken.reason)
    except DBAPIError:
        place = (counted.chain_id, counted.seq + 1)
        return Verdict(False, counted.entries, counted.chains, place, "the database file is damaged here")
    finally:
        driver.text_factory = kept
    return Verdict(True, counted.entries, counted.chains)


@dataclass(slots=True)
class _Counter:
    entries: int = 0
    chains: int = 0
    chain_id: str = ""
    seq: int = 0


def _check_checkpoints(conn: Connection, key: Ed25519PublicKey, anchor: bytes | None) -> None:
    anchored = None if anchor is None else _anchored(anchor, key)
    rows = conn.exec_driver_sql(
        "SELECT c.number, c.time, c.signature, h.chain_id, h.seq, h.hash FROM audit_checkpoints c "
        "LEFT JOIN audit_heads h ON h.number = c.number ORDER BY c.number, h.chain_id"
    )
    last = 0
    for number, group in groupby(_stream(rows), key=lambda r: r[0]):
        found = list(group)  # one row a chain, and chains are as many as writers
        if number != last + 1:
            raise _BrokenError("", 0, f"checkpoint {last + 1} is missing")
        last += 1
        _, time_us, signature = found[0][:3]
        try:
            signed = chain.checkpoint_bytes(number, time_us, [Head(*r[3:6]) for r in found])
            key.verify(signature, signed)
        except (InvalidSignature, TypeError, ValueError, AttributeError, struct.error):
            raise _BrokenError("", 0, f"checkpoint {number} was altered: its signature does not fit") from None
        if anchored is not None and anchored[0] == number and anchored[1] != signed:
            raise _BrokenError("", 0, f"checkpoint {number} is not the one kept outside the store")
    if anchored is not None and anchored[0] > last:
        raise _BrokenError("", 0, f"checkpoint {anchored[0]}, kept outside the store, is missing in it")
    orphan = conn.exec_driver_sql(
        "SELECT number FROM audit_heads WHERE number NOT IN (SELECT number FROM audit_checkpoints) LIMIT 1"
    ).first()
    if orphan is not None:
        raise _BrokenError("", 0, f"checkpoint {orphan[0]} is missing")


def _check_chains(conn: Connection, known: Head | None, counted: _Counter) -> None:
    """Walk entries and signed heads side by side, both in the order of (chain, seq)."""
    entries = _stream(conn.exec_driver_sql(f"SELECT {_COLUMNS} FROM audit_entries ORDER BY chain_id, seq"))
    heads = (
        Head(*r)
        for r in _stream(
            conn.exec_driver_sql("SELECT DISTINCT chain_id, seq, hash FROM audit_heads ORDER BY chain_id, seq")
        )
    )
    head = next(heads, None)
    row = next(entries, None)
    known_left = known is not None and known.seq > 0
    while row is not None or head is not None:
        if row is not None and not isinstance(row[0], str):
            raise _BrokenError("", 0, "an entry was altered: its chain has no name of ours")
        chain_id = min(x[0] for x in (row, head) if x is not None)
        counted.chain_id, counted.seq = chain_id, 0
        if head is None or head.chain_id != chain_id:
            raise _BrokenError(chain_id, 1, "no checkpoint knows this chain")
        last = Head(chain_id, 0, chain.ZERO)
        while row is not None and row[0] == chain_id:
            head = _meet(head, heads, last)
            last = _check_entry(row, last)
            counted.entries += 1
            counted.seq = last.seq
            if known is not None and (known.chain_id, known.seq) == (last.chain_id, last.seq):
                known_left = False
                if known.hash != last.hash:
                    raise _BrokenError(chain_id, last.seq, "this is not the entry that was written")
            row = next(entries, None)
        head = _meet(head, heads, last)
        if head is not None and head.chain_id == chain_id:
            raise _BrokenError(chain_id, last.seq + 1, f"entries up to {head.seq} were signed and are missing")
        if known is not None and known_left and known.chain_id == chain_id:
            raise _BrokenError(chain_id, last.seq + 1, f"entries up to {known.seq} were written and are missing")
        counted.chains += last.seq > 0
    if known is not None and known_left:
        raise _BrokenError(known.chain_id, 1, f"entries up to {known.seq} were written and are missing")


def _meet(head: Head | None, heads: Iterator[Head], last: Head) -> Head | None:
    """Compare the signed heads that stand at `last`; returns the next one."""
    while head is not None and head.chain_id == last.chain_id and head.seq <= last.seq:
        if head.seq == last.seq and head.hash != last.hash:
            raise _BrokenError(last.chain_id, last.seq, "this is not the entry that a checkpoint signed")
        head = next(heads, None)
    return head


def _check_entry(row: Any, last: Head) -> Head:
    chain_id, seq = last.chain_id, row[1]
    if not isinstance(seq, int) or seq > last.seq + 1:
        raise _BrokenError(chain_id, last.seq + 1, "this entry is missing")
    if seq < last.seq + 1:
        raise _BrokenError(chain_id, seq, "this entry is there twice" if seq == last.seq else "entries begin with 1")
    if not all(type(value) is kind for value, kind in zip(row, _SHAPE, strict=True)):
        raise _BrokenError(chain_id, seq, "this entry was altered: a field has another type")
    if row[15] != last.hash:
        raise _BrokenError(chain_id, seq, "this entry was altered: it does not follow the one before")
    try:
        hashed = chain.entry_hash(chain_id, seq, row[2], row[3:15], row[15])
    except (struct.error, UnicodeEncodeError):
        hashed = b""
    if hashed != row[16]:
        raise _BrokenError(chain_id, seq, "this entry was altered: its hash does not fit")
    return Head(chain_id, seq, row[16])


def _anchored(anchor: bytes, key: Ed25519PublicKey) -> tuple[int, bytes]:
    """(number, signed bytes) of the checkpoint kept outside."""
    try:
        text = json.loads(anchor)
        heads = [Head(str(h["chain_id"]), int(h["seq"]), bytes.fromhex(h["hash"])) for h in text["heads"]]
        signed = chain.checkpoint_bytes(int(text["number"]), int(text["time_us"]), heads)
        key.verify(bytes.fromhex(text["signature"]), signed)
        return int(text["number"]), signed
    except (InvalidSignature, ValueError, KeyError, TypeError, struct.error):
        raise _BrokenError("", 0, "the checkpoint kept outside the store was altered") from None


def _stream(rows: Any) -> Iterator[Any]:
    for part in rows.partitions(_FETCH):
        yield from part
