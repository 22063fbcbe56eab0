"""Digests of a shared catalogue: of everything, and of each range of ids, to find what differs without sending it.

Entries are (camera id, SHA-256 of its record as shared), in order of id.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

Entry = tuple[str, bytes]

# Cameras of a range: about 85 octets tell of 256.
RANGE = 256
# Ranges of one message: about 17 KiB.
RANGES_A_MESSAGE = 200


@dataclass(frozen=True, slots=True)
class Span:
    """Ids after `after` up to and including `last`; an empty `last` is open."""

    after: str
    last: str
    cameras: int
    sha256: bytes


def of(entries: Sequence[Entry]) -> bytes:
    """SHA-256 over the cameras' own digests in order of id."""
    return hashlib.sha256(b"".join([digest for _, digest in entries])).digest()


def spans(entries: Sequence[Entry]) -> list[Span]:
    """The whole space of ids, without gaps, in ranges of RANGE cameras."""
    cuts = list(range(RANGE, len(entries), RANGE))
    found = []
    after = ""
    for start, end in zip([0, *cuts], [*cuts, len(entries)], strict=True):
        part = entries[start:end]
        last = part[-1][0] if end < len(entries) else ""
        found.append(Span(after, last, len(part), of(part)))
        after = last
    return found


def ids_between(ids: Sequence[str], after: str, last: str) -> Sequence[str]:
    """Those of a range; `ids` are in order."""
    return ids[bisect_right(ids, after) : bisect_right(ids, last) if last else len(ids)]


def between(entries: Sequence[Entry], after: str, last: str) -> Sequence[Entry]:
    """Those of a range."""
    start = bisect_right(entries, after, key=_id)
    end = bisect_right(entries, last, key=_id) if last else len(entries)
    return entries[start:end]


def differs(entries: Sequence[Entry], span: Span) -> bool:
    """Whether what we hold of a range is not what the other side has there."""
    own = between(entries, span.after, span.last)
    return len(own) != span.cameras or of(own) != span.sha256


def _id(entry: Entry) -> str:
    return entry[0]
