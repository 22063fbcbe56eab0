"""Writing and reading the register of use."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from sqlalchemy import Connection

from vidhub.audit import chain
from vidhub.audit.chain import Head
from vidhub.audit.export import seal_bytes
from vidhub.audit.refusals import Refusals
from vidhub.audit.search import Conditions, Search
from vidhub.audit.verify import Verdict, verify
from vidhub.errors import InvalidArgument, VidhubError
from vidhub.model import AuditEntry, AuditRecord
from vidhub.store import Store, meta
from vidhub.store.keyfiles import write_private
from vidhub.store.times import from_us, now, to_us

CHECKPOINT_EVERY = 1_000
CHECKPOINT_INTERVAL_S = 60.0
_MAX_TEXT = 1_024
_MAX_DETAIL = 16_384
# One page looks through so many entries at most, however few of them are asked for.
MOST_LOOKED_THROUGH = 20_000

_COLUMNS = f"chain_id, seq, time, {', '.join(chain.TEXTS)}, previous_hash, hash"
_INSERT = f"INSERT INTO audit_entries ({_COLUMNS}) VALUES ({', '.join('?' * 17)})"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """next_after: where the next page begins; empty on the last. searched_to: with it, how far back this one looked."""

    entries: list[AuditEntry]
    next_after: str
    searched_to: datetime | None = None


class _State(NamedTuple):
    """Moves with the writer's transactions. since: entries after the last checkpoint. total: of this process."""

    seq: int
    hash: bytes
    since: int
    checkpoint: int
    checkpoint_text: str
    total: int


