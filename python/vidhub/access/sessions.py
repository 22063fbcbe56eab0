"""Sessions: asked for with a purpose, put on record, and only then shown a picture. No audit, no video.

A unit opens one too, to push a camera of its own; on record it is a session like any other.
"""

from __future__ import annotations

import json
import secrets as randomness
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from vidhub import paging
from vidhub.access.addresses import MediaAddresses
from vidhub.access.ends import End, Ends, write_end
from vidhub.access.ids import new_id
from vidhub.access.judging import REMEDIES, judge
from vidhub.access.purposes import PUBLISH, Purposes
from vidhub.audit import AuditLog
from vidhub.core import Core
from vidhub.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    VidhubError,
)
from vidhub.model import (
    Action,
    AuditRecord,
    CoreEvent,
    Decision,
    OpenedSession,
    Principal,
    PrincipalKind,
    Profile,
    Purpose,
    RenewedSession,
    Role,
    Session,
    SessionPage,
    Ticket,
    User,
)
from vidhub.store import Secrets, Store, cameras, certificates, grants, sessions, users

MOST_PER_PRINCIPAL = 64
# As many as there may be streams on one hub: a unit may push every camera that it has.
MOST_PUSHED = 4_096
MOST_CONNECTIONS = 10_000
_BENCH_TTL = timedelta(hours=1)
_ALPHABET = string.ascii_letters + string.digits
_SEE_ALL = frozenset({Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR, Role.ADMINISTRATOR})
_TERMINATORS = frozenset({Role.SUPERVISOR, Role.ADMINISTRATOR})


