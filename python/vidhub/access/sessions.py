"""Sessions as people and units ask for them: with a purpose, on record, and only then a picture.

A unit opens one too, to push a camera of its own; on record it is a session like any other.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from vidhub import paging
from vidhub.access.addresses import MediaAddresses
from vidhub.access.book import SessionBook, ended
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
)
from vidhub.model import (
    AuditRecord,
    CoreEvent,
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
)
from vidhub.store import Secrets, Store, cameras, sessions

MOST_PER_PRINCIPAL = 64
# As many as there may be streams on one hub: a unit may push every camera that it has.
MOST_PUSHED = 4_096
MOST_CONNECTIONS = 10_000
_BENCH_TTL = timedelta(hours=1)
_SEE_ALL = frozenset({Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR, Role.ADMINISTRATOR})
_TERMINATORS = frozenset({Role.SUPERVISOR, Role.ADMINISTRATOR})


class Sessions:
    """Opens, renews, closes, lists and terminates sessions."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: Secrets,
        audit: AuditLog,
        core: Core,
        purposes: Purposes,
        book: SessionBook,
        ticket_ttl_s: float,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._audit = audit
        self._core = core
        self._purposes = purposes
        self._book = book
        self._ticket_ttl_s = ticket_ttl_s
        self._clock = clock
        self._addresses = MediaAddresses()

    def serve_at(self, addresses: MediaAddresses) -> None:
        self._addresses = addresses

    # Life of a session.

    async def open(
        self, principal: Principal, camera_id: str, purpose: Purpose, *, profile: Profile = Profile.AUTO
    ) -> OpenedSession:
        """On record before it answers. A refusal is on record too, also one by the hub that the camera is of."""
        try:
            tidy = self._purposes.check(purpose)
            most = MOST_PER_PRINCIPAL
            if tidy.kind == PUBLISH:
                self._own(principal, camera_id)
                most = MOST_PUSHED
                if profile is not Profile.SUB:  # nobody chooses: what is not the sub stream is the main one
                    profile = Profile.MAIN
            decision = self._book.judge(principal, camera_id, tidy)
            if self._book.count(principal.ref) >= most:
                raise ResourceExhausted("LIMIT_SESSIONS", f"{most} sessions of yours are open: close one first")
            session = await self._book.open(principal, camera_id, tidy, profile, decision)
        except (InvalidArgument, PermissionDenied, NotFound, ResourceExhausted) as error:
            self._book.refused(principal, camera_id, purpose, error)
            raise
        except Unavailable as error:
            if error.reason.startswith("LINK_"):
                self._book.refused(principal, camera_id, purpose, error)
            raise
        try:
            ticket = self._core.issue_ticket(session.id, self._ticket_ttl_s)
        except NotFound:  # ended between the two, by a revocation in the same turn
            raise Unavailable("SESSION_ENDED", "the session ended as it was opened: open it again") from None
        opened = self._opened(session, ticket)
        if tidy.kind == PUBLISH:
            return opened
        return replace(opened, watermark=_watermark(principal, session.open_time))

    async def open_for_bench(self, camera_id: str, viewers: int) -> OpenedSession:
        """One ticket for many connections, for load programs; offered only where the hub runs with `bench`."""
        if not 1 <= viewers <= MOST_CONNECTIONS:
            raise InvalidArgument("VIEWERS_INVALID", f"give 1 to {MOST_CONNECTIONS} viewers")
        if self._book.is_of_other_hub(camera_id):
            raise FailedPrecondition("CAMERA_OF_OTHER_HUB", "the camera is of another hub: ask that one for the ticket")
        system = Principal(PrincipalKind.SYSTEM, display_name="bench")
        now = self._clock()
        session = self._book.new(system, camera_id, Purpose("maintenance"), Profile.AUTO, "", now, now + _BENCH_TTL)
        await self._store.write(
            lambda conn: self._book.record(conn, system, session),
            apply=lambda _: self._book.admit(system, session, connections=viewers),
        )
        return self._opened(session, self._core.issue_ticket(session.id, _BENCH_TTL.total_seconds()))

    async def own(self, principal: Principal, session_id: str) -> Session:
        """One's own session, which is open. Raises NotFound SESSION_NOT_FOUND, FailedPrecondition SESSION_ENDED."""
        session = await self._store.read(lambda conn: sessions.get(conn, session_id))
        if session is None or session.principal != principal.ref:
            raise _no_session(session_id)
        if session.end_time is not None:
            raise ended(session.end_reason)
        self._book.check_open(session_id)
        return session

    async def renew(self, principal: Principal, session_id: str) -> RenewedSession:
        """Until the session's time from now, at most to the end of its grant; with a fresh ticket.

        Raises NotFound SESSION_NOT_FOUND, FailedPrecondition SESSION_ENDED, and what `open` raises.
        """
        session = await self._store.read(lambda conn: sessions.get(conn, session_id, self._secrets))
        if session is None or session.principal != principal.ref:
            raise _no_session(session_id)
        if session.end_time is not None:
            raise ended(session.end_reason)
        if self._purposes.is_retired(session.purpose.kind):
            raise FailedPrecondition("PURPOSE_RETIRED", f"{session.purpose.kind} is out of force: the view ends")
        try:
            renewed = await self._book.renew(principal, session)
        except (PermissionDenied, NotFound) as error:
            self._book.refused(principal, session.camera_id, session.purpose, error)
            raise
        try:
            return RenewedSession(renewed, self._core.issue_ticket(session_id, self._ticket_ttl_s))
        except NotFound:
            raise ended("") from None

    async def close(self, principal: Principal, session_id: str) -> None:
        """Ends one's own. Closing what has ended is no error."""
        session = await self._store.read(lambda conn: sessions.get(conn, session_id))
        if session is None or session.principal != principal.ref:
            raise _no_session(session_id)
        if session.end_time is None:
            await self._book.end(session_id, "SESSION_CLOSED")

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
            return found, camera.unit_id if camera is not None and not camera.home_hub_id else ""

        session, unit_id = await self._store.read(read)
        is_owner = bool(principal.unit_id) and _is_of_unit(principal) and principal.unit_id == unit_id
        if not may_all and not _is_of_unit(principal):
            raise PermissionDenied(
                "ROLE_NOT_PERMITTED", "sessions are ended by the camera's unit, supervisors and administrators"
            )
        if session is None or not (may_all or is_owner):
            raise _no_session(session_id)
        if session.end_time is not None or self._book.viewer(session_id) is None:
            raise ended(session.end_reason)
        await self._book.end(session_id, "SESSION_TERMINATED", actor=principal, note=reason)

    async def list(
        self,
        principal: Principal,
        *,
        camera_id: str = "",
        own: bool = False,
        include_ended: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> SessionPage:
        """One's own; for units those on their cameras; for supervising roles all. Newest first.

        own: only one's own, for units and supervising roles too.
        """
        question = (principal.ref, camera_id, own, include_ended)
        after = paging.after("sessions", question, page_token)
        limit = paging.size(page_size)
        sees_all = principal.kind is PrincipalKind.SYSTEM or bool(_SEE_ALL & principal.roles)
        is_of_unit = not sees_all and _is_of_unit(principal)
        earlier = self._book.not_on_record()
        found = await self._store.read(
            lambda conn: sessions.list_page(
                conn,
                camera_id=camera_id,
                principal=principal.ref if own or not (sees_all or is_of_unit) else "",
                camera_unit_id=principal.unit_id if is_of_unit else "",
                include_ended=include_ended,
                limit=limit + 1,
                after=after,
            )
        )
        more = found[limit - 1].id if len(found) > limit else None
        rows = (self._book.as_now(session, earlier) for session in found[:limit])
        shown = tuple(session for session in rows if include_ended or session.end_time is None)
        return SessionPage(shown, paging.token("sessions", question, more), self._names(principal, shown))

    def _names(self, principal: Principal, shown: Sequence[Session]) -> dict[str, str]:
        """Names of the cameras, as far as the principal may know of them now."""
        names = {}
        for camera_id in {session.camera_id for session in shown}:
            with contextlib.suppress(NotFound):
                names[camera_id] = self._core.get_camera(principal, camera_id).name
        return names

    def media_refused(self, events: Sequence[CoreEvent]) -> None:
        """Takes `media_refused` events of the core: who was turned away at a media port is on record too."""
        for event in events:
            facts = json.loads(event.detail)
            session_id = facts["session"]
            viewer = self._book.viewer(session_id)
            self._audit.refusal(
                AuditRecord(
                    principal=viewer.ref if viewer is not None else "",
                    action="media.refused",
                    resource=f"camera/{event.subject}",
                    result=event.reason,
                    session_id=session_id,
                    source_address=facts["address"],
                    detail_json=json.dumps({"protocol": facts["protocol"]}),
                    trace_id=viewer.trace_id if viewer is not None else "",
                )
            )

    # Inside.

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

    def _own(self, principal: Principal, camera_id: str) -> None:
        """Raises NotFound CAMERA_NOT_FOUND for the camera of another unit: it is none of theirs to know of."""
        if principal.kind is not PrincipalKind.UNIT:
            raise InvalidArgument("PURPOSE_UNKNOWN", "publish is for units, with which they push their own cameras")
        camera = self._core.get_camera(principal, camera_id)
        if camera.unit_id != principal.unit_id:
            raise NotFound("CAMERA_NOT_FOUND", f"your unit has no camera {camera_id[:40]}")


def _is_of_unit(principal: Principal) -> bool:
    return principal.kind is PrincipalKind.UNIT or Role.UNIT in principal.roles


def _watermark(principal: Principal, now: datetime) -> str:
    """Who watches, when and from where, written over the picture; in the hub's own time."""
    parts = (principal.display_name or principal.id, f"{now.astimezone():%Y-%m-%d %H:%M}", principal.address)
    return " ".join(part for part in parts if part)


def _no_session(session_id: str) -> NotFound:
    return NotFound("SESSION_NOT_FOUND", f"there is no session {session_id[:64]} that you may act on")
