"""Sharing rules: what linked hubs may know of and do, and which parts of the record go along.

A rule is a grant to a hub. What a hub sees is the core's answer to it as a principal, less what came from it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Connection

from vidhub.access.grant_rules import SERVED, covers, invalid, is_known_prefix, with_list
from vidhub.access.ids import new_id
from vidhub.access.purposes import Purposes
from vidhub.audit import AuditLog
from vidhub.catalogue.remote import RemoteCameras
from vidhub.core import Core
from vidhub.errors import FailedPrecondition, NotFound, PermissionDenied, ResourceExhausted, Violation
from vidhub.model import (
    Action,
    AuditRecord,
    Camera,
    CameraFilter,
    Grant,
    Principal,
    PrincipalKind,
    Role,
    Scope,
)
from vidhub.store import Store, cameras, grants, hubs, industries, meta, regions, units

# Parts of the record that go along only where a rule says so.
FIELD_GROUPS = ("legal", "device", "location.address")
# Any code of a division begins with one of these.
EVERYTHING = Scope(region_prefixes=tuple("123456789"))
DEFAULT_ACTIONS = (Action.LIST, Action.VIEW_LIVE)
# A rule holds from when it is given until it is taken back, whatever happens to the clock: one that was given while
# it ran ahead would be none once it is set right.
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
FAR_END = datetime(2999, 12, 31, tzinfo=UTC)
MOST_SHARES = 256
SAMPLE = 100
_MOST_ENTRIES = 1_000
_PAGE = 1_000
_SYSTEM = Principal(PrincipalKind.SYSTEM)

# Told which hub's rules have changed.
Listener = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a hub would see by a rule. share: the rule as it would be given, with what is permitted where nothing was
    said. added: how many of the cameras it can't see now. alone: how many no other rule shares, so that it loses them
    when the rule of this scope is taken back."""

    share: Grant
    cameras: int
    sample: tuple[Camera, ...]
    added: int
    alone: int


