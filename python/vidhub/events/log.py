"""The log of events: in memory whole, told at once, durable a moment later.

Each change of an event gives it the next number, and puts it behind all others. Whoever watches keeps no queue: they
are woken, and read on from the number that they have; what changed twice meanwhile is told once, as it is.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from vidhub.errors import VidhubError
from vidhub.events.kinds import Kind
from vidhub.events.sight import asks
from vidhub.model import Acknowledgement, AuditRecord, Event, Principal, Revision, Severity
from vidhub.store import Store, meta
from vidhub.store import events as table
from vidhub.store.times import now

MOST_EVENTS = 10_000
# Of those that ask for nothing.
MOST_INFO = 2_000
MOST_AGE = timedelta(days=90)
MOST_CAMERAS = 20
MOST_DETAIL = 2_048
# Numbers are given before they are durable. Those that may have been told of are reserved beforehand, so that none is
# given twice after a crash; past them nothing is told until the store takes it.
RESERVE = 10_000
_TRIM = 100
_CHUNK = 200
_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0

log = structlog.get_logger(__name__)

Append = Callable[[Connection, Sequence[AuditRecord]], object]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an event is about beside its subject. severity: other than its kind's."""

    reason: str = ""
    severity: Severity | None = None
    count: int = 1
    camera_ids: tuple[str, ...] = ()
    unit_id: str = ""
    region_code: str = ""
    hub_id: str = ""
    principal: str = ""
    detail: Mapping[str, object] | None = None


