"""The register of use as a file that a third party can prove alone: entries, signed checkpoints, the hub's seal.

A file is a sequence of records, each a line of JSON or a row of CSV: one `header`, then `entry` after `entry` in the
order of their chains, then `checkpoint` after `checkpoint`, and one `seal`. Hashes and signatures are in hex, and are
of what `chain.py` says. The seal signs (Ed25519, the hub's key) the tag "vidhub/audit/export/1\\n" and the SHA-256 of
every byte before the line that it stands in. `exported.py` reads and proves what is written here.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from vidhub.audit import chain
from vidhub.audit.search import Search
from vidhub.errors import FailedPrecondition
from vidhub.store.engine import make_engine, translated
from vidhub.store.times import from_us

FORMAT = "vidhub/audit/export/1"
SEAL_TAG = f"{FORMAT}\n".encode()
FORMATS = ("jsonl", "csv")
# Entries looked through in one transaction: a long one would keep the hub's write-ahead log from shrinking.
_STRETCH = 2_000
# A spreadsheet takes a cell that begins so for a formula; behind an apostrophe it is text. The apostrophe itself is
# marked too, so that a reader knows which to take away.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
# Columns of CSV. Of records that are no entry `detail_json` has the whole.
COLUMNS = ("kind", "chain_id", "seq", "time", *chain.TEXTS, "previous_hash", "hash")

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """Of whom and up to where: what the hub said when the export began. checkpoint: the last one to go along."""

    hub_id: str
    key_pem: str
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Written:
    """entries, checkpoints: how many there are in the file. sha256: of all of it that the seal signs."""

    entries: int
    checkpoints: int
    sha256: bytes


def seal_bytes(sha256: bytes) -> bytes:
    """What the seal signs."""
    return SEAL_TAG + sha256


def write(
    file: BinaryIO,
    database: Path,
    source: Source,
    search: Search,
    *,
    format: str,
    told: Callable[[int, int], None],
) -> Written:
    """Everything but the seal. told: entries looked through, and all of them.

    Raises Unavailable STORE_UNAVAILABLE or STORE_CORRUPT, FailedPrecondition REGISTER_BROKEN, OSError of the file.
    """
    sink = _Sink(file, format)
    engine = make_engine(database, mode="read", connections=1, busy_timeout_s=5.0)

    def read(work: Callable[[Connection], Any]) -> Any:
        with engine.connect() as conn:
            return work(conn)

    try:
        sink.put(_header(source, search))
        heads = read(lambda conn: _ends(conn, source.checkpoint))
        total, seen, entries = sum(end for _, end in heads), 0, 0
        for chain_id, end in heads:
            for first in range(1, end + 1, _STRETCH):
                last = min(first + _STRETCH - 1, end)
                for row in read(_stretch(search, chain_id, first, last)):
                    sink.put(_entry(row))
                    entries += 1
                seen += last - first + 1
                told(seen, total)
        checkpoints, number = 0, 0
        while True:
            found: list[Record] = read(_checkpoints(search, source.checkpoint, number))
            if not found:
                break
            for record in found:
                sink.put(record)
            checkpoints += len(found)
            number = found[-1]["number"]
    except (TypeError, ValueError, OverflowError, AttributeError) as cause:
        raise FailedPrecondition(
            "REGISTER_BROKEN", "the register holds what no hub wrote: `vidhub audit verify` says where"
        ) from cause
    except DBAPIError as cause:
        raise translated(cause) from cause
    finally:
        engine.dispose()
    return Written(entries, checkpoints, sink.digest())


def seal(file: BinaryIO, written: Written, signature: bytes, *, format: str) -> None:
    """The last line."""
    _Sink(file, format, begun=True).put(
        {
            "kind": "seal",
            "entries": written.entries,
            "checkpoints": written.checkpoints,
            "sha256": written.sha256.hex(),
            "signature": signature.hex(),
        }
    )


def described(search: Search) -> dict[str, str]:
    """What was asked for, by name."""
    named = {
        **{name: getattr(search, name) for name in Search.__dataclass_fields__ if name not in ("start", "end")},
        "from": "" if search.start is None else _time(search.start),
        "to": "" if search.end is None else _time(search.end),
    }
    return {name: value for name, value in named.items() if value}


class _Sink:
    """Writes records as lines and remembers the digest of them all."""

    def __init__(self, file: BinaryIO, format: str, *, begun: bool = False) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._is_csv = format == "csv"
        if self._is_csv and not begun:
            # The mark by which spreadsheets know UTF-8.
            self._write("\ufeff" + _row(COLUMNS))

    def put(self, record: Record) -> None:
        if not self._is_csv:
            self._write(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
            return
        if record["kind"] != "entry":
            record = {"kind": record["kind"], "time": record.get("time", ""), "detail_json": json.dumps(record)}
        self._write(_row(_safe(str(record.get(column, ""))) for column in COLUMNS))

    def digest(self) -> bytes:
        return self._sha256.digest()

    def _write(self, text: str) -> None:
        data = text.encode()
        self._sha256.update(data)
        self._file.write(data)


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _row(cells: Any) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _header(source: Source, search: Search) -> Record:
    return {
        "kind": "header",
        "format": FORMAT,
        "hub_id": source.hub_id,
        "time": _time(datetime.now(UTC)),
        "filters": described(search),
        "checkpoint": source.checkpoint,
        "public_key_pem": source.key_pem,
    }


def _entry(row: Any) -> Record:
    texts: Mapping[str, str] = dict(zip(chain.TEXTS, row[3:15], strict=True))
    return {
        "kind": "entry",
        "chain_id": row[0],
        "seq": row[1],
        "time": _time(from_us(row[2])),
        **texts,
        "previous_hash": row[15].hex(),
        "hash": row[16].hex(),
    }


def _ends(conn: Connection, checkpoint: int) -> list[tuple[str, int]]:
    """(chain, its last signed entry), in the order in which chains began."""
    rows = conn.exec_driver_sql(
        "SELECT h.chain_id, h.seq FROM audit_heads h WHERE h.number = ? "
        "ORDER BY (SELECT min(f.number) FROM audit_heads f WHERE f.chain_id = h.chain_id), h.chain_id",
        (checkpoint,),
    )
    return [(str(row[0]), int(row[1])) for row in rows]


def _stretch(search: Search, chain_id: str, first: int, last: int) -> Callable[[Connection], list[Any]]:
    leads, asked = search.leads(), search.asked()

    def read(conn: Connection) -> list[Any]:
        rows = conn.exec_driver_sql(
            f"SELECT chain_id, seq, time, {', '.join(chain.TEXTS)}, previous_hash, hash FROM "
            "(SELECT * FROM audit_entries WHERE chain_id = ? AND seq BETWEEN ? AND ? ORDER BY seq LIMIT ?) "
            f"WHERE {leads} AND {asked} ORDER BY seq",
            (chain_id, first, last, _STRETCH, *leads.values, *asked.values),
        )
        return list(rows)

    return read


def _checkpoints(search: Search, until: int, after: int) -> Callable[[Connection], list[Record]]:
    """The next ones: all of them for the whole register, those of the time for a time, else the last alone."""
    within = Search(start=search.start, end=search.end)
    asked = within.leads()
    if search != within:
        asked.add("number = ?", until)

    def read(conn: Connection) -> list[Record]:
        rows = conn.exec_driver_sql(
            "SELECT c.number, c.time, c.signature, h.chain_id, h.seq, h.hash FROM "
            f"(SELECT * FROM audit_checkpoints WHERE number > ? AND number <= ? AND {asked} ORDER BY number LIMIT ?) c "
            "JOIN audit_heads h ON h.number = c.number ORDER BY c.number, h.chain_id",
            (after, until, *asked.values, _STRETCH),
        )
        return [_checkpoint(number, list(group)) for number, group in groupby(rows, key=lambda row: row[0])]

    return read


def _checkpoint(number: int, rows: list[Any]) -> Record:
    return {
        "kind": "checkpoint",
        "number": number,
        "time": _time(from_us(rows[0][1])),
        "heads": [{"chain_id": row[3], "seq": row[4], "hash": row[5].hex()} for row in rows],
        "signature": rows[0][2].hex(),
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
