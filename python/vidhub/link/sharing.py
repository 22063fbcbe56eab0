"""What is shared with linked hubs, for people: rules and their preview, why a camera is seen or not, and digests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from vidhub.access.grant_rules import covers
from vidhub.access.shares import FIELD_GROUPS, Preview, Shares
from vidhub.core import Core
from vidhub.errors import InvalidArgument, NotFound, PermissionDenied
from vidhub.link.catalogue_in import CatalogueIn
from vidhub.link.catalogue_out import CatalogueOut
from vidhub.link.disputes import Dispute, Disputes
from vidhub.link.links import Links
from vidhub.link.notices import Notices
from vidhub.link.peers import Peers
from vidhub.model import Action, Camera, Grant, HubSide, LinkedHub, Principal, PrincipalKind, Role, Scope
from vidhub.store import Store, remote_cameras
from vidhub.store.remote_cameras import Conflict
from vidhub.v1 import camera_pb2, link_service_pb2

_SYSTEM = Principal(PrincipalKind.SYSTEM)
_CONFLICTS = {
    "CAMERA_ID_TAKEN": "the id is taken by a camera of {holder}: register it anew under an id of its own, or have a "
    "supervisor there say whose it is (`vidhub hub assign`)",
    "REGION_NOT_OF_PEER": "its region is not within that of the hub that offers it: correct the record",
    "PATH_CYCLE": "it came back to the hub that it is of",
    "LIMIT_CAMERAS": "more cameras than one link may bring",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """hub_id: seen from which hub; "" where it is about this one. What follows the message is what it is made of: see
    `ExplainCameraResponse.Finding`."""

    hub_id: str
    visible: bool
    reason: str
    message: str
    cause: str = ""
    offering_hub_id: str = ""
    holding_hub_id: str = ""
    assigned_hub_id: str = ""
    likely_hub_id: str = ""
    lag: int = 0
    missing_fields: tuple[str, ...] = ()
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Digest:
    """Of what the lower hub shares with the upper, and of the other direction."""

    up: tuple[int, bytes]
    down: tuple[int, bytes]


class SharingDesk:
    def __init__(
        self,
        *,
        store: Store,
        core: Core,
        peers: Peers,
        links: Links,
        shares: Shares,
        told: CatalogueOut,
        taken: CatalogueIn,
        notices: Notices,
    ) -> None:
        self._store = store
        self._core = core
        self._peers = peers
        self._links = links
        self._shares = shares
        self._told = told
        self._taken = taken
        self._notices = notices
        self._disputes = Disputes(store, peers, told)

    # Rules. hub: id or name.

    def shares(self, principal: Principal, hub: str = "") -> tuple[Grant, ...]:
        _may_look(principal)
        return self._shares.of(self._peers.find(hub).id) if hub else self._shares.all()

    def received(self, principal: Principal, hub: str = "") -> list[tuple[str, str, link_service_pb2.SharingRule]]:
        """What other hubs share with this one, while their links are up: hub, id, rule."""
        _may_look(principal)
        peers = [self._peers.find(hub)] if hub else self._peers.all()
        return [(peer.id, rule_id, rule) for peer in peers for rule_id, rule in self._notices.received(peer.id)]

    async def share(
        self,
        principal: Principal,
        hub: str,
        scope: Scope,
        *,
        actions: Sequence[Action] = (),
        purposes: Sequence[str] = (),
        fields: Sequence[str] = (),
    ) -> Grant:
        peer = self._peers.find(hub)
        return await self._shares.create(principal, peer.id, scope, actions=actions, purposes=purposes, fields=fields)

    async def unshare(self, principal: Principal, hub: str, scope: Scope) -> tuple[Grant, int]:
        """The rule that was taken back, and how many of its cameras other rules still share with the hub."""
        share = await self._shares.delete_of(principal, self._peers.find(hub).id, scope)
        if not self._shares.of(share.hub_id):
            return share, 0
        left = await self._shares.preview(principal, share.hub_id, share.scope)
        return share, left.cameras - left.added

    async def delete(self, principal: Principal, share_id: str) -> Grant:
        return await self._shares.delete(principal, share_id)

    async def preview(
        self,
        principal: Principal,
        hub: str,
        scope: Scope,
        *,
        actions: Sequence[Action] = (),
        purposes: Sequence[str] = (),
        fields: Sequence[str] = (),
    ) -> tuple[Preview, list[camera_pb2.Camera]]:
        """What the hub would see by such a rule, and the first of them as it would have them."""
        peer = self._peers.find(hub)
        preview = await self._shares.preview(
            principal, peer.id, scope, actions=actions, purposes=purposes, fields=fields
        )
        ids = [camera.id for camera in preview.sample]
        return preview, await self._told.records.with_fields(ids, frozenset(fields))

    # Digests.

    async def digest(self, principal: Principal, hub: str) -> Digest:
        _may_look(principal)
        peer = self._peers.find(hub)
        told, taken = await self._told.digest(peer.id), await self._taken.digest(peer.id)
        return Digest(told, taken) if peer.side is HubSide.UPPER else Digest(taken, told)

    # Whose an id is.

    async def conflicts(
        self, principal: Principal, hub: str = "", *, page_size: int = 0, page_token: str = ""
    ) -> tuple[tuple[Dispute, ...], str]:
        """Cameras that are not taken, between one linked hub and this one or all; see `Disputes.page`."""
        _may_look(principal)
        hubs = [self._peers.find(hub)] if hub else self._peers.all()
        return await self._disputes.page(hubs, page_size=page_size, page_token=page_token)

    async def assign(self, principal: Principal, camera_id: str, hub: str, reason: str) -> str:
        """Gives an id that two hubs claim to a linked hub or to this one; its id. See `ReceivedCameras.assign`.

        Raises NotFound HUB_NOT_FOUND, InvalidArgument REASON_MISSING.
        """
        _may_look(principal)
        if not reason.strip():
            raise InvalidArgument("REASON_MISSING", "say why the id is theirs: it goes on record")
        own = self._peers.own
        if hub in (own.id, own.name):
            await self._taken.assign(principal, camera_id, own.id, reason)
            return own.id
        peer = self._peers.find(hub)
        await self._taken.assign(principal, camera_id, peer.id, reason)
        return peer.id

    # Why.

    async def explain(self, principal: Principal, camera_id: str, hub: str = "") -> tuple[Finding, ...]:
        """Why a camera can or can't be seen from the linked hubs, or from one of them."""
        _may_look(principal)
        peers = [self._peers.find(hub)] if hub else [peer for peer in self._peers.all() if peer.joined]
        try:
            camera = self._core.get_camera(_SYSTEM, camera_id)
        except NotFound:
            camera = None
        found = await self._offers(camera_id, peers)
        if camera is None:
            return (*found, Finding("", False, "CAMERA_UNKNOWN", "no such camera is registered here"))
        for peer in peers:
            found += self._seen_from(peer, camera)
        if not peers:
            found.append(Finding("", False, "NOT_LINKED", "this hub is linked to no other: see `vidhub hub join`"))
        return tuple(found)

    async def _offers(self, camera_id: str, peers: Sequence[LinkedHub]) -> list[Finding]:
        """Linked hubs whose camera of that id is not taken here."""
        names = {peer.id: peer.name for peer in peers}

        def work(conn: Connection) -> tuple[list[Conflict], dict[str, str]]:
            ids = [camera_id]
            return remote_cameras.conflicts_over(conn, ids), remote_cameras.assignments(conn, ids)

        conflicts, given = await self._store.read(work)
        found = []
        for one in conflicts:
            if one.hub_id not in names:
                continue
            owner = given.get(camera_id, "") if one.is_claim else ""
            if one.reason == remote_cameras.OTHER_WAY:
                found.append(self._by_other_way("", one.holder_hub_id, one.hub_id, owner))
                continue
            likely = "" if owner else self._disputes.likely(one)
            where = self._in_words(one) if likely else ""
            said = (
                f"{names[one.hub_id]} offers a camera of this id, which is not taken here ({one.reason}): "
                + self._conflict(one.reason, one.holder_hub_id)
                + (f"; the id was given to {owner}" if owner else "")
                + where
            )
            found.append(
                Finding(
                    "",
                    False,
                    "CONFLICT",
                    said,
                    cause=one.reason,
                    offering_hub_id=one.hub_id,
                    holding_hub_id=one.holder_hub_id,
                    assigned_hub_id=owner,
                    likely_hub_id=likely,
                )
            )
        return found

    def _by_other_way(self, seen_from: str, holder: str, offers: str = "", owner: str = "") -> Finding:
        """The very camera came by another hub, which is as good."""
        where = self._name(seen_from) if seen_from else "this hub"
        chosen = f"; a supervisor has chosen {self._name(owner)}" if owner else ""
        return Finding(
            seen_from,
            True,
            "OTHER_WAY",
            f"{where} has this camera by way of {self._name(holder)}, and takes each by one way alone{chosen}",
            cause=remote_cameras.OTHER_WAY,
            offering_hub_id=offers,
            holding_hub_id=holder,
            assigned_hub_id=owner,
        )

    def _name(self, hub_id: str) -> str:
        known = self._peers.get(hub_id)
        return hub_id if known is None else known.name

    def _in_words(self, conflict: Conflict) -> str:
        offers, holds = (self._peers.find(one).name for one in (conflict.hub_id, conflict.holder_hub_id))
        return f"; by its first digits it lies in the region of {offers}, not of {holds}"

    def _seen_from(self, peer: LinkedHub, camera: Camera) -> Iterator[Finding]:
        is_up = self._links.get(peer.id) is not None
        if self._shares.is_from(peer.id, camera):
            is_stale = self._taken.is_stale(camera.id)
            state = "; a link on the way to it is down, so this is the last that was known" if is_stale else ""
            yield Finding(peer.id, True, "THEIRS", f"it came from {peer.name}{state}", stale=is_stale)
            return
        covering = [share for share in self._shares.of(peer.id) if covers(share, camera)]
        if not covering:
            yield Finding(
                peer.id,
                False,
                "NOT_SHARED",
                f"no sharing rule with {peer.name} covers it: `vidhub hub share {peer.id}` makes one",
            )
            return
        decision = self._core.authorise(Principal(PrincipalKind.HUB, peer.id), Action.LIST, camera.id, "")
        if not decision.allowed:
            yield Finding(
                peer.id,
                False,
                "NOT_PERMITTED",
                f"policy keeps it from {peer.name}: {decision.reason}",
                cause=decision.reason,
            )
            return
        if (refused := self._told.refused(peer.id, camera.id)) is not None:
            reason, holder = refused
            if reason == remote_cameras.OTHER_WAY:
                yield self._by_other_way(peer.id, holder)
                return
            why = self._conflict(reason, holder)
            yield Finding(
                peer.id,
                False,
                "CONFLICT",
                f"{peer.name} has not taken it ({reason}): {why}",
                cause=reason,
                holding_hub_id=holder,
            )
            return
        if not is_up:
            yield Finding(
                peer.id,
                self._told.is_told(peer.id, camera.id),
                "LINK_DOWN",
                f"the link to {peer.name} is down: it has what it was told before, marked stale; see `vidhub doctor`",
                stale=True,
            )
            return
        lag = self._told.lag(peer.id)
        if not self._told.is_told(peer.id, camera.id):
            yield Finding(
                peer.id, False, "LAGGING", f"{peer.name} has yet to be told: it lags {lag} revisions behind", lag=lag
            )
            return
        yield Finding(peer.id, True, "SHARED", f"{peer.name} knows of it")
        if lag:
            yield Finding(peer.id, True, "LAGGING", f"{peer.name} lags {lag} revisions behind", lag=lag)
        missing = [group for group in FIELD_GROUPS if group not in self._shares.fields_for(peer.id, camera)]
        if missing:
            yield Finding(
                peer.id,
                True,
                "FIELD_FILTERED",
                f"{peer.name} has it without {', '.join(missing)}: no rule shares them",
                missing_fields=tuple(missing),
            )

    @staticmethod
    def _conflict(reason: str, holder: str) -> str:
        return _CONFLICTS.get(reason, "its record breaks a rule: correct it").format(holder=holder or "another hub")


def _may_look(principal: Principal) -> None:
    if principal.kind is PrincipalKind.SYSTEM:
        return
    if principal.kind is PrincipalKind.USER and principal.roles & {Role.ADMINISTRATOR, Role.SUPERVISOR}:
        return
    raise PermissionDenied("ROLE_NOT_PERMITTED", "links are for administrators and supervisors to look into")