class Sessions:
    """Opens, renews, closes, lists and terminates sessions; the core ends them, and the ends come back as events."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: Secrets,
        audit: AuditLog,
        core: Core,
        purposes: Purposes,
        ends: Ends,
        hub_id: str,
        ticket_ttl_s: float,
        session_ttl_s: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._audit = audit
        self._core = core
        self._purposes = purposes
        self._ends = ends
        self._hub_id = hub_id
        self._ticket_ttl_s = ticket_ttl_s
        self._session_ttl = timedelta(seconds=session_ttl_s)
        self._clock = clock
        self._addresses = MediaAddresses()
        self._count: Counter[str] = Counter()
        # Raised each time somebody loses all their sessions, so that one being opened meanwhile is noticed.
        self._cuts: Counter[str] = Counter()
        self._open: dict[str, str] = {}

    def serve_at(self, addresses: MediaAddresses) -> None:
        self._addresses = addresses

    # Life of a session.

    async def open(
        self, principal: Principal, camera_id: str, purpose: Purpose, *, profile: Profile = Profile.AUTO
    ) -> OpenedSession:
        """On record before it answers. A refusal is on record too."""
        try:
            tidy = self._purposes.check(purpose)
            most = MOST_PER_PRINCIPAL
            if tidy.kind == PUBLISH:
                self._own(principal, camera_id)
                most = MOST_PUSHED
                if profile is not Profile.SUB:  # nobody chooses: what is not the sub stream is the main one
                    profile = Profile.MAIN
            self._judge(principal, camera_id, tidy)
            if self._count[principal.ref] >= most:
                raise ResourceExhausted("LIMIT_SESSIONS", f"{most} sessions of yours are open: close one first")
            return await self._open_judged(principal, camera_id, tidy, profile)
        except (InvalidArgument, PermissionDenied, NotFound, ResourceExhausted) as error:
            self._refused(principal, camera_id, purpose, error)
            raise

    async def open_for_bench(self, camera_id: str, viewers: int) -> OpenedSession:
        """One ticket for many connections, for load programs; offered only where the hub runs with `bench`."""
        if not 1 <= viewers <= MOST_CONNECTIONS:
            raise InvalidArgument("VIEWERS_INVALID", f"give 1 to {MOST_CONNECTIONS} viewers")
        system = Principal(PrincipalKind.SYSTEM, hub_id=self._hub_id, display_name="bench")
        self._core.get_camera(system, camera_id)
        now = self._clock()
        session = self._new(system, camera_id, Purpose("maintenance"), Profile.AUTO, "", now, now + _BENCH_TTL)
        await self._store.write(
            lambda conn: self._record(conn, system, session),
            apply=lambda _: self._admit(system, session, connections=viewers),
        )
        return self._opened(session, self._core.issue_ticket(session.id, _BENCH_TTL.total_seconds()))

    async def own(self, principal: Principal, session_id: str) -> Session:
        """One's own session, which is open. Raises NotFound SESSION_NOT_FOUND, FailedPrecondition SESSION_ENDED."""
        session = await self._store.read(lambda conn: sessions.get(conn, session_id))
        if session is None or session.principal != principal.ref:
            raise _no_session(session_id)
        if session.end_time is not None:
            raise _ended(session.end_reason)
        self.check_open(session_id)
        return session

    def check_open(self, session_id: str) -> None:
        """Raises FailedPrecondition SESSION_ENDED."""
        if session_id not in self._open:
            raise _ended("")

    async def renew(self, principal: Principal, session_id: str) -> RenewedSession:
        """Until the session's time from now, at most to the end of its grant; with a fresh ticket.

        Raises NotFound SESSION_NOT_FOUND, FailedPrecondition SESSION_ENDED, and what `open` raises.
        """
        now = self._clock()

        def read(conn: Connection) -> tuple[Session | None, datetime | None]:
            found = sessions.get(conn, session_id, self._secrets)
            grant = grants.get(conn, found.grant_id) if found is not None and found.grant_id else None
            return found, grant.not_after if grant is not None else None

        session, grant_end = await self._store.read(read)
        if session is None or session.principal != principal.ref:
            raise _no_session(session_id)
        if session.end_time is not None or session_id not in self._open:
            raise _ended(session.end_reason)
        try:
            decision = self._judge(principal, session.camera_id, session.purpose)
        except (PermissionDenied, NotFound) as error:
            self._refused(principal, session.camera_id, session.purpose, error)
            raise
        bound = grant_end if grant_end is not None else decision.valid_until
        if bound is not None and bound <= now:
            raise _ended("SESSION_EXPIRED")
        renewed = replace(session, expire_time=_until(now + self._session_ttl, bound))

        def work(conn: Connection) -> None:
            if not sessions.renew(conn, session_id, renewed.expire_time):
                raise _ended("")
            detail = json.dumps({"expire_time": renewed.expire_time.isoformat()})
            self._audit.append(conn, [_entry(principal, "session.renew", renewed, detail)])

        def apply(_: None) -> None:
            try:
                self._core.renew_session(session_id, renewed.expire_time)
            except NotFound:  # it ended while we wrote; the end is on its way to the record
                raise _ended("") from None

        await self._store.write(work, apply=apply)
        try:
            return RenewedSession(renewed, self._core.issue_ticket(session_id, self._ticket_ttl_s))
        except NotFound:
            raise _ended("") from None

    async def close(self, principal: Principal, session_id: str) -> None:
        """Ends one's own. Closing what has ended is no error."""
        session = await self._store.read(lambda conn: sessions.get(conn, session_id))
        if session is None or session.principal != principal.ref:
            raise _no_session(session_id)
        if session.end_time is None:
            await self._end(session_id, "SESSION_CLOSED")

    async def terminate(self, principal: Principal, session_id: str, reason: str) -> None:
        """Ends another's, with a reason: the camera's unit, supervisors, administrators.

        Raises NotFound SESSION_NOT_FOUND, FailedPrecondition SESSION_ENDED.
        """
        reason = reason.strip()
        if not reason:
            raise InvalidArgument("REASON_MISSING", "say why the session is ended: the record keeps it")
        may_all = principal.kind is PrincipalKind.SYSTEM or bool(_TERMINATORS & principal.roles)

        def read(conn: Connection) -> tuple[Session | None, str]:
            found = sessions.get(conn, session_id)
            camera = cameras.get(conn, found.camera_id) if found is not None else None
            return found, camera.unit_id if camera is not None else ""

        session, unit_id = await self._store.read(read)
        is_owner = bool(principal.unit_id) and _is_of_unit(principal) and principal.unit_id == unit_id
        if not may_all and not _is_of_unit(principal):
            raise PermissionDenied(
                "ROLE_NOT_PERMITTED", "sessions are ended by the camera's unit, supervisors and administrators"
            )
        if session is None or not (may_all or is_owner):
            raise _no_session(session_id)
        if session.end_time is not None or session_id not in self._open:
            raise _ended(session.end_reason)
        await self._end(session_id, "SESSION_TERMINATED", actor=principal, note=reason)

    async def list(
        self,
        principal: Principal,
        *,
        camera_id: str = "",
        include_ended: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> SessionPage:
        """One's own; for units those on their cameras; for supervising roles all. Newest first."""
        question = (principal.ref, camera_id, include_ended)
        after = paging.after("sessions", question, page_token)
        limit = paging.size(page_size)
        sees_all = principal.kind is PrincipalKind.SYSTEM or bool(_SEE_ALL & principal.roles)
        is_of_unit = not sees_all and _is_of_unit(principal)
        found = await self._store.read(
            lambda conn: sessions.list_page(
                conn,
                camera_id=camera_id,
                principal="" if sees_all or is_of_unit else principal.ref,
                camera_unit_id=principal.unit_id if is_of_unit else "",
                include_ended=include_ended,
                limit=limit + 1,
                after=after,
            )
        )
        more = found[limit - 1].id if len(found) > limit else None
        return SessionPage(tuple(found[:limit]), paging.token("sessions", question, more))

    def end_all_of(self, kind: PrincipalKind, principal_id: str, reason: str) -> int:
        """Ends whatever this person or unit watches, and what they are opening just now."""
        self._cuts[f"{kind.value}/{principal_id}"] += 1
        return self._core.end_sessions_of(kind, principal_id, reason)

    # Across starts.

    async def reload(self, *, was_clean: bool) -> None:
        """At start-up, after cameras and grants. What a crash left open is closed with SESSION_LOST; after a clean
        stop the sessions go on, and can be renewed."""
        now = self._clock()

        def read(conn: Connection) -> tuple[list[Session], dict[str, User], set[str]]:
            held = (one for one in certificates.load(conn, now) if one.kind == "unit" and one.revoke_time is None)
            people = {user.name: user for user in users.load(conn)}
            return sessions.load_open(conn, self._secrets), people, {one.subject_id for one in held}

        left, people, units = await self._store.read(read)
        lost: list[tuple[str, End]] = []
        for session in left:
            reason = "SESSION_LOST" if not was_clean else self._take_up(session, people, units, now)
            if reason:
                lost.append((session.id, End(now, reason)))

        for start in range(0, len(lost), 200):
            part = lost[start : start + 200]

            def work(conn: Connection, part: list[tuple[str, End]] = part) -> None:
                for session_id, end in part:
                    write_end(conn, self._audit, session_id, end)

            await self._store.write(work)

    def media_refused(self, events: Sequence[CoreEvent]) -> None:
        """Takes `media_refused` events of the core: who was turned away at a media port is on record too."""
        for event in events:
            facts = json.loads(event.detail)
            session_id = facts["session"]
            self._audit.refusal(
                AuditRecord(
                    principal=self._open.get(session_id, ""),
                    action="media.refused",
                    resource=f"camera/{event.subject}",
                    result=event.reason,
                    session_id=session_id,
                    source_address=facts["address"],
                    detail_json=json.dumps({"protocol": facts["protocol"]}),
                )
            )

    def ended(self, events: Sequence[CoreEvent]) -> None:
        """Takes `session_ended` events of the core: the places are free."""
        for event in events:
            self._forget(event.subject)

    # Inside.

    async def _open_judged(
        self, principal: Principal, camera_id: str, purpose: Purpose, profile: Profile
    ) -> OpenedSession:
        cuts = self._cuts[principal.ref]
        now = self._clock()
        decision = self._judge(principal, camera_id, purpose)
        expire_time = _until(now + self._session_ttl, decision.valid_until)
        session = self._new(principal, camera_id, purpose, profile, decision.grant_id, now, expire_time)
        is_admitted = False

        def apply(_: None) -> None:
            nonlocal is_admitted
            try:
                # What was right before the write may not be any more.
                again = self._judge(principal, camera_id, purpose)
                if again.grant_id != session.grant_id:
                    raise PermissionDenied("NO_GRANT", REMEDIES["NO_GRANT"])
                if self._cuts[principal.ref] != cuts:
                    reason = "CERTIFICATE_REVOKED" if principal.kind is PrincipalKind.UNIT else "USER_SUSPENDED"
                    raise PermissionDenied(reason, "your access ended while the session was being opened")
                self._admit(principal, session)
                is_admitted = True
            except VidhubError as error:
                self._forget(session.id)
                self._ends.add(session.id, self._clock(), error.reason)
                raise

        self._open[session.id] = principal.ref
        self._count[principal.ref] += 1
        try:
            await self._store.write(lambda conn: self._record(conn, principal, session), apply=apply)
        except BaseException:  # also of a caller who left: what waits in the queue then is never written
            if not is_admitted:
                self._forget(session.id)
            raise
        try:
            ticket = self._core.issue_ticket(session.id, self._ticket_ttl_s)
        except NotFound:  # ended between the two, by a revocation in the same turn
            raise Unavailable("SESSION_ENDED", "the session ended as it was opened: open it again") from None
        opened = self._opened(session, ticket)
        return opened if purpose.kind == PUBLISH else replace(opened, watermark=_watermark(principal, now))

    def _opened(self, session: Session, ticket: Ticket) -> OpenedSession:
        publishes = session.purpose.kind == PUBLISH
        return OpenedSession(
            session=session,
            ticket=ticket,
            whep_url="" if publishes else self._addresses.whep(session.camera_id),
            mse_url="" if publishes else self._addresses.mse(session.camera_id),
            whip_url=self._addresses.whip(session.camera_id) if publishes else "",
            rtsp_url=self._addresses.rtsp_with_ticket(session.camera_id, ticket.text),
        )

    def _new(
        self,
        principal: Principal,
        camera_id: str,
        purpose: Purpose,
        profile: Profile,
        grant_id: str,
        now: datetime,
        expire_time: datetime,
    ) -> Session:
        return Session(
            id=new_id("s", now),
            camera_id=camera_id,
            principal=principal.ref,
            viewer_name=principal.display_name or principal.id,
            purpose=purpose,
            grant_id=grant_id,
            profile=Profile.AUTO if profile is Profile.UNSPECIFIED else profile,
            open_time=now,
            expire_time=expire_time,
            rtsp_user=f"v{randomness.token_hex(8)}",
            rtsp_password="".join(randomness.choice(_ALPHABET) for _ in range(24)),
        )

    def _record(self, conn: Connection, principal: Principal, session: Session) -> None:
        sessions.insert(conn, session, self._secrets)
        detail = json.dumps({"profile": session.profile.name.lower(), "expire_time": session.expire_time.isoformat()})
        self._audit.append(conn, [_entry(principal, "session.open", session, detail)])

    def _admit(self, principal: Principal, session: Session, *, connections: int = 1) -> None:
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
        if session.id not in self._open:
            self._open[session.id] = session.principal
            self._count[session.principal] += 1

    def _judge(self, principal: Principal, camera_id: str, purpose: Purpose) -> Decision:
        action = Action.PUBLISH if purpose.kind == PUBLISH else Action.VIEW_LIVE
        return judge(self._core, principal, action, camera_id, purpose)

    def _own(self, principal: Principal, camera_id: str) -> None:
        """Raises NotFound CAMERA_NOT_FOUND for the camera of another unit: it is none of theirs to know of."""
        if principal.kind is not PrincipalKind.UNIT:
            raise InvalidArgument("PURPOSE_UNKNOWN", "publish is for units, with which they push their own cameras")
        camera = self._core.get_camera(principal, camera_id)
        if camera.unit_id != principal.unit_id:
            raise NotFound("CAMERA_NOT_FOUND", f"your unit has no camera {camera_id[:40]}")

    def _refused(self, principal: Principal, camera_id: str, purpose: Purpose, error: VidhubError) -> None:
        self._audit.refusal(
            AuditRecord.of(
                principal,
                "session.refused",
                f"camera/{camera_id[:40]}",
                result=error.reason,
                purpose_kind=purpose.kind[:64],
                purpose_reference=purpose.reference[:128],
            )
        )
        error.on_record = True

    def _forget(self, session_id: str) -> None:
        ref = self._open.pop(session_id, None)
        if ref is not None:
            self._count[ref] -= 1
            if self._count[ref] <= 0:
                del self._count[ref]

    async def _end(self, session_id: str, reason: str, *, actor: Principal | None = None, note: str = "") -> None:
        """Cuts the picture first, then waits until that is on record."""
        self._core.end_session(session_id, reason)
        self._forget(session_id)
        self._ends.add(session_id, self._clock(), reason, actor=actor, note=note)
        await self._ends.recorded(session_id)

    def _take_up(self, session: Session, people: dict[str, User], units: set[str], now: datetime) -> str:
        """Gives a session of the last run back to the core; the reason why not, or "".

        units: those that hold a good certificate.
        """
        if session.expire_time <= now:
            return "SESSION_EXPIRED"
        kind, _, name = session.principal.partition("/")
        if kind == PrincipalKind.UNIT.value:
            if name not in units:
                return "CERTIFICATE_REVOKED"
            principal = Principal(PrincipalKind.UNIT, name, hub_id=self._hub_id, unit_id=name)
        else:
            user = people.get(name)
            if kind != PrincipalKind.USER.value or user is None:
                return "SESSION_LOST"
            if user.suspended:
                return "USER_SUSPENDED"
            principal = Principal(
                PrincipalKind.USER,
                user.name,
                hub_id=self._hub_id,
                display_name=user.display_name,
                department=user.department,
                unit_id=user.unit_id,
                roles=user.roles,
            )
        try:
            self._judge(principal, session.camera_id, session.purpose)
            self._admit(principal, session)
        except NotFound:
            return "CAMERA_RETIRED"
        except PermissionDenied:
            return "POLICY_CHANGED"
        return ""


def _is_of_unit(principal: Principal) -> bool:
    return principal.kind is PrincipalKind.UNIT or Role.UNIT in principal.roles


def _until(wanted: datetime, bound: datetime | None) -> datetime:
    return wanted if bound is None else min(wanted, bound)


def _watermark(principal: Principal, now: datetime) -> str:
    """Who watches, when and from where, written over the picture; in the hub's own time."""
    parts = (principal.display_name or principal.id, f"{now.astimezone():%Y-%m-%d %H:%M}", principal.address)
    return " ".join(part for part in parts if part)


def _entry(principal: Principal, action: str, session: Session, detail: str) -> AuditRecord:
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


def _no_session(session_id: str) -> NotFound:
    return NotFound("SESSION_NOT_FOUND", f"there is no session {session_id[:64]} that you may act on")


def _ended(reason: str) -> FailedPrecondition:
    because = f" ({reason})" if reason else ""
    return FailedPrecondition("SESSION_ENDED", f"the session has ended{because}: open a new one")
