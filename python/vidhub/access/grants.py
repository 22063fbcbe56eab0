"""Grants: who may do what with which cameras, for which purposes, until when; made by people, kept as data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from vidhub import paging
from vidhub.access.ids import new_id
from vidhub.access.purposes import Purposes
from vidhub.audit import AuditLog
from vidhub.catalogue.watch import Watches
from vidhub.core import Core
from vidhub.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, VidhubError, Violation
from vidhub.model import (
    Action,
    AuditRecord,
    Camera,
    CameraState,
    Decision,
    Grant,
    GrantPage,
    Principal,
    PrincipalKind,
    Region,
    Role,
)
from vidhub.store import Store, cameras, grants, industries, regions, units, users

LONGEST = timedelta(days=366)
SERVED = (Action.LIST, Action.VIEW_LIVE, Action.SNAPSHOT)
_MOST_ENTRIES = 1_000
_GIVERS = frozenset({Role.APPROVER, Role.SUPERVISOR, Role.ADMINISTRATOR})
_SEE_ALL = _GIVERS | {Role.AUDITOR}
# The clock is looked at again at least this often: it may jump.
_LONGEST_WAIT_S = 60.0


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
        # Those that stand or will: to tell watchers when one begins or ends by the clock.
        self._standing: dict[str, Grant] = {}
        self._moved = asyncio.Event()

    async def load(self) -> None:
        """Fills the core at start-up."""
        now = self._clock()
        standing = await self._store.read(lambda conn: grants.load_active(conn, now))
        self._standing = {grant.id: grant for grant in standing}
        self._core.load_grants(standing)

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
            found = [*self._violations(grant, now), *_unknown(conn, grant)]
            if found:
                raise invalid(found)
            grants.insert(conn, grant)
            self._audit.append(conn, [_entry(principal, "grant.create", grant)])
            return grant

        def apply(stored: Grant) -> None:
            self._core.apply_grant(stored)
            self._standing[stored.id] = stored
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
            self._audit.append(conn, [_entry(principal, "grant.revoke", revoked, reason=reason)])
            return revoked

        def apply(revoked: Grant) -> None:
            self._core.remove_grant(revoked.id, "GRANT_REVOKED")
            self._standing.pop(revoked.id, None)
            self._watches.sight_changed(revoked.username, revoked.department)

        return await self._store.write(work, apply=apply)

    async def list(
        self,
        principal: Principal,
        *,
        username: str = "",
        camera_id: str = "",
        include_ended: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> GrantPage:
        """Operators see their own, units those that cover their cameras, other roles all."""
        question = (principal.ref, username, camera_id, include_ended)
        after = paging.after("grants", question, page_token)
        limit = paging.size(page_size)
        active_at = None if include_ended else self._clock()
        camera = self._core.get_camera(principal, camera_id) if camera_id else None
        sees_all = principal.kind is PrincipalKind.SYSTEM or bool(_SEE_ALL & principal.roles)
        is_of_unit = not sees_all and bool(principal.unit_id)

        def work(conn: Connection) -> list[Grant]:
            touches = _UnitSight(conn, principal.unit_id).touches if is_of_unit else None

            def matches(grant: Grant) -> bool:
                if grant.hub_id:  # a sharing rule: `access/shares.py`
                    return False
                if username and not _is_for(grant, username, departments):
                    return False
                if camera is not None and not covers(grant, camera):
                    return False
                if sees_all:
                    return True
                is_own = _is_for(grant, principal.id, (principal.department,))
                return is_own or (touches is not None and touches(grant))

            subject = users.by_name(conn, username) if username else None
            departments = (subject.department,) if subject is not None else ()
            return grants.list_page(conn, active_at=active_at, matches=matches, limit=limit + 1, after=after)

        found = await self._store.read(work)
        more = found[limit - 1].id if len(found) > limit else None
        return GrantPage(tuple(found[:limit]), paging.token("grants", question, more))

    async def explain(
        self, principal: Principal, username: str, camera_id: str, action: Action, purpose: str
    ) -> Decision:
        """What policy says to this person, and which rules and grant decided. For givers of grants, and of oneself."""
        if username != principal.id or principal.kind is not PrincipalKind.USER:
            _may_give(principal)
        user = await self._store.read(lambda conn: users.by_name(conn, username))
        if user is None:
            raise NotFound("USER_NOT_FOUND", f"there is no user {username[:64]}")
        subject = Principal(
            PrincipalKind.USER,
            user.name,
            hub_id=principal.hub_id,
            department=user.department,
            unit_id=user.unit_id,
            roles=user.roles,
        )
        return self._core.authorise(subject, action, camera_id, purpose)

    async def run(self) -> None:
        """Until cancelled: tells watchers of grants that begin or end by the clock, and drops those that have ended."""
        last = self._clock()
        while True:
            now = self._clock()
            for grant in list(self._standing.values()):
                if grant.not_after <= now:
                    del self._standing[grant.id]
                    self._core.remove_grant(grant.id, "SESSION_EXPIRED")
                    self._watches.sight_changed(grant.username, grant.department)
                elif last < grant.not_before <= now:
                    self._watches.sight_changed(grant.username, grant.department)
            last = now
            edges = (edge for grant in self._standing.values() for edge in (grant.not_before, grant.not_after))
            wait = min((edge - now for edge in edges if edge > now), default=timedelta(seconds=_LONGEST_WAIT_S))
            self._moved.clear()
            try:
                async with asyncio.timeout(min(wait.total_seconds(), _LONGEST_WAIT_S) + 0.01):
                    await self._moved.wait()
            except TimeoutError:
                continue

    def _violations(self, grant: Grant, now: datetime) -> Iterator[Violation]:
        if bool(grant.username) == bool(grant.department):
            yield Violation("grant.username", "SUBJECT_INVALID", "name either a user or a department")
        scope = grant.scope
        lists = (scope.camera_ids, scope.unit_ids, scope.region_prefixes, scope.industries)
        if not any(lists):
            yield Violation(
                "grant.scope", "SCOPE_EMPTY", "name cameras, units, regions or industries: none covers none"
            )
        if any(len(entries) > _MOST_ENTRIES for entries in lists):
            yield Violation("grant.scope", "SCOPE_TOO_LONG", f"at most {_MOST_ENTRIES} entries in a list")
        if not grant.purposes and grant.actions != (Action.LIST,):  # to know of a camera needs no purpose
            yield Violation(
                "grant.purposes", "PURPOSES_MISSING", "say for which purposes; without one nothing is allowed"
            )
        for kind in self._purposes.unknown(grant.purposes):
            yield Violation("grant.purposes", "PURPOSE_UNKNOWN", f"the register of purposes has no {kind[:40]!r}")
        if not grant.actions:
            yield Violation("grant.actions", "ACTIONS_MISSING", "say what may be done, as in VIEW_LIVE")
        for action in grant.actions:
            if action not in SERVED:
                yield Violation("grant.actions", "ACTION_NOT_SERVED", f"{action.value} is not served by this version")
        if grant.not_after <= now:
            yield Violation("grant.not_after", "GRANT_ENDED", "the end lies in the past")
        elif grant.not_after <= grant.not_before:
            yield Violation("grant.not_after", "GRANT_NEVER_BEGINS", "the end lies before the beginning")
        elif grant.not_after - now > LONGEST:
            yield Violation("grant.not_after", "GRANT_TOO_LONG", "a grant lasts a year at most: renew it then")

    def _refused(self, principal: Principal, grant: Grant, error: VidhubError) -> None:
        subject = f"user/{grant.username}" if grant.username else f"department/{grant.department}"
        self._audit.refusal(AuditRecord.of(principal, "grant.refused", subject, result=error.reason))
        error.on_record = True


def covers(grant: Grant, camera: Camera) -> bool:
    """Whether the camera lies in the grant's scope: lists narrow each other, no list covers nothing."""
    scope = grant.scope
    lists = (scope.camera_ids, scope.unit_ids, scope.region_prefixes, scope.industries)
    return (
        any(lists)
        and (not scope.camera_ids or camera.id in scope.camera_ids)
        and (not scope.unit_ids or camera.unit_id in scope.unit_ids)
        and (not scope.region_prefixes or camera.region_code.startswith(scope.region_prefixes))
        and (not scope.industries or camera.industry in scope.industries)
    )


