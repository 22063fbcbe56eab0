"""The linked hubs of one hub, on a store of its own, with a clock that moves only when told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from vidhub.audit import AuditLog
from vidhub.config import HubOptions
from vidhub.identity import Register
from vidhub.link.peers import EnrolledHub, Invitation, Peers
from vidhub.model import HubLevel, Principal, PrincipalKind
from vidhub.mtls import new_key, signing_request
from vidhub.store import Store

OWN = HubOptions("yingtan", "鹰潭市", "city", "360600")
SYSTEM = Principal(PrincipalKind.SYSTEM, hub_id=OWN.id)


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, **parts: float) -> None:
        self.time += timedelta(**parts)


@dataclass
class Bench:
    """A hub's peers, and what an invited hub does."""

    store: Store
    audit: AuditLog
    register: Register
    peers: Peers
    clock: Clock

    async def invite(self, name: str = "yuehu", region: str = "360602") -> Invitation:
        return await self.peers.invite(SYSTEM, name, HubLevel.DISTRICT, region)

    def claim(self, invitation: Invitation) -> Principal:
        """Who shows it, as the edge makes them out. Raises Unauthenticated."""
        return self.register.by_certificate(invitation.claim_certificate_pem.encode(), "192.0.2.7")

    async def enrol(
        self,
        invitation: Invitation,
        key: ec.EllipticCurvePrivateKey | None = None,
        *,
        hub_id: str = "yuehu",
        level: HubLevel = HubLevel.DISTRICT,
        region: str = "360602",
    ) -> EnrolledHub:
        return await self.peers.enrol(
            self.claim(invitation),
            signing_request(key or new_key()),
            hub_id=hub_id,
            level=level,
            region_code=region,
        )

    async def again(self) -> Peers:
        """As a restart finds them."""
        return await Peers.open(self.store, self.audit, self.register, OWN, clock=self.clock)

    async def actions(self) -> list[tuple[str, str]]:
        page = await self.audit.list(limit=1_000)
        return [(e.record.principal, e.record.action) for e in reversed(page.entries)]
