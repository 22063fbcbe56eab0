"""The book of open sessions: each judged, put on record, and only then known to the core. No audit, no video.

Who may ask for one stands above: people and units (`sessions.py`), and other hubs for theirs (`foreign.py`).
"""

from __future__ import annotations

import json
import secrets as randomness
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from vidhub.access import hours
from vidhub.access.beyond import Asked, Beyond, Nowhere, Wish
from vidhub.access.ends import End, Ends
from vidhub.access.ids import new_id
from vidhub.access.judging import REMEDIES, judge
from vidhub.access.purposes import PUBLISH
from vidhub.audit import AuditLog
from vidhub.core import Core
from vidhub.errors import FailedPrecondition, NotFound, PermissionDenied, VidhubError
from vidhub.model import (
    Action,
    AuditRecord,
    CoreEvent,
    Decision,
    Principal,
    PrincipalKind,
    Profile,
    Purpose,
    Session,
)
from vidhub.store import Secrets, Store, grants, sessions

_ALPHABET = string.ascii_letters + string.digits


class SessionBook:
    """Which sessions are open, and how many of each principal; the core ends them, and that comes back as events."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: Secrets,
        audit: AuditLog,
        core: Core,
        ends: Ends,
        hub_id: str,
        session_ttl_s: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._audit = audit
        self._core = core
        self._ends = ends
        self._system = Principal(PrincipalKind.SYSTEM, hub_id=hub_id)
        self._ttl = timedelta(seconds=session_ttl_s)
        self._clock = clock
        self._beyond: Beyond = Nowhere()
        self._count: Counter[str] = Counter()
        # Raised each time somebody loses all their sessions, so that one being opened meanwhile is noticed.
        self._cuts: Counter[str] = Counter()
        # Of each session: who holds it, and its camera.
        self._open: dict[str, tuple[Principal, str]] = {}
        self._on_camera: Counter[str] = Counter()
        self._opened: list[Callable[[Session], None]] = []

    def on_opened(self, listener: Callable[[Session], None]) -> None:
        """Called for each session that is on record and open; it returns at once."""
        self._opened.append(listener)

    def reach(self, beyond: Beyond) -> None:
        """The way to the cameras of other hubs, once there is one."""
        self._beyond = beyond

    # What is open.

    def count(self, ref: str) -> int:
        """Open sessions of that principal."""
        return self._count[ref]

    def viewer(self, session_id: str) -> Principal | None:
        """Who holds the session, as they were when it was opened; None when it is not open."""
        found = self._open.get(session_id)
        return found[0] if found is not None else None

    def is_watched(self, camera_id: str) -> bool:
        """Whether a session on the camera is open."""
        return self._on_camera[camera_id] > 0

    def check_open(self, session_id: str) -> None:
        """Raises FailedPrecondition SESSION_ENDED."""
        if session_id not in self._open:
            end = self._ends.waiting().get(session_id)
            raise ended("" if end is None else end.reason)

    def as_now(self, session: Session, earlier: Mapping[str, End]) -> Session:
        """A session as read from the store, with an end that is not on record yet. earlier: `not_on_record` as it was
        before the store was read."""
        end = earlier.get(session.id) or self._ends.waiting().get(session.id)
        if end is None or session.end_time is not None:
            return session
        return replace(session, end_time=end.time, end_reason=end.reason)

    def not_on_record(self) -> Mapping[str, End]:
        """Ends of sessions whose pictures are over, and that the store does not have yet."""
        return self._ends.waiting()

    def ended(self, events: Sequence[CoreEvent]) -> None:
        """Takes `session_ended` events of the core: the places are free."""
        for event in events:
            self._forget(event.subject)

    def is_of_other_hub(self, camera_id: str) -> bool:
        """Raises NotFound CAMERA_NOT_FOUND."""
        return self._core.is_foreign(camera_id)

    def judge(self, principal: Principal, camera_id: str, purpose: Purpose) -> Decision:
        action = Action.PUBLISH if purpose.kind == PUBLISH else Action.VIEW_LIVE
        return judge(self._core, principal, action, camera_id, purpose)

    # Life of a session.

    async def open(
        self,
        principal: Principal,
        camera_id: str,
        purpose: Purpose,
        profile: Profile,
        decision: Decision,
        *,
        asked: Asked | None = None,
    ) -> Session:
        """Asks the hub that the camera is of, puts the session on record, judges again, and tells the core.

        decision: by `judge`, in this turn of the loop.
        Raises PermissionDenied, NotFound CAMERA_NOT_FOUND, and what `Beyond` raises.
        """
        cuts = self._cuts[principal.ref]
        now = self._clock()
        bound = until(now + self._ttl, decision.valid_until)
        if asked is not None:
            bound = min(bound, asked.expire_time)
        session = self.new(principal, camera_id, purpose, profile, decision.grant_id, now, bound, asked=asked)
        is_far = purpose.kind != PUBLISH and self.is_of_other_hub(camera_id)
        is_admitted = False

        def apply(_: None) -> None:
            nonlocal is_admitted
            try:
                # What was right before the write may not be any more.
                if self.judge(principal, camera_id, purpose).grant_id != session.grant_id:
                    raise PermissionDenied("NO_GRANT", REMEDIES["NO_GRANT"])
                if self._cuts[principal.ref] != cuts:
                    reason = "CERTIFICATE_REVOKED" if principal.kind is PrincipalKind.UNIT else "USER_SUSPENDED"
                    raise PermissionDenied(reason, "your access ended while the session was being opened")
                if is_far and not self._beyond.holds(session.id):
                    raise PermissionDenied("SESSION_TERMINATED", "the camera's hub ended the view as it was opened")
                self.admit(principal, session)
                is_admitted = True
            except VidhubError as error:
                self._forget(session.id)
                self._ends.add(session.id, self._clock(), error.reason)
                raise

        self._book(session, principal)
        reason = "SESSION_CLOSED"
        try:
            if is_far:
                path = asked.path if asked is not None else ()
                wish = Wish(session, principal, Action.VIEW_LIVE, decision.valid_until, path)
                session = replace(session, expire_time=min(session.expire_time, await self._beyond.ask(wish)))
            await self._store.write(lambda conn: self.record(conn, principal, session), apply=apply)
        except BaseException as error:  # also of a caller who left: what waits in the queue then is never written
            if isinstance(error, VidhubError):
                reason = error.reason
            if not is_admitted:
                self._forget(session.id)
                if is_far:
                    self._beyond.drop(session.id, reason)
            raise
        for listener in self._opened:
            listener(session)
        return session

    async def renew(self, principal: Principal, session: Session, *, at_most: datetime | None = None) -> Session:
        """Until the session's time from now, at most to the end of its grant, and `at_most`.

        Raises PermissionDenied, NotFound CAMERA_NOT_FOUND, FailedPrecondition SESSION_ENDED, and what `Beyond` raises.
        """
        now = self._clock()
        self.check_open(session.id)
        decision = self.judge(principal, session.camera_id, session.purpose)
        grant = None
        if session.grant_id:
            grant = await self._store.read(lambda conn: grants.get(conn, session.grant_id))
        bound = decision.valid_until
        if grant is not None:
            held = hours.stretch(grant, now)
            if held is None or not held.holds(now):
                raise ended("SESSION_EXPIRED")
            bound = held.end
        expire_time = until(until(now + self._ttl, bound), at_most)
        if self.is_of_other_hub(session.camera_id):
            trace_id = principal.trace_id
            expire_time = min(expire_time, await self._beyond.renew(session.id, expire_time, trace_id=trace_id))
        renewed = replace(session, expire_time=expire_time)

        def work(conn: Connection) -> None:
            if not sessions.renew(conn, session.id, renewed.expire_time):
                raise ended("")
            detail = json.dumps({"expire_time": renewed.expire_time.isoformat()})
            self._audit.append(conn, [entry(principal, "session.renew", renewed, detail)])

        def apply(_: None) -> None:
            try:
                self._core.renew_session(session.id, renewed.expire_time)
            except NotFound:  # it ended while we wrote; the end is on its way to the record
                raise ended("") from None

        await self._store.write(work, apply=apply)
        return renewed

    async def may_take_still(self, principal: Principal, session: Session) -> Decision:
        """Whether a still may be taken of what the session watches; the hub that the camera is of is asked as well.

        Raises PermissionDenied, NotFound CAMERA_NOT_FOUND, and what `Beyond` raises.
        """
        decision = judge(self._core, principal, Action.SNAPSHOT, session.camera_id, session.purpose)
        if self.is_of_other_hub(session.camera_id):
            await self._beyond.still(Wish(session, principal, Action.SNAPSHOT, decision.valid_until))
        return decision

    async def end(
        self, session_id: str, reason: str, *, actor: Principal | None = None, note: str = "", by_hub: str = ""
    ) -> None:
        """Cuts the picture first, then waits until that is on record."""
        self.cut(session_id, reason, actor=actor, note=note, by_hub=by_hub)
        await self._ends.recorded(session_id)

    def cut(
        self, session_id: str, reason: str, *, actor: Principal | None = None, note: str = "", by_hub: str = ""
    ) -> None:
        """Cuts the picture; the record follows. by_hub: the hub that ended it, where it was another."""
        self._core.end_session(session_id, reason)
        self._forget(session_id)
        self._ends.add(session_id, self._clock(), reason, actor=actor, note=note, by_hub=by_hub)

    def end_all_of(self, kind: PrincipalKind, principal_id: str, reason: str) -> int:
        """Ends whatever this person or unit watches, and what they are opening just now."""
        self._cuts[f"{kind.value}/{principal_id}"] += 1
        return self._core.end_sessions_of(kind, principal_id, reason)

    # Its parts, for what opens sessions in other ways.

    def new(
        self,
        principal: Principal,
        camera_id: str,
        purpose: Purpose,
        profile: Profile,
        grant_id: str,
        now: datetime,
        expire_time: datetime,
        *,
        asked: Asked | None = None,
    ) -> Session:
        return Session(
            id=new_id("s", now),
            camera_id=camera_id,
            principal=principal.ref,
            viewer_name=_name(principal),
            purpose=purpose,
            grant_id=grant_id,
            profile=Profile.AUTO if profile is Profile.UNSPECIFIED else profile,
            open_time=now,
            expire_time=expire_time,
            rtsp_user=f"v{randomness.token_hex(8)}",
            rtsp_password=_password(),
            asked_by_hub_id=asked.hub_id if asked is not None else "",
            view_id=asked.view_id if asked is not None else "",
            trace_id=principal.trace_id,
        )

    def record(self, conn: Connection, principal: Principal, session: Session) -> None:
        """Inside a writer's work."""
        sessions.insert(conn, session, self._secrets)
        facts = {"profile": session.profile.name.lower(), "expire_time": session.expire_time.isoformat()}
        if session.asked_by_hub_id:
            facts |= {"asked_by_hub": session.asked_by_hub_id, "view": session.view_id}
        self._audit.append(conn, [entry(principal, "session.open", session, json.dumps(facts))])

    def admit(self, principal: Principal, session: Session, *, connections: int = 1) -> None:
        self._core.open_session(
            session.id,
            principal,
            session.camera_id,
            profile=session.profile,
            purpose=session.purpose.kind,
            grant_id=session.grant_id,
            expire_time=session.expire_time,
            rtsp_user=session.rtsp_user,
            rtsp_password=session.rtsp_password,
            connections=connections,
        )
        self._book(session, principal)

    def refused(self, principal: Principal, camera_id: str, purpose: Purpose, error: VidhubError) -> None:
        """A refusal is on record too, with the hub that refused where it was another."""
        self._audit.refusal(
            AuditRecord.of(
                principal,
                "session.refused",
                f"camera/{camera_id[:40]}",
                result=error.reason,
                purpose_kind=purpose.kind[:64],
                purpose_reference=purpose.reference[:128],
                detail_json=json.dumps({"by_hub": error.refused_by}) if error.refused_by else "",
            ),
            hub_id="" if principal.hub_id == self._system.hub_id else principal.hub_id,
        )
        error.on_record = True

    def _book(self, session: Session, principal: Principal) -> None:
        if session.id not in self._open:
            self._open[session.id] = principal, session.camera_id
            self._count[principal.ref] += 1
            self._on_camera[session.camera_id] += 1

    def _forget(self, session_id: str) -> None:
        found = self._open.pop(session_id, None)
        if found is not None:
            for counter, key in ((self._count, found[0].ref), (self._on_camera, found[1])):
                counter[key] -= 1
                if counter[key] <= 0:
                    del counter[key]