class _UnitSight:
    """Whether a grant covers any camera of a unit, judged by the few places and industries its cameras have."""

    def __init__(self, conn: Connection, unit_id: str) -> None:
        self._conn = conn
        self._unit_id = unit_id
        rows = conn.exec_driver_sql(
            "SELECT DISTINCT region_code, industry FROM cameras WHERE unit_id = ? AND state <> ?",
            (unit_id, int(CameraState.RETIRED)),
        )
        self._kinds = [(str(row[0]), str(row[1])) for row in rows]

    def touches(self, grant: Grant) -> bool:
        scope = grant.scope
        if not any((scope.camera_ids, scope.unit_ids, scope.region_prefixes, scope.industries)):
            return False
        if scope.unit_ids and self._unit_id not in scope.unit_ids:
            return False
        if scope.camera_ids:
            named = cameras.list_full(self._conn, scope.camera_ids)
            return any(covers(grant, camera) for camera in named if camera.unit_id == self._unit_id)
        return any(
            (not scope.region_prefixes or region.startswith(scope.region_prefixes))
            and (not scope.industries or industry in scope.industries)
            for region, industry in self._kinds
        )


def _unknown(conn: Connection, grant: Grant) -> Iterator[Violation]:
    """What the grant names and the hub does not know."""
    if grant.username and users.by_name(conn, grant.username) is None:
        yield Violation("grant.username", "USER_UNKNOWN", f"there is no user {grant.username[:64]!r}")
    if grant.department and not any(user.department == grant.department for user in users.load(conn)):
        yield Violation("grant.department", "DEPARTMENT_UNKNOWN", f"nobody is of department {grant.department[:64]!r}")
    scope = grant.scope
    known = {
        camera.id for camera in cameras.list_full(conn, scope.camera_ids) if camera.state is not CameraState.RETIRED
    }
    table = regions.load(conn)
    for field, reason, entries, is_known in (
        ("camera_ids", "CAMERA_UNKNOWN", scope.camera_ids, known.__contains__),
        ("unit_ids", "UNIT_UNKNOWN", scope.unit_ids, lambda one: units.get(conn, one) is not None),
        ("region_prefixes", "REGION_UNKNOWN", scope.region_prefixes, lambda one: is_known_prefix(one, table)),
        ("industries", "INDUSTRY_UNKNOWN", scope.industries, industries.knows),
    ):
        for entry in entries:
            if not is_known(entry):
                yield Violation(f"grant.scope.{field}", reason, f"this hub does not know {entry[:64]!r}")


