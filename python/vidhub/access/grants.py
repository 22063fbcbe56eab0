"""Grants: who may do what with which cameras, for which purposes, until when; made by people, kept as data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import Connection

from vidhub import paging
from vidhub.access import hours
from vidhub.access.grant_rules import UnitSight, covers, entry, invalid, unknown, violations, with_list
from vidhub.access.hours import Stretch
from vidhub.access.ids import new_id
from vidhub.access.purposes import Purposes
from vidhub.audit import AuditLog
from vidhub.catalogue.watch import Watches
from vidhub.core import Core
from vidhub.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, VidhubError
from vidhub.model import Action, AuditRecord, Grant, GrantPage, Principal, PrincipalKind, Role
from vidhub.store import Store, grants, users

_GIVERS = frozenset({Role.APPROVER, Role.SUPERVISOR, Role.ADMINISTRATOR})
_SEE_ALL = _GIVERS | {Role.AUDITOR}
# The clock is looked at again at least this often: it may jump.
_LONGEST_WAIT_S = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GrantFilter:
    """All given conditions hold together. username: theirs, by name or department. ends_within: from now."""

    username: str = ""
    department: str = ""
    camera_id: str = ""
    action: Action | None = None
    purpose: str = ""
    ends_within: timedelta | None = None
    include_ended: bool = False


ALL = GrantFilter()


class Grants:
    """Gives, lists, takes back and explains grants."""

    def __init__(
        self,
        *,
        store: Store,
        audit: AuditLog,
        core: Core,
        purposes: Purposes,
        watches: Watches,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._audit = audit
        self._core = core
        self._purposes = purposes
        self._watches = watches
        self._clock = clock
        # Those that stand or will, each with the stretch that the core has of it.
        self._standing: dict[str, tuple[Grant, Stretch]] = {}
        self._moved = asyncio.Event()

    async def load(self) -> None:
        """Fills the core at start-up."""
        now = self._clock()
        standing = await self._store.read(lambda conn: grants.load_active(conn, now))
        found = ((grant, hours.stretch(grant, now)) for grant in standing)
        self._standing = {grant.id: (grant, held) for grant, held in found if held is not None}
        self._core.load_grants([_within(grant, held) for grant, held in self._standing.values()])

    async def create(self, principal: Principal, wanted: Grant) -> Grant:
        """Raises PermissionDenied GRANT_TO_SELF, InvalidArgument with every rule that is broken."""
        _may_give(principal)
        now = self._clock()
        grant = replace(
            wanted,
            id=new_id("g", now),
            username=wanted.username.strip(),
            department=wanted.department.strip(),
            actions=with_list(wanted.actions),
            purposes=tuple(dict.fromkeys(wanted.purposes)),
            not_before=max(wanted.not_before, now),
            reason=wanted.reason.strip(),
            created_by=principal.ref,
            create_time=now,
            revoke_time=None,
            revoke_reason="",
        )
        try:
            _not_to_oneself(principal, grant)
        except PermissionDenied as error:
            self._refused(principal, grant, error)
            raise

        def work(conn: Connection) -> Grant:
            found = [*violations(grant, now, self._purposes), *unknown(conn, grant)]
            if found:
                raise invalid(found)
            grants.insert(conn, grant)
            self._audit.append(conn, [entry(principal, "grant.create", grant)])
            return grant

        def apply(stored: Grant) -> None:
            held = hours.stretch(stored, now)
            if held is not None:
                self._core.apply_grant(_within(stored, held))
                self._standing[stored.id] = stored, held
                self._moved.set()
            self._watches.sight_changed(stored.username, stored.department)

        return await self._store.write(work, apply=apply)

    async def revoke(self, principal: Principal, grant_id: str, reason: str) -> Grant:
        """Ends every session it carried. Raises NotFound GRANT_NOT_FOUND, FailedPrecondition GRANT_ENDED."""
        _may_give(principal)
        reason = reason.strip()
        if not reason:
            raise InvalidArgument("REASON_MISSING", "say why the grant is taken back")
        now = self._clock()

        def work(conn: Connection) -> Grant:
            known = grants.get(conn, grant_id)
            if known is not None and known.hub_id:
                raise FailedPrecondition("GRANT_IS_SHARE", "this is a sharing rule: use `vidhub hub unshare`")
            if not grants.revoke(conn, grant_id, now, reason):
                if known is None:
                    raise NotFound("GRANT_NOT_FOUND", f"there is no grant {grant_id[:64]}")
                raise FailedPrecondition("GRANT_ENDED", "the grant was taken back before")
            revoked = grants.get(conn, grant_id)
            assert revoked is not None  # the row was written above
            self._audit.append(conn, [entry(principal, "grant.revoke", revoked, reason=reason)])
            return revoked

        def apply(revoked: Grant) -> None:
            self._core.remove_grant(revoked.id, "GRANT_REVOKED")
            self._standing.pop(revoked.id, None)
            self._watches.sight_changed(revoked.username, revoked.department)

        return await self._store.write(work, apply=apply)

    async def list(
        self, principal: Principal, wanted: GrantFilter = ALL, *, page_size: int = 0, page_token: str = ""
    ) -> GrantPage:
        """Operators see their own, units those that cover their cameras, other roles all."""
        question = (principal.ref, wanted)
        after = paging.after("grants", question, page_token)
        limit = paging.size(page_size)
        now = self._clock()
        camera = self._core.get_camera(principal, wanted.camera_id) if wanted.camera_id else None
        username = wanted.username
        sees_all = principal.kind is PrincipalKind.SYSTEM or bool(_SEE_ALL & principal.roles)
        is_of_unit = not sees_all and bool(principal.unit_id)

        def work(conn: Connection) -> list[Grant]:
            touches = UnitSight(conn, principal.unit_id).touches if is_of_unit else None

            def matches(grant: Grant) -> bool:
                if grant.hub_id:  # a sharing rule: `access/shares.py`
                    return False
                if not _matches(grant, wanted, now) or (username and not is_for(grant, username, departments)):
                    return False
                if camera is not None and not covers(grant, camera):
                    return False
                if sees_all:
                    return True
                is_own = is_for(grant, principal.id, (principal.department,))
                return is_own or (touches is not None and touches(grant))

            subject = users.by_name(conn, username) if username else None
            departments = (subject.department,) if subject is not None else ()
            active_at = None if wanted.include_ended else now
            return grants.list_page(conn, active_at=active_at, matches=matches, limit=limit + 1, after=after)

        found = await self._store.read(work)
        more = found[limit - 1].id if len(found) > limit else None
        return GrantPage(tuple(found[:limit]), paging.token("grants", question, more))

    async def run(self) -> None:
        """Until cancelled: gives the core each grant's next stretch when one ends, drops those that are over, and tells
        watchers of what begins and ends by the clock."""
        last, lacking = self._clock(), False
        while True:
            now = self._clock()
            for grant, held in list(self._standing.values()):
                self._move_on(grant, held, last, now)
            # A clock that was put back had run ahead: what was over by it is not, as the store knows.
            lacking = lacking or now < last
            last = now
            if lacking:
                lacking = not await self._revive(now)
            edges = (edge for _, held in self._standing.values() for edge in (held.start, held.end))
            wait = min((edge - now for edge in edges if edge > now), default=timedelta(seconds=_LONGEST_WAIT_S))
            self._moved.clear()
            try:
                async with asyncio.timeout(min(wait.total_seconds(), _LONGEST_WAIT_S) + 0.01):
                    await self._moved.wait()
            except TimeoutError:
                continue

    def look_again(self) -> None:
        """The clock was set: what is over by it ends now, not when `run` would have looked by itself."""
        self._moved.set()

    def _move_on(self, grant: Grant, held: Stretch, last: datetime, now: datetime) -> None:
        """last: when it was looked at before."""
        if held.end <= now or (now < last and grant.weekly_hours):  # the clock may have been put back
            following = hours.stretch(grant, now)
            if following != held:
                self._core.remove_grant(grant.id, "SESSION_EXPIRED")
                del self._standing[grant.id]
                if following is not None:
                    self._core.apply_grant(_within(grant, following))
                    self._standing[grant.id] = grant, following
                self._watches.sight_changed(grant.username, grant.department)
        elif last < held.start <= now:
            self._watches.sight_changed(grant.username, grant.department)

    async def _revive(self, now: datetime) -> bool:
        """Takes up again what stands and is not held; whether the store could be asked, which by its writer tells
        nothing that is revoked meanwhile."""

        def apply(standing: Sequence[Grant]) -> None:
            for grant in standing:
                held = None if grant.hub_id or grant.id in self._standing else hours.stretch(grant, now)
                if held is not None:
                    self._core.apply_grant(_within(grant, held))
                    self._standing[grant.id] = grant, held
                    self._watches.sight_changed(grant.username, grant.department)

        try:
            await self._store.write(lambda conn: grants.load_active(conn, now), apply=apply)
        except VidhubError as error:
            log.warning("grants could not be read since the clock was put back", reason=error.reason)
            return False
        return True

    def _refused(self, principal: Principal, grant: Grant, error: VidhubError) -> None:
        subject = f"user/{grant.username}" if grant.username else f"department/{grant.department}"
        self._audit.refusal(AuditRecord.of(principal, "grant.refused", subject, result=error.reason))
        error.on_record = True


def _may_give(principal: Principal) -> None:
    if principal.kind is PrincipalKind.SYSTEM or (principal.kind is PrincipalKind.USER and _GIVERS & principal.roles):
        return
    raise PermissionDenied(
        "ROLE_NOT_PERMITTED", "grants are given and taken back by approvers, supervisors and administrators"
    )


def _not_to_oneself(principal: Principal, grant: Grant) -> None:
    if principal.kind is not PrincipalKind.USER:
        return
    is_oneself = grant.username == principal.id
    # As one of its operators, one's department is oneself.
    is_own_department = (
        bool(grant.department) and grant.department == principal.department and Role.OPERATOR in principal.roles
    )
    if is_oneself or is_own_department:
        raise PermissionDenied("GRANT_TO_SELF", "nobody grants to themselves: ask another approver")


def _within(grant: Grant, held: Stretch) -> Grant:
    """As the core gets it: for this stretch alone."""
    return replace(grant, not_before=held.start, not_after=held.end)


def _matches(grant: Grant, wanted: GrantFilter, now: datetime) -> bool:
    """All but what must be looked up."""
    return (
        (not wanted.department or grant.department == wanted.department)
        and (wanted.action is None or wanted.action in grant.actions)
        and (not wanted.purpose or wanted.purpose in grant.purposes)
        and (wanted.ends_within is None or now < grant.not_after <= now + wanted.ends_within)
    )


def is_for(grant: Grant, username: str, departments: Sequence[str]) -> bool:
    """Whether it is given to them, by name or by one of these departments."""
    return grant.username == username or (bool(grant.department) and grant.department in departments)
