"""How entries and checkpoints become bytes, and the bytes hashes and signatures. Never changed, only added to.

An entry's hash is SHA-256 over: the tag "vidhub/audit/entry/1\\n"; chain_id; seq (8 bytes); time (8 bytes, signed,
microseconds since 1970 UTC); then principal, principal_unit, action, resource, purpose_kind, purpose_reference,
grant_id, session_id, source_address, result, detail_json, trace_id; then previous_hash. Numbers are big endian; every
text is UTF-8 behind its length in 4 bytes, so no two entries share an encoding. The first entry of a chain is seq 1
and follows 32 zero bytes.

A checkpoint signs (Ed25519, the hub's key): the tag "vidhub/audit/checkpoint/1\\n"; its number and time (8 bytes
each); the number of heads (4 bytes); then each head in the order of chain_id: chain_id as above, seq (8), hash (32).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vidhub.model import AuditRecord

ZERO = bytes(32)
ENTRY_TAG = b"vidhub/audit/entry/1\n"
CHECKPOINT_TAG = b"vidhub/audit/checkpoint/1\n"

# In the order of the encoding, which is also that of the table's columns after chain_id, seq and time.
TEXTS = (
    "principal",
    "principal_unit",
    "action",
    "resource",
    "purpose_kind",
    "purpose_reference",
    "grant_id",
    "session_id",
    "source_address",
    "result",
    "detail_json",
    "trace_id",
)

_LENGTH = struct.Struct(">I")
_PLACE = struct.Struct(">Qq")
_HEADS = struct.Struct(">QqI")
_SEQ = struct.Struct(">Q")


class Head(NamedTuple):
    """The last entry of a chain; seq 0 and zeros when it has none yet."""

    chain_id: str
    seq: int
    hash: bytes


def entry_hash(chain_id: str, seq: int, time_us: int, texts: Sequence[str], previous_hash: bytes) -> bytes:
    """Raises struct.error for numbers that no entry of ours holds."""
    parts = [ENTRY_TAG, *_text(chain_id), _PLACE.pack(seq, time_us)]
    for text in texts:
        parts += _text(text)
    parts.append(previous_hash)
    return hashlib.sha256(b"".join(parts)).digest()


def checkpoint_bytes(number: int, time_us: int, heads: Iterable[Head]) -> bytes:
    ordered = sorted(heads)
    parts = [CHECKPOINT_TAG, _HEADS.pack(number, time_us, len(ordered))]
    for head in ordered:
        parts += [*_text(head.chain_id), _SEQ.pack(head.seq), head.hash]
    return b"".join(parts)


def texts_of(record: AuditRecord) -> tuple[str, ...]:
    return (
        record.principal,
        record.principal_unit,
        record.action,
        record.resource,
        record.purpose_kind,
        record.purpose_reference,
        record.grant_id,
        record.session_id,
        record.source_address,
        record.result,
        record.detail_json,
        record.trace_id,
    )


def record_of(texts: Sequence[str]) -> AuditRecord:
    return AuditRecord(**dict(zip(TEXTS, texts, strict=True)))


def _text(text: str) -> tuple[bytes, bytes]:
    # surrogateescape: bytes that are no UTF-8 can only come from an altered file, and must not hash like others.
    data = text.encode("utf-8", "surrogateescape")
    return _LENGTH.pack(len(data)), data