class Shares:
    """Gives, takes back and applies sharing rules."""

    def __init__(
        self,
        *,
        store: Store,
        audit: AuditLog,
        core: Core,
        purposes: Purposes,
        remote: RemoteCameras,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._audit = audit
        self._core = core
        self._purposes = purposes
        self._remote = remote
        self._clock = clock
        self._by_hub: dict[str, tuple[Grant, ...]] = {}
        # The catalogue's revision at which a hub's rules last changed: what was told before is not enough.
        self._changed_at: dict[str, int] = {}
        self._listeners: list[Listener] = []

    async def load(self) -> None:
        """After the core has its grants."""

        def work(conn: Connection) -> tuple[list[Grant], dict[str, int]]:
            standing = [one for one in grants.load_active(conn, self._clock()) if one.hub_id]
            return standing, meta.numbers(conn, _KEY)

        standing, self._changed_at = await self._store.read(work)
        self._by_hub = {
            hub: tuple(one for one in standing if one.hub_id == hub) for hub in {g.hub_id for g in standing}
        }

    def on_changed(self, listener: Listener) -> None:
        self._listeners.append(listener)

    # The rules.

    def all(self) -> tuple[Grant, ...]:
        return tuple(grant for found in self._by_hub.values() for grant in found)

    def of(self, hub_id: str) -> tuple[Grant, ...]:
        """Oldest first."""
        return self._by_hub.get(hub_id, ())

    def changed_at(self, hub_id: str) -> int:
        """Number of the catalogue's revision at which the hub's rules last changed; 0 for never."""
        return self._changed_at.get(hub_id, 0)

    async def create(
        self,
        principal: Principal,
        hub_id: str,
        scope: Scope,
        *,
        actions: Sequence[Action] = (),
        purposes: Sequence[str] = (),
        fields: Sequence[str] = (),
    ) -> Grant:
        """A new rule; one of the same scope is changed instead, and views that it still permits go on. No actions: to
        list and to view live. No purposes: all of the register. It holds until it is taken back.

        Raises PermissionDenied ROLE_NOT_PERMITTED, NotFound HUB_NOT_FOUND, FailedPrecondition HUB_NOT_JOINED,
        ResourceExhausted LIMIT_SHARES, InvalidArgument with every rule that is broken.
        """
        _may_share(principal)
        now = self._clock()
        share = self._rule(principal, hub_id, scope, actions, purposes, fields)
        found = [*self._violations(share), *_unknown_fields(fields)]

        def work(conn: Connection) -> tuple[Grant, int]:
            hub = hubs.get(conn, hub_id)
            if hub is not None and not hub.joined:
                raise FailedPrecondition(
                    "HUB_NOT_JOINED", f"{hub.name} has not joined yet: `vidhub hub join` there first"
                )
            if hub is None:
                raise NotFound("HUB_NOT_FOUND", f"this hub is not linked to {hub_id[:64]}: see `vidhub hub list`")
            broken = [*found, *_unknown(conn, share)]
            if broken:
                raise invalid(broken)
            standing = [one for one in grants.load_active(conn, now) if one.hub_id == hub_id]
            changed = next((one for one in standing if _is_same(one.scope, scope)), None)
            if changed is None and len(standing) >= MOST_SHARES:
                raise ResourceExhausted("LIMIT_SHARES", f"{MOST_SHARES} rules are the most for one hub: use wider ones")
            given = share
            if changed is not None:
                # By its id the core knows the views that stand on it: those that it still permits go on.
                given = replace(share, id=changed.id)
                grants.remove(conn, changed.id)
            grants.insert(conn, given)
            self._audit.append(conn, [_entry(principal, "share.create", given)])
            return given, _changed(conn, hub_id)

        def apply(done: tuple[Grant, int]) -> None:
            self._apply(hub_id, done[0], (), done[1])

        return (await self._store.write(work, apply=apply))[0]

    async def delete(self, principal: Principal, share_id: str) -> Grant:
        """Takes a rule back; views that it carried end at once. Raises NotFound SHARE_NOT_FOUND."""
        _may_share(principal)
        now = self._clock()

        def work(conn: Connection) -> tuple[Grant, int]:
            share = grants.get(conn, share_id)
            if share is None or not share.hub_id or not grants.revoke(conn, share_id, now, "unshared"):
                raise NotFound("SHARE_NOT_FOUND", f"there is no sharing rule {share_id[:64]}: see `vidhub hub shares`")
            self._audit.append(conn, [_entry(principal, "share.delete", share)])
            return share, _changed(conn, share.hub_id)

        def apply(done: tuple[Grant, int]) -> None:
            self._apply(done[0].hub_id, None, (done[0],), done[1])

        return (await self._store.write(work, apply=apply))[0]

    async def delete_of(self, principal: Principal, hub_id: str, scope: Scope) -> Grant:
        """Takes back the rule of this very scope. Raises NotFound SHARE_NOT_FOUND."""
        share = next((one for one in self.of(hub_id) if _is_same(one.scope, scope)), None)
        if share is None:
            raise NotFound("SHARE_NOT_FOUND", "no sharing rule has this scope: see `vidhub hub shares`")
        return await self.delete(principal, share.id)

    async def start(self, principal: Principal, linked: Collection[str]) -> None:
        """Takes back what a link that was ended for good has left: the hub was stopped before it came to that. A hub
        that comes by the same id later is not to find it."""
        for hub_id in self._by_hub.keys() - set(linked):
            await self.end_all(principal, hub_id)

    async def end_all(self, principal: Principal, hub_id: str) -> None:
        """The link has been ended for good."""
        for share in self.of(hub_id):
            await self.delete(principal, share.id)

    # What comes of them.

    def fields_for(self, hub_id: str, camera: Camera) -> frozenset[str]:
        """Groups of fields that go along with this camera: those of every rule that covers it."""
        return frozenset(group for share in self.of(hub_id) if share.fields and covers(share, camera)
                         for group in share.fields)  # fmt: skip

    def camera(self, hub_id: str, camera_id: str) -> Camera | None:
        """As the hub may know of it, from the registry; None when it may not."""
        # Asked for every camera that changes, for each link: most have no rules, or brought the camera themselves.
        if not self.of(hub_id) or self._remote.link_of(camera_id) == hub_id:
            return None
        try:
            camera = self._core.get_camera(Principal(PrincipalKind.HUB, hub_id), camera_id)
        except NotFound:
            return None
        return None if self.is_from(hub_id, camera) else camera

    def is_from(self, hub_id: str, camera: Camera) -> bool:
        """What a hub has told us of, or has registered, does not go back to it."""
        return camera.home_hub_id == hub_id or self._remote.link_of(camera.id) == hub_id

    async def visible(self, hub_id: str) -> AsyncGenerator[tuple[Camera, ...]]:
        """Page by page, in order of id, what the hub may know of."""
        if not self.of(hub_id):
            return
        async for page in self._pages(Principal(PrincipalKind.HUB, hub_id)):
            yield tuple(camera for camera in page if not self.is_from(hub_id, camera))

    async def visible_ids(self, hub_id: str) -> AsyncGenerator[list[str]]:
        """As `visible`, the ids alone: comparing wants no more, and to make a value of each costs the most."""
        principal, after = Principal(PrincipalKind.HUB, hub_id), "" if self.of(hub_id) else None
        link_of = self._remote.link_of
        while after is not None:
            page = await asyncio.to_thread(self._core.list_rows, principal, CameraFilter(), limit=_PAGE, after=after)
            known = [(row.id, row.home_hub_id) for row in page.cameras]
            after = page.next_after
            del page  # it keeps a whole state of the registry
            yield [camera_id for camera_id, home in known if home != hub_id and link_of(camera_id) != hub_id]

    async def preview(
        self,
        principal: Principal,
        hub_id: str,
        scope: Scope,
        *,
        actions: Sequence[Action] = (),
        purposes: Sequence[str] = (),
        fields: Sequence[str] = (),
    ) -> Preview:
        """What the hub would see by such a rule, alone. Raises InvalidArgument as `create`."""
        _may_share(principal, Role.SUPERVISOR)
        wanted = self._rule(principal, hub_id, scope, actions, purposes, fields)
        found = [*self._violations(wanted), *_unknown_fields(fields)]
        if found:
            raise invalid(found)
        count = added = alone = 0
        sample: list[Camera] = []
        async for page in self._pages(_SYSTEM):
            for camera in page:
                if covers(wanted, camera) and not self.is_from(hub_id, camera):
                    by = [share for share in self.of(hub_id) if covers(share, camera)]
                    count += 1
                    added += not by
                    alone += all(_is_same(share.scope, scope) for share in by)
                    if len(sample) < SAMPLE:
                        sample.append(camera)
        return Preview(wanted, count, tuple(sample), added, alone)

    async def _pages(self, principal: Principal) -> AsyncGenerator[tuple[Camera, ...]]:
        after: str | None = ""
        while after is not None:
            page = await asyncio.to_thread(self._core.list_cameras, principal, CameraFilter(), limit=_PAGE, after=after)
            yield page.cameras
            after = page.next_after

    # Inside.

    def _rule(
        self,
        principal: Principal,
        hub_id: str,
        scope: Scope,
        actions: Sequence[Action],
        purposes: Sequence[str],
        fields: Sequence[str],
    ) -> Grant:
        now = self._clock()
        return Grant(
            id=new_id("s", now),
            username="",
            department="",
            scope=scope,
            actions=with_list(actions or DEFAULT_ACTIONS),
            purposes=tuple(dict.fromkeys(purposes or (one.kind for one in self._purposes.kinds()))),
            not_before=ALWAYS,
            not_after=FAR_END,
            created_by=principal.ref,
            create_time=now,
            hub_id=hub_id,
            fields=tuple(group for group in FIELD_GROUPS if group in fields),
        )

    def _apply(self, hub_id: str, new: Grant | None, ended: Sequence[Grant], number: int) -> None:
        if new is not None:
            self._core.apply_grant(new)
        for one in ended:
            self._core.remove_grant(one.id, "GRANT_REVOKED")
        left = {share.id: share for share in self.of(hub_id)}
        for one in ended:
            left.pop(one.id, None)
        if new is not None:
            left[new.id] = new
        self._by_hub[hub_id] = tuple(left.values())
        self._changed_at[hub_id] = number
        self._core.apply_cameras(number, ())
        for listener in self._listeners:
            listener(hub_id)

    def _violations(self, share: Grant) -> Iterator[Violation]:
        scope = share.scope
        lists = (scope.camera_ids, scope.unit_ids, scope.region_prefixes, scope.industries)
        if not any(lists):
            yield Violation("share.scope", "SCOPE_EMPTY", "name cameras, units, regions or industries, or share all")
        if any(len(entries) > _MOST_ENTRIES for entries in lists):
            yield Violation("share.scope", "SCOPE_TOO_LONG", f"at most {_MOST_ENTRIES} entries in a list")
        for kind in self._purposes.unknown(share.purposes):
            yield Violation("share.purposes", "PURPOSE_UNKNOWN", f"the register of purposes has no {kind[:40]!r}")
        for action in share.actions:
            if action not in SERVED:
                yield Violation("share.actions", "ACTION_NOT_SERVED", f"{action.value} is not served by this version")


_KEY = "shares/"


def _is_same(one: Scope, other: Scope) -> bool:
    """Whatever the order in which the entries of a list were written."""
    names = ("camera_ids", "unit_ids", "region_prefixes", "industries")
    return all(set(getattr(one, name)) == set(getattr(other, name)) for name in names)


def _changed(conn: Connection, hub_id: str) -> int:
    """The revision of a change of rules: who is told of the catalogue is told of it by revision as well."""
    number = meta.next_revision(conn)
    meta.put(conn, f"{_KEY}{hub_id}", str(number))
    return number


def _may_share(principal: Principal, *others: Role) -> None:
    if principal.kind is PrincipalKind.SYSTEM:
        return
    if principal.kind is PrincipalKind.USER and principal.roles & {Role.ADMINISTRATOR, *others}:
        return
    raise PermissionDenied("ROLE_NOT_PERMITTED", "sharing rules are an administrator's to make")


def _unknown_fields(fields: Sequence[str]) -> Iterator[Violation]:
    for name in fields:
        if name not in FIELD_GROUPS:
            choice = ", ".join(FIELD_GROUPS)
            yield Violation("share.fields", "FIELD_UNKNOWN", f"{name[:40]!r} can't be shared: take {choice}")


def _unknown(conn: Connection, share: Grant) -> Iterator[Violation]:
    """What the rule names and nothing here is of. Units and divisions of hubs below are known by their cameras."""
    scope = share.scope
    for camera_id in scope.camera_ids:
        if cameras.get(conn, camera_id) is None:
            yield Violation("share.scope.camera_ids", "CAMERA_UNKNOWN", f"this hub does not know {camera_id[:64]!r}")
    for unit_id in scope.unit_ids:
        if units.get(conn, unit_id) is None and not cameras.has_unit(conn, unit_id):
            yield Violation("share.scope.unit_ids", "UNIT_UNKNOWN", f"this hub does not know {unit_id[:64]!r}")
    if scope.region_prefixes != EVERYTHING.region_prefixes:
        table = regions.load(conn)
        for prefix in scope.region_prefixes:
            if not is_known_prefix(prefix, table):
                yield Violation("share.scope.region_prefixes", "REGION_UNKNOWN", f"there is no region {prefix[:64]!r}")
    for code in scope.industries:
        if not industries.knows(code):
            yield Violation("share.scope.industries", "INDUSTRY_UNKNOWN", f"there is no industry {code[:64]!r}")


def _entry(principal: Principal, action: str, share: Grant) -> AuditRecord:
    scope = share.scope
    detail: dict[str, object] = {
        "hub": share.hub_id,
        "actions": [one.value for one in share.actions],
        "purposes": list(share.purposes),
        "fields": list(share.fields),
    }
    if scope == EVERYTHING:
        detail["all"] = True
    else:
        lists = {
            name: list(getattr(scope, name)) for name in ("camera_ids", "unit_ids", "region_prefixes", "industries")
        }
        # A scope of a thousand ids: the rule itself has them.
        detail |= {name: found if len(found) <= 100 else len(found) for name, found in lists.items() if found}
    return AuditRecord.of(
        principal,
        action,
        f"share/{share.id}",
        grant_id=share.id,
        detail_json=json.dumps(detail, ensure_ascii=False),
    )