def is_known_prefix(prefix: str, table: list[Region]) -> bool:
    """Of a listed code, or of one that registration would take."""
    if any(region.code.startswith(prefix) for region in table):
        return bool(prefix)
    return regions.RegionTable(table).knows(prefix.ljust(6, "0"))


def with_list(wanted: Sequence[Action]) -> tuple[Action, ...]:
    """In the order of the enum, once each; every other action includes LIST."""
    return tuple(action for action in Action if action in wanted or (action is Action.LIST and wanted))


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


def _is_for(grant: Grant, username: str, departments: Sequence[str]) -> bool:
    return grant.username == username or (bool(grant.department) and grant.department in departments)


def _entry(principal: Principal, action: str, grant: Grant, **facts: str) -> AuditRecord:
    detail = {
        "user": grant.username,
        "department": grant.department,
        "actions": [one.value for one in grant.actions],
        "purposes": list(grant.purposes),
        "not_before": grant.not_before.isoformat(),
        "not_after": grant.not_after.isoformat(),
        **{field: value for field, value in _scope(grant).items() if value},
        **facts,
    }
    text = json.dumps(detail, ensure_ascii=False)
    if len(text) > 8_000:  # a scope of a thousand ids: the grant itself has them
        text = json.dumps({key: value for key, value in detail.items() if key not in _scope(grant)}, ensure_ascii=False)
    return AuditRecord.of(principal, action, f"grant/{grant.id}", grant_id=grant.id, detail_json=text)


def _scope(grant: Grant) -> dict[str, list[str]]:
    scope = grant.scope
    return {
        "camera_ids": list(scope.camera_ids),
        "unit_ids": list(scope.unit_ids),
        "region_prefixes": list(scope.region_prefixes),
        "industries": list(scope.industries),
    }


def invalid(found: Sequence[Violation]) -> InvalidArgument:
    reason = found[0].reason if len({one.reason for one in found}) == 1 else "GRANT_INVALID"
    return InvalidArgument(reason, "; ".join(one.description for one in found), violations=found)
