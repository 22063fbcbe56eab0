"""Putting the ends of sessions on record: each exactly once, whoever ended it, and not lost when the disk is full."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog
from sqlalchemy import Connection

from vidhub.audit import AuditLog
from vidhub.errors import VidhubError
from vidhub.model import AuditRecord, CoreEvent, Principal, Session
from vidhub.store import Store, sessions

_CHUNK = 200
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class End:
    """How a session ended. actor, note: who terminated another's, and why they say. by_hub: the other hub that did."""

    time: datetime
    reason: str
    actor: Principal | None = None
    note: str = ""
    by_hub: str = ""


@dataclass(slots=True)
class _Waiting:
    end: End
    futures: list[asyncio.Future[None]] = field(default_factory=list)


class Ends:
    """The ends that are not on record yet; at most one for each session that was open."""

    def __init__(self, store: Store, audit: AuditLog) -> None:
        self._store = store
        self._audit = audit
        self._waiting: dict[str, _Waiting] = {}
        self._arrived = asyncio.Event()
        self._listeners: list[Callable[[Session, End], None]] = []

    def on_recorded(self, listener: Callable[[Session, End], None]) -> None:
        """Called once for each end that is on record; it returns at once."""
        self._listeners.append(listener)

    def take(self, events: Sequence[CoreEvent]) -> None:
        """Takes `session_ended` events of the core."""
        for event in events:
            self.add(event.subject, event.time, event.reason)

    def add(
        self,
        session_id: str,
        time: datetime,
        reason: str,
        *,
        actor: Principal | None = None,
        note: str = "",
        by_hub: str = "",
    ) -> None:
        """The first end counts."""
        if session_id not in self._waiting:
            self._waiting[session_id] = _Waiting(End(time, reason, actor, note, by_hub))
        self._arrived.set()

    def waiting(self) -> dict[str, End]:
        """Those that are not on record yet, by session."""
        return {session_id: waiting.end for session_id, waiting in self._waiting.items()}

    async def recorded(self, session_id: str) -> None:
        """Returns when the end is durable, at once when none is waiting; raises what the store raised."""
        waiting = self._waiting.get(session_id)
        if waiting is not None:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting.futures.append(future)
            await future

    async def run(self) -> None:
        """Until cancelled: writes what arrives, again and again while the store refuses."""
        pause = _FIRST_PAUSE_S
        while True:
            await self._arrived.wait()
            try:
                await self.flush()
                pause = _FIRST_PAUSE_S
            except VidhubError as error:
                log.warning("ends of sessions wait for the store", waiting=len(self._waiting), reason=error.reason)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def flush(self) -> None:
        """Writes all that waits now. Raises VidhubError when the store refuses; it waits on then."""
        self._arrived.clear()
        while self._waiting:
            chunk = {session_id: self._waiting[session_id] for session_id in list(self._waiting)[:_CHUNK]}
            try:
                written = await self._store.write(lambda conn, chunk=chunk: self._write(conn, chunk))  # type: ignore[misc]
            except VidhubError as error:
                self._arrived.set()
                for waiting in chunk.values():
                    _settle(waiting, error)
                raise
            for session_id, waiting in chunk.items():
                del self._waiting[session_id]
                _settle(waiting, None)
            for session, end in written:
                for listener in self._listeners:
                    listener(session, end)

    def _write(self, conn: Connection, chunk: dict[str, _Waiting]) -> list[tuple[Session, End]]:
        written = ((write_end(conn, self._audit, one, waiting.end), waiting.end) for one, waiting in chunk.items())
        return [(session, end) for session, end in written if session is not None]


def write_end(conn: Connection, audit: AuditLog, session_id: str, end: End) -> Session | None:
    """Inside a writer's work. None when it stood on record before."""
    if not sessions.end(conn, session_id, end.time, end.reason):
        return None
    session = sessions.get(conn, session_id)
    assert session is not None  # its row was written above
    entries = [close_entry(session, end.reason, by_hub=end.by_hub)]
    if end.actor is not None:
        detail = json.dumps({"reason": end.note, "viewer": session.principal}, ensure_ascii=False)
        entries.append(
            replace(
                AuditRecord.of(end.actor, "session.terminate", f"camera/{session.camera_id}", detail_json=detail),
                session_id=session_id,
                grant_id=session.grant_id,
            )
        )
    audit.append(conn, entries)
    return session


def close_entry(session: Session, reason: str, *, by_hub: str = "") -> AuditRecord:
    """The one closing record of a session; under the viewer, whoever ended it, and under the trace of its opening."""
    detail = {"end_reason": reason, **({"by_hub": by_hub} if by_hub else {})}
    return AuditRecord(
        principal=session.principal,
        action="session.close",
        resource=f"camera/{session.camera_id}",
        purpose_kind=session.purpose.kind,
        purpose_reference=session.purpose.reference,
        grant_id=session.grant_id,
        session_id=session.id,
        detail_json=json.dumps(detail),
        trace_id=session.trace_id,
    )


def _settle(waiting: _Waiting, error: Exception | None) -> None:
    futures, waiting.futures = waiting.futures, []
    for future in futures:
        if not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