class EventLog:
    """Lives on the event loop; all but `acknowledge`, `run` and `flush` returns at once."""

    def __init__(
        self, store: Store, kept: Sequence[Event], epoch: str, reserved: int, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._clock = clock
        self._epoch = epoch
        self._reserved = reserved
        self._number = max([reserved, *(event.number for event in kept)])
        # By id; those that changed last at the end.
        self._events = {event.id: event for event in kept}
        self._lasting = {_key(event): event.id for event in kept if event.end_time is None}
        # Of each subject the event that ended last, to be resumed.
        self._last_ended: dict[tuple[str, str, str], str] = {}
        # Open folds by (kind, subject, reason, hub, person): the event, and until when more goes into it.
        self._folds: dict[tuple[str, ...], tuple[str, datetime]] = {}
        self._dirty: set[str] = set()
        self._gone: set[str] = set()
        self._moved = asyncio.Event()
        self._acknowledging: set[str] = set()
        self._listeners: list[Callable[[], None]] = []
        self._counts: dict[str, int] = {}

    @classmethod
    async def open(cls, store: Store, *, clock: Callable[[], datetime] = now) -> EventLog:
        def take_up(conn: Connection) -> tuple[list[Event], str, int]:
            kept = table.load(conn)
            reserved = table.reserved(conn)
            return kept, meta.epoch(conn), reserved

        kept, epoch, reserved = await store.read(take_up)
        return cls(store, kept, epoch, reserved, clock)

    # What the parts of the hub say.

    def begin(self, kind: Kind, subject: str, facts: Facts) -> Event:
        """It lasts until `end`. Said again while it lasts, it is changed where it says something else."""
        lasting = self.lasting(kind, subject, facts.hub_id)
        if lasting is None:
            return self._new(kind, subject, facts, ends=False)
        changed = replace(
            lasting,
            severity=kind.severity if facts.severity is None else facts.severity,
            reason=facts.reason,
            count=facts.count,
            camera_ids=facts.camera_ids[:MOST_CAMERAS],
            detail_json=_text(facts.detail),
        )
        return lasting if changed == lasting else self.put(replace(changed, last_time=self._clock()))

    def end(
        self,
        kind: Kind,
        subject: str,
        hub_id: str = "",
        *,
        detail: Mapping[str, object] | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Nothing happens when it does not last. detail, severity: other than they were."""
        lasting = self.lasting(kind, subject, hub_id)
        if lasting is not None:
            text = lasting.detail_json if detail is None else _text(detail)
            severity = lasting.severity if severity is None else severity
            self.put(replace(lasting, end_time=self._clock(), detail_json=text, severity=severity))

    def resume(self, kind: Kind, subject: str, reason: str, within: timedelta) -> Event | None:
        """Lets the one that ended last last again, unless that is too long ago or somebody has seen to it."""
        event = self._events.get(self._last_ended.get((kind.name, subject, ""), ""))
        time = self._clock()
        if event is None or event.end_time is None or not asks(event) or time - event.end_time > within:
            return None
        return self.put(replace(event, end_time=None, last_time=time, reason=reason))

    def happened(self, kind: Kind, subject: str, facts: Facts, *, fold_s: float = 60.0) -> Event:
        """It has no duration. The same again within `fold_s` of the first is counted with it."""
        time = self._clock()
        key = (kind.name, subject, facts.reason, facts.hub_id, facts.principal)
        found = self._folds.get(key)
        event = self._events.get(found[0]) if found is not None else None
        if found is None or event is None or not timedelta() <= found[1] - time <= timedelta(seconds=fold_s):
            event = self._new(kind, subject, facts, ends=True)
            self._sweep(time)
            self._folds[key] = (event.id, time + timedelta(seconds=fold_s))
            return event
        cameras = tuple(dict.fromkeys((*event.camera_ids, *facts.camera_ids)))[:MOST_CAMERAS]
        severity = event.severity if facts.severity is None else max(event.severity, facts.severity)
        changed = replace(
            event,
            count=event.count + facts.count,
            camera_ids=cameras,
            severity=severity,
            last_time=time,
            end_time=time,
        )
        return self.put(changed)

    def folded(self, kind: Kind, subject: str, facts: Facts) -> int:
        """How many are counted together with this by now."""
        found = self._folds.get((kind.name, subject, facts.reason, facts.hub_id, facts.principal))
        event = self._events.get(found[0]) if found is not None and found[1] > self._clock() else None
        return 0 if event is None else event.count

    def lasting(self, kind: Kind, subject: str, hub_id: str = "") -> Event | None:
        return self._events.get(self._lasting.get((kind.name, subject, hub_id), ""))

    def all_lasting(self, kind: Kind) -> list[Event]:
        return [self._events[event_id] for key, event_id in self._lasting.items() if key[0] == kind.name]

    def put(self, event: Event) -> Event:
        """Takes the event as it is now, under a new number."""
        before = self._events.pop(event.id, None)
        self._number += 1
        event = replace(event, number=self._number)
        self._events[event.id] = event
        key = _key(event)
        if event.end_time is None:
            self._lasting[key] = event.id
        elif self._lasting.get(key) == event.id:
            del self._lasting[key]
            self._last_ended[key] = event.id
        self._dirty.add(event.id)
        if before is None:
            self._counts[event.kind] = self._counts.get(event.kind, 0) + 1
            self._trim()
        if self._number <= self._reserved:
            self._wake()
        self._moved.set()
        return event

    async def acknowledge(self, principal: Principal, event: Event, note: str, append: Append) -> Event:
        """On record when it returns. append: the register of use.

        Raises what the store raises. That nobody has before is the caller's to see to, by `is_acknowledged`.
        """
        known = Acknowledgement(principal.ref, self._clock(), note)
        record = AuditRecord.of(
            principal,
            "event.acknowledge",
            event.subject,
            detail_json=json.dumps({"event": event.id, "kind": event.kind, "note": note}, ensure_ascii=False),
        )

        def work(conn: Connection) -> None:
            table.put(conn, [replace(self._events.get(event.id, event), acknowledgement=known)])
            append(conn, [record])

        def apply(_: None) -> None:
            now_ = self._events.get(event.id)
            if now_ is not None:
                self.put(replace(now_, acknowledgement=known))

        self._acknowledging.add(event.id)
        try:
            await self._store.write(work, apply=apply)
        finally:
            self._acknowledging.discard(event.id)
        return self._events.get(event.id) or replace(event, acknowledgement=known)

    def is_acknowledged(self, event: Event) -> bool:
        """By somebody, or just being."""
        held = self._events.get(event.id)
        return event.id in self._acknowledging or (held is not None and held.acknowledgement is not None)

    # What there is.

    @property
    def revision(self) -> Revision:
        """Of the newest change that may be told of."""
        return Revision(self._epoch, min(self._number, self._reserved))

    def get(self, event_id: str) -> Event | None:
        return self._events.get(event_id)

    def newest_first(self) -> Sequence[Event]:
        return tuple(reversed(self._events.values()))

    def since(self, number: int) -> list[Event]:
        """What changed after `number`, in the order of the changes, up to `revision`."""
        found: list[Event] = []
        for event in reversed(self._events.values()):
            if event.number <= number:
                break
            if event.number <= self._reserved:
                found.append(event)
        found.reverse()
        return found

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called at each change that may be told of; it returns at once."""
        self._listeners.append(listener)

    def figures(self) -> tuple[Mapping[str, int], int, int]:
        """Events since the start by kind; how many last; how many ask for somebody."""
        return self._counts, len(self._lasting), sum(map(asks, self._events.values()))

    # Durability.

    async def run(self) -> None:
        """Until cancelled: writes what changes, again and again while the store refuses."""
        pause = _PAUSE_S
        while True:
            await self._moved.wait()
            try:
                await self.flush()
                pause = _PAUSE_S
            except VidhubError as error:
                log.warning("events wait for the store", waiting=len(self._dirty), reason=error.reason)
                self._moved.set()
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause)

    async def reserve(self) -> None:
        """Before the first event is told."""
        await self._write([], [], self._number + RESERVE)

    async def flush(self) -> None:
        """Writes all that waits now. Raises VidhubError when the store refuses; it waits on then."""
        self._moved.clear()
        waiting, gone = list(self._dirty), list(self._gone)
        for place in range(0, max(len(waiting), len(gone)), _CHUNK):
            dirty = [self._events[one] for one in waiting[place : place + _CHUNK] if one in self._events]
            removed = gone[place : place + _CHUNK]
            wanted = self._number + RESERVE if self._reserved - self._number < RESERVE // 2 else self._reserved
            await self._write(dirty, removed, wanted)
            self._gone.difference_update(removed)
            # One that has changed meanwhile waits on.
            self._dirty.difference_update(event.id for event in dirty if self._events.get(event.id) is event)

    async def _write(self, dirty: Sequence[Event], gone: Sequence[str], reserved: int) -> None:
        def work(conn: Connection) -> None:
            table.put(conn, dirty)
            table.delete(conn, gone)
            if reserved != self._reserved:
                table.reserve(conn, reserved)

        await self._store.write(work, bulk=True)
        if reserved != self._reserved:
            self._reserved = reserved
            self._wake()

    # Inside.

    def _new(self, kind: Kind, subject: str, facts: Facts, *, ends: bool) -> Event:
        time = self._clock()
        return self.put(
            Event(
                id=f"e{int(time.timestamp() * 1000):011x}{secrets.token_hex(6)}",
                number=0,
                kind=kind.name,
                severity=kind.severity if facts.severity is None else facts.severity,
                subject=subject,
                reason=facts.reason,
                count=facts.count,
                camera_ids=facts.camera_ids[:MOST_CAMERAS],
                unit_id=facts.unit_id,
                region_code=facts.region_code,
                hub_id=facts.hub_id,
                principal=facts.principal,
                detail_json=_text(facts.detail),
                begin_time=time,
                last_time=time,
                end_time=time if ends else None,
            )
        )

    def _wake(self) -> None:
        for listener in self._listeners:
            listener()

    def _sweep(self, time: datetime) -> None:
        """Folds that are over; at most one stays for each event there is."""
        if len(self._folds) >= 256:
            self._folds = {key: one for key, one in self._folds.items() if one[1] > time and one[0] in self._events}

    def _trim(self) -> None:
        """Too many, or too old: first what somebody has seen to, then what is over, then what is oldest."""
        oldest = next(iter(self._events.values()))
        is_old = oldest.last_time < self._clock() - MOST_AGE and oldest.end_time is not None
        if is_old:
            self._remove(oldest)
        if len(self._events) > MOST_INFO and self._number % _TRIM == 0:  # counting them costs
            infos = [one for one in self._events.values() if one.severity is Severity.INFO and one.end_time is not None]
            for event in infos[: max(len(infos) - MOST_INFO, 0)]:
                self._remove(event)
        if len(self._events) <= MOST_EVENTS:
            return
        by_worth = sorted(self._events.values(), key=lambda one: (_worth(one), one.number))
        for event in by_worth[: len(self._events) - MOST_EVENTS + _TRIM]:
            self._remove(event)

    def _remove(self, event: Event) -> None:
        del self._events[event.id]
        for by_key in (self._lasting, self._last_ended):
            if by_key.get(_key(event)) == event.id:
                del by_key[_key(event)]
        self._dirty.discard(event.id)
        self._gone.add(event.id)


def _worth(event: Event) -> int:
    if event.end_time is None:
        return 2
    return 0 if event.acknowledgement is not None or event.severity is Severity.INFO else 1


def _key(event: Event) -> tuple[str, str, str]:
    return event.kind, event.subject, event.hub_id


def _text(detail: Mapping[str, object] | None) -> str:
    text = json.dumps(detail, ensure_ascii=False) if detail else ""
    return text if len(text.encode()) <= MOST_DETAIL else '{"truncated": true}'