class AuditLog:
    """One writer's chain. An entry is part of the transaction of what it records, so neither is without the other."""

    def __init__(
        self,
        store: Store,
        key: Ed25519PrivateKey,
        chain_id: str,
        state: _State,
        others: tuple[Head, ...],
        anchor: Path | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._key = key
        self._chain_id = chain_id
        self._state = self._durable = state
        self._others = others
        self._anchor = anchor
        self._anchor_is_evidence = False
        self._clock = clock
        self._refusals = Refusals(self.record, clock)
        self._refused: list[Callable[[AuditRecord, str], None]] = []
        store.join_transactions(self)

    @classmethod
    async def open(
        cls,
        store: Store,
        key: Ed25519PrivateKey,
        *,
        anchor: Path | None = None,
        clock: Callable[[], datetime] = now,
    ) -> AuditLog:
        """Take up the chain where it ended, and sign a checkpoint.

        anchor: a file that always holds the newest checkpoint, to be copied elsewhere: with it, a register that was
        cut short together with its checkpoints is found too. One that does not fit the store, as after a cut or after
        a copy was put back, is evidence: it is left as it is, on record, until somebody moves it away.
        """
        kept = await asyncio.to_thread(_read_anchor, anchor)

        def recover(conn: Connection) -> tuple[str, _State, tuple[Head, ...], bool]:
            chain_id = meta.get(conn, "audit_chain")
            if not chain_id:
                chain_id = uuid.uuid4().hex
                meta.put(conn, "audit_chain", chain_id)
            heads = _heads(conn)
            own = heads.pop(chain_id, Head(chain_id, 0, chain.ZERO))
            number = conn.exec_driver_sql("SELECT coalesce(max(number), 0) FROM audit_checkpoints").scalar_one()
            state = _State(own.seq, own.hash, 0, int(number), "", 0)
            return chain_id, state, tuple(sorted(heads.values())), kept is None or _fits(conn, kept)

        chain_id, state, others, fits = await store.write(recover)
        self = cls(store, key, chain_id, state, others, anchor, clock)
        if not fits:
            log.error("the register of use lacks what was signed: run `vidhub audit verify`", anchor=str(anchor))
            self._anchor_is_evidence = True
            record = AuditRecord("system", "audit.open", "audit", result="CHECKPOINT_MISSING")
            await store.write(lambda conn: self.append(conn, [record]))
        await self.checkpoint()
        return self

    async def close(self) -> None:
        """Write what is still counted, and sign the end. The store stays open."""
        await self._refusals.flush(everything=True)
        await self.checkpoint()

    async def run(self, interval_s: float = CHECKPOINT_INTERVAL_S) -> None:
        """Until cancelled: sign checkpoints and write out what was counted."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self._refusals.flush()
                if self._state.since:
                    await self.checkpoint()
            except VidhubError as error:
                log.warning("audit checkpoint not written", reason=error.reason)

    @property
    def chain_id(self) -> str:
        return self._chain_id

    @property
    def entries_total(self) -> int:
        """Durable entries written by this process."""
        return self._durable.total

    def append(self, conn: Connection, records: Sequence[AuditRecord]) -> list[AuditEntry]:
        """Add records to the chain, inside a work of the writer and never elsewhere."""
        time = self._clock()
        time_us = to_us(time)
        state = self._state
        seq, previous = state.seq, state.hash
        entries, rows = [], []
        for record in records:
            record = _bounded(record)
            texts = chain.texts_of(record)
            seq += 1
            hashed = chain.entry_hash(self._chain_id, seq, time_us, texts, previous)
            rows.append((self._chain_id, seq, time_us, *texts, previous, hashed))
            entries.append(AuditEntry(self._chain_id, seq, from_us(time_us), record, previous, hashed))
            previous = hashed
        if rows:
            conn.exec_driver_sql(_INSERT, rows)
            self._state = state._replace(
                seq=seq, hash=previous, since=state.since + len(rows), total=state.total + len(rows)
            )
            if self._state.since >= CHECKPOINT_EVERY:
                self._sign(conn)
        return entries

    def refusal(self, record: AuditRecord, *, hub_id: str = "") -> None:
        """Record a refusal, from the event loop: the first of its kind at once, a flood as one more entry, counted.

        hub_id: the linked hub that asked, for itself or for its people.
        """
        record = _bounded(record)
        self._refusals.add(record, hub_id=hub_id)
        for listener in self._refused:
            listener(record, hub_id)

    def on_refusal(self, listener: Callable[[AuditRecord, str], None]) -> None:
        """Called at each refusal, the folded ones too, with the linked hub that asked; it returns at once."""
        self._refused.append(listener)

    async def record(self, records: Sequence[AuditRecord]) -> None:
        """Records that stand alone, durable when it returns: what they tell of is in no transaction of the store."""
        await self._store.write(lambda conn: self.append(conn, records))

    async def checkpoint(self) -> int:
        """Its number."""
        return await self._store.write(self._sign)

    @property
    def public_key(self) -> Ed25519PublicKey:
        """Proves checkpoints and exports."""
        return self._key.public_key()

    async def seal_export(self, record: AuditRecord, sha256: bytes) -> bytes:
        """The signature of a file's SHA-256, once `record` of it is durable: none leaves without."""
        await self.record([record])
        return self._key.sign(seal_bytes(sha256))

    async def list(
        self,
        *,
        camera_id: str = "",
        principal: str = "",
        trace_id: str = "",
        session_id: str = "",
        action: str = "",
        purpose_kind: str = "",
        result: str = "",
        unit_id: str = "",
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 100,
        after: str = "",
    ) -> AuditPage:
        """Newest first. start is inclusive, end exclusive. unit_id: what the unit did, or was done with its cameras.
        result: as in the entries, or REFUSED.

        A page looks through MOST_LOOKED_THROUGH entries at most, so it may be short of `limit`, or empty, and have a
        next one. Raises InvalidArgument PAGE_TOKEN_INVALID.
        """
        search = Search(
            camera_id=camera_id,
            principal=principal,
            trace_id=trace_id,
            session_id=session_id,
            action=action,
            purpose_kind=purpose_kind,
            result=result,
            unit_id=unit_id,
            start=start,
            end=end,
        )
        # What an index leads to narrows what is looked through; the rest is asked of each entry.
        leads, asked = search.leads(), search.asked()
        if after:
            leads.add("(time, chain_id, seq) < (?, ?, ?)", *_parse_after(after))
        order = "ORDER BY time DESC, chain_id DESC, seq DESC LIMIT ?"
        furthest = f"SELECT time, chain_id, seq FROM audit_entries WHERE {leads} {order} OFFSET ?"

        def read(conn: Connection) -> AuditPage:
            within = Conditions()
            place = None
            if asked.values:
                place = conn.exec_driver_sql(furthest, (*leads.values, 1, MOST_LOOKED_THROUGH - 1)).first()
            if place is not None:
                within.add("(time, chain_id, seq) >= (?, ?, ?)", *place)
            rows = conn.exec_driver_sql(
                f"SELECT {_COLUMNS} FROM audit_entries WHERE {leads} AND {within} AND {asked} {order}",
                (*leads.values, *within.values, *asked.values, limit + 1),
            ).all()
            entries = [_entry(r) for r in rows[:limit]]
            if len(rows) > limit:
                last = entries[-1]
                return AuditPage(entries, f"{to_us(last.time)}.{last.chain_id}.{last.seq}", last.time)
            if place is None:
                return AuditPage(entries, "")
            return AuditPage(entries, f"{place[0]}.{place[1]}.{place[2]}", from_us(place[0]))

        return await self._store.read(read)

    async def verify(self) -> Verdict:
        """Prove the register, entry by entry, in bounded memory, while the hub runs."""
        head = Head(self._chain_id, self._durable.seq, self._durable.hash)
        anchor = await asyncio.to_thread(_read_anchor, self._anchor)
        public = self._key.public_key()
        return await self._store.read(lambda conn: verify(conn, public, known=head, anchor=anchor))

    # The writer's transactions.

    def mark(self) -> object:
        return self._state

    def restore(self, mark: object, /) -> None:
        if isinstance(mark, _State):
            self._state = mark

    def committed(self) -> None:
        signed = self._state.checkpoint != self._durable.checkpoint
        self._durable = self._state
        if signed and self._anchor is not None and not self._anchor_is_evidence:
            try:
                write_private(self._anchor, self._state.checkpoint_text.encode())
            except VidhubError as error:  # the checkpoint itself is in the store
                log.error("audit anchor not written", path=str(self._anchor), reason=error.reason)

    def _sign(self, conn: Connection) -> int:
        state = self._state
        number, time_us = state.checkpoint + 1, to_us(self._clock())
        heads = [*self._others, Head(self._chain_id, state.seq, state.hash)]
        signature = self._key.sign(chain.checkpoint_bytes(number, time_us, heads))
        conn.exec_driver_sql(
            "INSERT INTO audit_checkpoints (number, time, signature) VALUES (?, ?, ?)", (number, time_us, signature)
        )
        conn.exec_driver_sql(
            "INSERT INTO audit_heads (number, chain_id, seq, hash) VALUES (?, ?, ?, ?)",
            [(number, *head) for head in heads],
        )
        text = json.dumps(
            {
                "number": number,
                "time_us": time_us,
                "heads": [{"chain_id": h.chain_id, "seq": h.seq, "hash": h.hash.hex()} for h in heads],
                "signature": signature.hex(),
            },
            indent=1,
        )
        self._state = state._replace(since=0, checkpoint=number, checkpoint_text=text + "\n")
        return number


def _heads(conn: Connection) -> dict[str, Head]:
    rows = conn.exec_driver_sql(
        "SELECT e.chain_id, e.seq, e.hash FROM audit_entries e JOIN "
        "(SELECT chain_id, max(seq) AS seq FROM audit_entries GROUP BY chain_id) m "
        "ON e.chain_id = m.chain_id AND e.seq = m.seq"
    )
    return {r[0]: Head(r[0], int(r[1]), bytes(r[2])) for r in rows}


def _bounded(record: AuditRecord) -> AuditRecord:
    """Texts from outside are cut to a bound and made well-formed; they are recorded, not trusted."""
    changed: dict[str, str] = {}
    for name, text in zip(chain.TEXTS, chain.texts_of(record), strict=True):
        kept = text.encode("utf-8", "replace").decode()
        if name == "detail_json":
            if len(kept) > _MAX_DETAIL:
                kept = '{"truncated": true}'
        elif len(kept) > _MAX_TEXT:
            kept = kept[:_MAX_TEXT]
        if kept != text:
            changed[name] = kept
    return dataclasses.replace(record, **changed) if changed else record


def _entry(r: Any) -> AuditEntry:
    return AuditEntry(r[0], r[1], from_us(r[2]), chain.record_of(r[3:15]), r[15], r[16])


def _parse_after(after: str) -> list[Any]:
    time, _, rest = after.partition(".")
    chain_id, _, seq = rest.rpartition(".")
    try:
        values = [int(time), chain_id, int(seq)]
        if not chain_id or not all(-(2**63) <= v < 2**63 for v in (values[0], values[2]) if isinstance(v, int)):
            raise ValueError(after)
    except ValueError as cause:
        raise InvalidArgument("PAGE_TOKEN_INVALID", "the page token is not one of ours: list from the start") from cause
    return values


def _fits(conn: Connection, anchor: bytes) -> bool:
    """Whether the store holds the very checkpoint that the anchor holds."""
    try:
        text = json.loads(anchor)
        number, signature = int(text["number"]), bytes.fromhex(text["signature"])
        if not 0 < number < 2**63:
            return False
    except (ValueError, KeyError, TypeError):
        return False
    row = conn.exec_driver_sql("SELECT signature FROM audit_checkpoints WHERE number = ?", (number,)).first()
    return row is not None and row[0] == signature


def _read_anchor(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
