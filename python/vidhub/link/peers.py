"""The hubs linked to this one: invited, joined, accepted, ended. The store holds them; memory answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets as random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection

from vidhub.audit import AuditLog
from vidhub.config import HubOptions
from vidhub.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)
from vidhub.identity import Register
from vidhub.identity.accounts import require_administrator
from vidhub.identity.csr import public_key_of
from vidhub.identity.register import HUB_CLAIM
from vidhub.link.rules import MOST_ABOVE, MOST_HUBS, check_below
from vidhub.model import AuditRecord, HubLevel, HubSide, LinkedHub, Principal, PrincipalKind, Revision
from vidhub.store import Store, certificates, hubs, regions
from vidhub.store.certificates import Certificate
from vidhub.store.regions import RegionTable
from vidhub.store.times import now

EndListener = Callable[[str], Awaitable[None]]
ChangeListener = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Invitation:
    """hub: the row that stands for the invited one. claim: certificate and key, PEM."""

    hub: LinkedHub
    claim_certificate_pem: str
    claim_key_pem: str = field(repr=False)
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class EnrolledHub:
    hub: LinkedHub
    certificate_pem: str
    ca_pem: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a link is down, or not as it should be."""

    reason: str
    message: str
    time: datetime


class Peers:
    """own: this hub."""

    def __init__(
        self,
        store: Store,
        audit: AuditLog,
        register: Register,
        own: HubOptions,
        table: RegionTable,
        known: list[LinkedHub],
        clock: Callable[[], datetime],
    ) -> None:
        self.own = own
        self.register = register
        self._store = store
        self._audit = audit
        self._regions = table
        self._hubs = {hub.id: hub for hub in known}
        self._clock = clock
        self._above: dict[str, tuple[str, ...]] = {}
        self._troubles: dict[str, Trouble] = {}
        self._ended: list[EndListener] = []
        self._changed: list[ChangeListener] = []

    @classmethod
    async def open(
        cls,
        store: Store,
        audit: AuditLog,
        register: Register,
        own: HubOptions,
        *,
        clock: Callable[[], datetime] = now,
    ) -> Peers:
        table, known = await store.read(lambda conn: (RegionTable(regions.load(conn)), hubs.load(conn)))
        return cls(store, audit, register, own, table, known, clock)

    # Who there is.

    def get(self, hub_id: str) -> LinkedHub | None:
        return self._hubs.get(hub_id)

    def find(self, id_or_name: str) -> LinkedHub:
        """Raises NotFound HUB_NOT_FOUND."""
        found = self._hubs.get(id_or_name) or self._named(id_or_name)
        if found is None:
            raise NotFound("HUB_NOT_FOUND", f"no hub {id_or_name[:128]!r} is linked here: see `vidhub hub list`")
        return found

    def all(self) -> list[LinkedHub]:
        """Upper hubs first, then by name."""
        return sorted(self._hubs.values(), key=lambda hub: (hub.side is HubSide.LOWER, hub.name, hub.id))

    def uppers(self) -> list[LinkedHub]:
        """Those to dial."""
        return [hub for hub in self.all() if hub.side is HubSide.UPPER and hub.joined]

    def above(self, *, without: str = "") -> tuple[str, ...]:
        """Every hub above this one, as far as it is known here. without: leave out this one and what it told."""
        found: dict[str, None] = {}
        for hub in self.uppers():
            if hub.id != without:
                found.update(dict.fromkeys((hub.id, *self._above.get(hub.id, ()))))
        return tuple(found)[:MOST_ABOVE]

    def below(self, upper: LinkedHub) -> tuple[str, ...]:
        """The accepted hubs below this one that were so before the upper hub was accepted here."""
        since = upper.accept_time or self._clock()
        return tuple(
            hub.id
            for hub in self._hubs.values()
            if hub.side is HubSide.LOWER and hub.is_accepted and (hub.accept_time or since) < since
        )

    def note_above(self, hub_id: str, above: tuple[str, ...]) -> None:
        """What an upper hub told of those above it."""
        self._above[hub_id] = above

    def note_have(self, hub_id: str, have: Revision | None) -> None:
        """What `store.hubs.set_have` has made durable."""
        hub = self._hubs.get(hub_id)
        if hub is not None:
            self._hubs[hub_id] = replace(hub, have=have)

    def trouble(self, hub_id: str) -> Trouble | None:
        return self._troubles.get(hub_id)

    def note_trouble(self, hub_id: str, reason: str, message: str) -> None:
        """An empty reason: there is none any more."""
        if not reason:
            self._troubles.pop(hub_id, None)
        elif hub_id in self._hubs:
            self._troubles[hub_id] = Trouble(reason, message, self._clock())

    # Who hears of it.

    def on_ended(self, listener: EndListener) -> None:
        """`listener` is awaited with the id of a hub whose link has ended for good, by either side."""
        self._ended.append(listener)

    def on_changed(self, listener: ChangeListener) -> None:
        """`listener` is called on the event loop with the id of a hub that came, changed or went."""
        self._changed.append(listener)

    async def tell_ended(self, hub_id: str) -> None:
        self._above.pop(hub_id, None)
        for listener in self._ended:
            await listener(hub_id)

    # The upper side.

    async def invite(self, principal: Principal, name: str, level: HubLevel, region_code: str) -> Invitation:
        """A claim for a hub below this one, good once, for 24 hours; an earlier one of that name ends.

        Raises InvalidArgument NAME_INVALID, REGION_UNKNOWN, LEVEL_NOT_BELOW, REGION_NOT_WITHIN; AlreadyExists
        HUB_NAME_TAKEN; ResourceExhausted LIMIT_HUBS.
        """
        require_administrator(principal)
        name = name.strip()
        if not 0 < len(name) <= 128 or not name.isprintable():
            raise InvalidArgument("NAME_INVALID", "the name of a hub is 1 to 128 printable characters")
        if not self._regions.knows(region_code):
            raise InvalidArgument(
                "REGION_UNKNOWN", f"{region_code!r} is no region code of 6 digits (GB/T 2260) known here"
            )
        check_below(level, region_code, HubLevel(self.own.level), self.own.region)
        if name in (self.own.id, self.own.name):
            raise AlreadyExists("HUB_NAME_TAKEN", f"{name} is this very hub: take another name for the one below")
        earlier = self._hubs.get(name) or self._named(name)
        if earlier is not None and (earlier.joined or earlier.side is HubSide.UPPER):
            raise AlreadyExists(
                "HUB_NAME_TAKEN", f"{name} is linked already: `vidhub hub end` it first, or take another name"
            )
        if earlier is None:
            self._check_room()
        token_id = random.token_hex(16)
        issued = await asyncio.to_thread(self.register.ca.issue_claim, token_id)
        time = self._clock()
        hub = LinkedHub(f"invited-{random.token_hex(8)}", name, level, region_code, HubSide.LOWER, create_time=time)

        def work(conn: Connection) -> list[Certificate]:
            changed: list[Certificate] = []
            if earlier is not None:
                hubs.delete(conn, earlier.id)
                changed = self._revoke_all(conn, earlier, time, "replaced")
            hubs.put(conn, hub)
            changed.append(self.register.add(conn, issued, "claim", HUB_CLAIM + hub.id, time, token_id=token_id))
            self._write(conn, principal, "hub.invite", hub)
            return changed

        def apply(changed: list[Certificate]) -> None:
            if earlier is not None:
                self._forget(earlier.id)
            self._learn(hub)
            self.register.learn(changed, "replaced")

        await self._store.write(work, apply=apply)
        return Invitation(hub, issued.certificate_pem, issued.key_pem, issued.not_after)

    async def enrol(
        self, principal: Principal, csr_pem: str, *, hub_id: str, level: HubLevel, region_code: str
    ) -> EnrolledHub:
        """A certificate for the hub that was invited. Until its first link has come up the same key may ask again, for
        an answer may be lost; every other key finds the invitation used.

        Raises PermissionDenied CLAIM_OF_UNIT, HUB_NOT_AS_INVITED; AlreadyExists HUB_ID_TAKEN; Unauthenticated
        CLAIM_USED; InvalidArgument CSR_INVALID.
        """
        claim = self.register.get(principal.fingerprint)
        if principal.kind is not PrincipalKind.CLAIM or claim is None or not claim.subject_id.startswith(HUB_CLAIM):
            raise PermissionDenied("CLAIM_OF_UNIT", "this invites a unit, not a hub: use `vidhub unit enrol`")
        if hub_id == self.own.id:
            raise PermissionDenied("HUB_IS_SELF", f"{hub_id} is this hub: a hub does not stand below itself")
        invitation = claim.subject_id.removeprefix(HUB_CLAIM)
        named = self._named(hub_id)
        if named is not None and named.id not in (invitation, hub_id):
            # Administrators write either: a hub must not be taken for the one that they mean.
            raise AlreadyExists(
                "HUB_ID_TAKEN", f"another hub here is called {hub_id}: ask for another name of that one"
            )
        key = public_key_of(csr_pem)
        digest = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
        issued = await asyncio.to_thread(self.register.ca.issue, "hub", hub_id, csr_pem, life=self.register.life)
        time = self._clock()

        def work(conn: Connection) -> tuple[LinkedHub, list[Certificate]]:
            invited, known = hubs.get(conn, invitation), hubs.get(conn, hub_id)
            held = self.register.live(conn, "hub", hub_id, time)
            changed: list[Certificate] = []
            if invited is None:
                again = known is not None and known.joined_key == digest
                if known is None or not again or not any(c.token_id == invitation for c in held):
                    raise Unauthenticated("CLAIM_USED", "this invitation was used or replaced: ask for a new one")
                joined = known
                changed = self.register.revoke(conn, held, time, "replaced")
            else:
                if (level, region_code) != (invited.level, invited.region_code):
                    raise PermissionDenied(
                        "HUB_NOT_AS_INVITED",
                        f"invited was a {invited.level} of {invited.region_code}, this is a {level} of {region_code}: "
                        "ask for an invitation that fits",
                    )
                if known is not None and not known.end_reason:
                    raise AlreadyExists(
                        "HUB_ID_TAKEN",
                        f"a hub {hub_id} is linked here already: if it is the same, end that link first; "
                        "if this is a copy of it, begin with an empty data directory",
                    )
                joined = replace(
                    invited, id=hub_id, joined=True, joined_key=digest, accepted_here=False, accepted_there=False
                )
                hubs.delete(conn, invited.id)
                hubs.delete(conn, hub_id)
                hubs.put(conn, joined)
            changed.append(self.register.add(conn, issued, "hub", hub_id, time, token_id=invitation))
            self._write(conn, principal, "hub.join", joined, fingerprint=issued.fingerprint)
            return joined, changed

        def apply(done: tuple[LinkedHub, list[Certificate]]) -> None:
            self._forget(invitation)
            self._learn(done[0])
            self.register.learn(done[1], "replaced")

        joined, _ = await self._store.write(work, apply=apply)
        return EnrolledHub(joined, issued.certificate_pem, self.register.ca.ca_pem, issued.not_after)

    async def linked(self, hub: LinkedHub, fingerprint: str) -> None:
        """The first link has come up: the invitation has served its purpose."""
        held = self.register.get(fingerprint)
        if held is None or not held.token_id:
            return
        time = self._clock()
        subject = HUB_CLAIM + held.token_id

        def work(conn: Connection) -> list[Certificate]:
            open_ = [c for c in self.register.live(conn, "claim", subject, time) if c.use_time is None]
            return [replace(c, use_time=time) for c in open_ if certificates.burn(conn, c.fingerprint, time)]

        await self._store.write(work, apply=lambda changed: self.register.learn(changed, "used"))

    # The lower side.

    async def joined(self, principal: Principal, upper: LinkedHub) -> LinkedHub:
        """Records an upper hub that has given this one its certificate."""
        hub = replace(upper, create_time=self._clock())

        def work(conn: Connection) -> None:
            hubs.delete(conn, hub.id)  # what was known of an earlier link is void
            hubs.put(conn, hub)
            self._write(conn, principal, "hub.join", hub)

        await self._store.write(work, apply=lambda _: self._learn(hub))
        return hub

    def check_joinable(self, upper: LinkedHub) -> None:
        """Raises AlreadyExists HUB_ALREADY_LINKED, FailedPrecondition LINK_CYCLE, ResourceExhausted LIMIT_HUBS."""
        known = self._hubs.get(upper.id)
        if known is not None and known.side is HubSide.LOWER:
            raise FailedPrecondition("LINK_CYCLE", f"{upper.id} stands below this hub: it cannot stand above it too")
        if known is not None and not known.end_reason:
            raise AlreadyExists("HUB_ALREADY_LINKED", f"{known.name} is linked already: `vidhub hub end` it first")
        if known is None:
            self._check_room()

    # Both.

    async def accept(self, principal: Principal, id_or_name: str) -> LinkedHub:
        """Confirms name, level and region. Raises FailedPrecondition HUB_NOT_JOINED, LINK_ENDED."""
        require_administrator(principal)
        hub = self.find(id_or_name)
        if hub.end_reason:
            raise FailedPrecondition(
                "LINK_ENDED", f"{hub.name} has ended the link: `vidhub hub end`, then invite it anew"
            )
        if not hub.joined:
            raise FailedPrecondition("HUB_NOT_JOINED", f"{hub.name} has not joined yet: `vidhub hub join` there first")
        if hub.accepted_here:
            return hub
        time = self._clock()
        return await self._change(
            hub.id, lambda now_: replace(now_, accepted_here=True, accept_time=time), principal, "hub.accept"
        )

    async def heard(self, hub_id: str, *, accepted: bool, signing_key_pem: str) -> None:
        """What the other side says of itself, kept."""
        hub = self._hubs.get(hub_id)
        if hub is not None and (hub.accepted_there, hub.signing_key_pem) != (accepted, signing_key_pem):
            await self._change(hub_id, lambda h: replace(h, accepted_there=accepted, signing_key_pem=signing_key_pem))

    async def end(self, principal: Principal, id_or_name: str, reason: str) -> tuple[LinkedHub, list[Certificate]]:
        """Takes the hub out. The certificates that it gives are revoked in the store; `Register.learn` makes them so
        here, once the other side has heard."""
        require_administrator(principal)
        if not reason.strip():
            raise InvalidArgument("REASON_MISSING", "say why the link ends: it goes on record")
        hub = self.find(id_or_name)
        time = self._clock()

        def work(conn: Connection) -> list[Certificate]:
            hubs.delete(conn, hub.id)
            self._write(conn, principal, "hub.end", hub, reason=reason)
            return self._revoke_all(conn, hub, time, "LINK_ENDED")

        revoked = await self._store.write(work, apply=lambda _: self._forget(hub.id))
        return hub, revoked

    async def ended_there(self, hub_id: str, reason: str) -> None:
        """The other side has ended the link for good: it is shown until `end`."""
        hub = self._hubs.get(hub_id)
        if hub is None or hub.end_reason:
            return
        time = self._clock()
        ended = replace(hub, joined=False, accepted_here=False, accepted_there=False, end_reason=reason, have=None)

        def work(conn: Connection) -> list[Certificate]:
            hubs.put(conn, ended)
            hubs.set_have(conn, hub_id, None)
            principal = Principal(PrincipalKind.HUB, hub_id, hub_id=self.own.id)
            self._write(conn, principal, "hub.ended", ended, reason=reason)
            return self._revoke_all(conn, ended, time, reason)

        def apply(revoked: list[Certificate]) -> None:
            self._learn(ended)
            self.register.learn(revoked, reason)

        await self._store.write(work, apply=apply)

    # Inside.

    def _named(self, name: str) -> LinkedHub | None:
        return next((hub for hub in self._hubs.values() if hub.name == name), None)

    def _check_room(self) -> None:
        if len(self._hubs) >= MOST_HUBS:
            raise ResourceExhausted("LIMIT_HUBS", f"{MOST_HUBS} hubs are linked: end a link before you begin another")

    async def _change(
        self,
        hub_id: str,
        change: Callable[[LinkedHub], LinkedHub],
        principal: Principal | None = None,
        action: str = "",
    ) -> LinkedHub:
        def work(conn: Connection) -> LinkedHub:
            held = hubs.get(conn, hub_id)
            if held is None:
                raise NotFound("HUB_NOT_FOUND", "the link has ended meanwhile")
            hub = change(held)
            hubs.put(conn, hub)
            if principal is not None:
                self._write(conn, principal, action, hub)
            return hub

        return await self._store.write(work, apply=self._learn)

    def _revoke_all(self, conn: Connection, hub: LinkedHub, time: datetime, reason: str) -> list[Certificate]:
        """Of a lower hub: its certificates, and the invitations that are open."""
        held = self.register.live(conn, "hub", hub.id, time)
        subjects = {HUB_CLAIM + one for one in (hub.id, *(c.token_id for c in held)) if one}
        claims = [c for one in sorted(subjects) for c in self.register.live(conn, "claim", one, time)]
        return self.register.revoke(conn, [*held, *(c for c in claims if c.use_time is None)], time, reason)

    def _write(self, conn: Connection, principal: Principal, action: str, hub: LinkedHub, **more: str) -> None:
        detail = {
            "name": hub.name,
            "level": hub.level.value,
            "region": hub.region_code,
            "side": hub.side.value,
            **more,
        }
        record = AuditRecord.of(principal, action, f"hub/{hub.id}", detail_json=json.dumps(detail, ensure_ascii=False))
        self._audit.append(conn, [record])

    def _learn(self, hub: LinkedHub) -> None:
        self._hubs[hub.id] = hub
        for listener in self._changed:
            listener(hub.id)

    def _forget(self, hub_id: str) -> None:
        self._hubs.pop(hub_id, None)
        self._troubles.pop(hub_id, None)
        for listener in self._changed:
            listener(hub_id)