def _password() -> str:
    """24 characters, 142 random bits, drawn at once: the machine is asked for randomness by a system call each time."""
    drawn, characters = int.from_bytes(randomness.token_bytes(32)), ""
    for _ in range(24):
        drawn, place = divmod(drawn, len(_ALPHABET))
        characters += _ALPHABET[place]
    return characters


def until(wanted: datetime, bound: datetime | None) -> datetime:
    return wanted if bound is None else min(wanted, bound)


def _name(principal: Principal) -> str:
    """As others read it: of a person of another hub with that hub, "Li (province)"."""
    name, _, home = principal.id.partition("@")
    return f"{principal.display_name or name}{f' ({home})' if home else ''}"


def entry(principal: Principal, action: str, session: Session, detail: str) -> AuditRecord:
    """What the holder of a session did with it."""
    return AuditRecord.of(
        principal,
        action,
        f"camera/{session.camera_id}",
        purpose_kind=session.purpose.kind,
        purpose_reference=session.purpose.reference,
        grant_id=session.grant_id,
        session_id=session.id,
        detail_json=detail,
    )


def ended(reason: str) -> FailedPrecondition:
    because = f" ({reason})" if reason else ""
    return FailedPrecondition("SESSION_ENDED", f"the session has ended{because}: open a new one")
