"""Sessions that linked hubs ask for: each is judged here as if its viewer stood at this hub's own door, and on record.

The viewer is a person of the asking hub, or of one behind it; what carries them is the grant to the hub that asks.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from vidhub.access.beyond import Asked
from vidhub.access.book import SessionBook
from vidhub.access.purposes import PUBLISH, Purposes
from vidhub.audit import AuditLog
from vidhub.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, VidhubError
from vidhub.model import AuditRecord, Principal, Profile, Purpose, Session
from vidhub.store import Secrets, Store, sessions

# Of one person of another hub.
MOST_PER_VIEWER = 64
# What the viewer reads, who can't see how the two hubs share.
_REMEDIES = {
    "NO_GRANT": "the camera is not shared with your hub for this: the administrators of the two hubs agree on it",
    "PURPOSE_NOT_GRANTED": "the camera is shared with your hub for other purposes: ask its administrator",
}


class ForeignSessions:
    """What other hubs may ask of this one."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: Secrets,
        audit: AuditLog,
        purposes: Purposes,
        book: SessionBook,
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._audit = audit
        self._purposes = purposes
        self._book = book

    async def open(
        self, viewer: Principal, camera_id: str, purpose: Purpose, profile: Profile, asked: Asked
    ) -> Session:
        """On record before it answers; where the camera is of yet another hub, that one has been asked. A refusal is on
        record too, and raised."""
        try:
            tidy = self._check(purpose)
            if self._book.count(viewer.ref) >= MOST_PER_VIEWER:
                raise ResourceExhausted("LIMIT_SESSIONS", f"{MOST_PER_VIEWER} views of theirs are open here")
            decision = self._book.judge(viewer, camera_id, tidy)
            return await self._book.open(viewer, camera_id, tidy, profile, decision, asked=asked)
        except VidhubError as error:
            _remedied(error)
            self._book.refused(viewer, camera_id, purpose, error)
            raise

    async def renew(self, session_id: str, expire_time: datetime, *, trace_id: str = "") -> Session:
        """Judges again. Raises as `open`, and FailedPrecondition SESSION_ENDED.

        trace_id: of the viewer's own call, "" for that by which the session was opened.
        """
        self._book.check_open(session_id)
        session = await self._store.read(lambda conn: sessions.get(conn, session_id, self._secrets))
        viewer = self._book.viewer(session_id)
        if session is None or viewer is None:
            self._book.check_open(session_id)
            raise NotFound("SESSION_NOT_FOUND", "there is no such session")
        viewer = _by_call(viewer, trace_id)
        try:
            return await self._book.renew(viewer, session, at_most=expire_time)
        except (PermissionDenied, NotFound) as error:
            _remedied(error)
            self._book.refused(viewer, session.camera_id, session.purpose, error)
            raise

    async def still(self, session_id: str, *, trace_id: str = "") -> None:
        """Somebody who watches from elsewhere takes a still there: judged, and on record, before they may.

        trace_id: as for `renew`.

        Raises PermissionDenied, FailedPrecondition SESSION_ENDED, NotFound, and what `Beyond` raises.
        """
        self._book.check_open(session_id)
        session = await self._store.read(lambda conn: sessions.get(conn, session_id))
        viewer = self._book.viewer(session_id)
        if session is None or viewer is None:
            raise NotFound("SESSION_NOT_FOUND", "there is no such session")
        viewer = _by_call(viewer, trace_id)
        facts = {
            "purpose_kind": session.purpose.kind,
            "purpose_reference": session.purpose.reference,
            "session_id": session.id,
        }
        resource = f"camera/{session.camera_id}"
        try:
            decision = await self._book.may_take_still(viewer, session)
        except VidhubError as error:
            _remedied(error)
            self._audit.refusal(
                AuditRecord.of(viewer, "camera.snapshot.refused", resource, result=error.reason, **facts),
                hub_id=viewer.hub_id,
            )
            raise error.recorded() from None
        entry = AuditRecord.of(viewer, "camera.snapshot", resource, grant_id=decision.grant_id, **facts)
        await self._store.write(lambda conn: self._audit.append(conn, [entry]))
        self._book.check_open(session_id)

    def _check(self, purpose: Purpose) -> Purpose:
        """By this hub's own register."""
        tidy = self._purposes.check(purpose)
        if tidy.kind == PUBLISH:
            raise InvalidArgument("PURPOSE_UNKNOWN", "publish is for units, with which they push their own cameras")
        return tidy


def _by_call(viewer: Principal, trace_id: str) -> Principal:
    return replace(viewer, trace_id=trace_id) if trace_id else viewer


def _remedied(error: VidhubError) -> None:
    """With the message for somebody of another hub; what a hub further on said stays."""
    if not error.refused_by:
        error.message = _REMEDIES.get(error.reason, error.message)
