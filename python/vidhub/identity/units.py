"""Units: invited by a token, enrolled by a claim, known by their certificate, and cut off by its revocation."""

from __future__ import annotations

import asyncio
import json
import secrets as random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from vidhub.audit import AuditLog
from vidhub.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from vidhub.identity.accounts import require_administrator
from vidhub.identity.ca import CLIENT_LIFE, CertificateAuthority
from vidhub.identity.register import Register, RevocationListener
from vidhub.model import AuditRecord, Principal, PrincipalKind, Role, Unit
from vidhub.store import Store, certificates, industries, regions, units
from vidhub.store.certificates import Certificate
from vidhub.store.regions import RegionTable
from vidhub.store.times import now


@dataclass(frozen=True, slots=True)
class EnrolmentToken:
    """enrolment: the content of the enrolment file."""

    unit_id: str
    enrolment: dict[str, str] = field(repr=False)
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Enrolled:
    unit_id: str
    certificate_pem: str
    ca_pem: str
    not_after: datetime


class Units:
    """register: of all certificates, in memory."""

    def __init__(
        self,
        store: Store,
        audit: AuditLog,
        register: Register,
        names: dict[str, str],
        table: RegionTable,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._audit = audit
        self.register = register
        self._ca = register.ca
        self._names = names
        self._regions = table
        self._clock = clock
        self._cut_off_listeners: list[Callable[[str], None]] = []

    @classmethod
    async def open(
        cls,
        store: Store,
        audit: AuditLog,
        ca: CertificateAuthority,
        *,
        life: timedelta = CLIENT_LIFE,
        clock: Callable[[], datetime] = now,
    ) -> Units:
        """life: of the certificates that units and hubs get."""
        register = await Register.open(store, ca, life=life, clock=clock)
        table = RegionTable(await store.read(regions.load))
        names = {unit.id: unit.name for unit in await store.read(units.load)}
        return cls(store, audit, register, names, table, clock)

    def on_revoked(self, listener: RevocationListener) -> None:
        """As `Register.on_revoked`."""
        self.register.on_revoked(listener)

    def on_cut_off(self, listener: Callable[[str], None]) -> None:
        """`listener` is called on the event loop with the id of a unit as soon as it is cut off for good."""
        self._cut_off_listeners.append(listener)

    async def create_token(
        self, principal: Principal, name: str, region: str, industry: str, hub_address: str
    ) -> EnrolmentToken:
        """Invite a unit, or an existing one of that name anew: the claim is good once, for 24 hours; older ones end."""
        require_administrator(principal)
        name = name.strip()
        if not 0 < len(name) <= 128 or not name.isprintable():
            raise InvalidArgument("NAME_INVALID", "the name of a unit is 1 to 128 printable characters")
        if not self._regions.knows(region):
            raise InvalidArgument("REGION_UNKNOWN", f"{region!r} is no region code of 6 digits (GB/T 2260) known here")
        if not industries.knows(industry):
            raise InvalidArgument("INDUSTRY_UNKNOWN", f"{industry!r} is no industry code of 2 digits (GB/T 28181)")
        token_id = random.token_hex(16)
        issued = await asyncio.to_thread(self._ca.issue_claim, token_id)
        time = self._clock()

        def work(conn: Connection) -> tuple[Unit, list[Certificate]]:
            unit = units.by_name(conn, name)
            if unit is None:
                unit = Unit(random.token_hex(8), name, region, industry, "invited", time)
            else:
                state = "invited" if unit.state == "revoked" else unit.state
                unit = replace(unit, region_code=region, industry=industry, state=state)
            units.put(conn, unit)
            earlier = [t for t in self.register.live(conn, "claim", unit.id, time) if t.use_time is None]
            changed = self.register.revoke(conn, earlier, time, "replaced")
            claim = self.register.add(conn, issued, "claim", unit.id, time, token_id=token_id)
            self._audit.append(
                conn, [_record(principal, "unit.token", unit.id, region=region, industry=industry, name=name)]
            )
            return unit, [*changed, claim]

        unit, _ = await self._store.write(work, apply=lambda done: self.register.learn(done[1], "replaced"))
        self._names[unit.id] = unit.name
        return EnrolmentToken(
            unit_id=unit.id,
            enrolment={
                "hub": hub_address,
                "ca_pem": self._ca.ca_pem,
                "claim_certificate_pem": issued.certificate_pem,
                "claim_key_pem": issued.key_pem,
                "expire_time": issued.not_after.isoformat().replace("+00:00", "Z"),
            },
            expire_time=issued.not_after,
        )

    async def enrol(self, principal: Principal, csr_pem: str) -> Enrolled:
        """Burn the caller's claim for a certificate; of two at once, one wins and the other is told CLAIM_USED."""
        if principal.kind is not PrincipalKind.CLAIM:
            raise PermissionDenied("CLAIM_REQUIRED", "only a claim enrols: use the enrolment file, or RenewCertificate")
        if not principal.unit_id:
            raise PermissionDenied(
                "CLAIM_OF_HUB", "this is an invitation of a hub, not of a unit: use `vidhub hub join`"
            )
        unit_id = principal.unit_id
        issued = await asyncio.to_thread(self._ca.issue, "unit", unit_id, csr_pem, life=self.register.life)
        time = self._clock()

        def work(conn: Connection) -> list[Certificate]:
            if not certificates.burn(conn, principal.fingerprint, time):
                raise Unauthenticated("CLAIM_USED", "this claim was used or replaced: ask the hub for a new token")
            if not units.set_state(conn, unit_id, "enrolled"):
                raise NotFound("UNIT_UNKNOWN", "the unit of this claim is gone: ask the hub for a new token")
            fresh = self.register.add(conn, issued, "unit", unit_id, time)
            replaced = self.register.revoke(conn, self.register.surplus(conn, "unit", unit_id, time), time, "replaced")
            self._audit.append(conn, [_record(principal, "unit.enrol", unit_id, fingerprint=issued.fingerprint)])
            claim = certificates.get(conn, principal.fingerprint)
            return [*replaced, fresh, *([] if claim is None else [claim])]

        await self._store.write(work, apply=lambda changed: self.register.learn(changed, "replaced"))
        return Enrolled(unit_id, issued.certificate_pem, self._ca.ca_pem, issued.not_after)

    async def renew(self, principal: Principal, csr_pem: str) -> Enrolled:
        """A further certificate for the holder of a good one, which stays good until its own end."""
        if principal.kind not in (PrincipalKind.UNIT, PrincipalKind.HUB):
            raise PermissionDenied("CERTIFICATE_REQUIRED", "only an enrolled unit or hub renews its certificate")
        kind, subject_id = principal.kind.value, principal.id
        issued = await asyncio.to_thread(self._ca.issue, kind, subject_id, csr_pem, life=self.register.life)
        time = self._clock()

        def work(conn: Connection) -> list[Certificate]:
            held = certificates.get(conn, principal.fingerprint)
            if held is None or held.revoke_time is not None:
                raise Unauthenticated(
                    "CERTIFICATE_REVOKED", "this certificate was revoked: ask the hub for a new token"
                )
            fresh = self.register.add(conn, issued, kind, subject_id, time)
            # The one that asks stays good: an answer may be lost, or not be kept, as often as there is room for.
            surplus = self.register.surplus(conn, kind, subject_id, time, besides=held.fingerprint)
            replaced = self.register.revoke(conn, surplus, time, "replaced")
            record = AuditRecord.of(
                principal,
                f"{kind}.renew",
                f"{kind}/{subject_id}",
                detail_json=json.dumps({"fingerprint": issued.fingerprint}),
            )
            self._audit.append(conn, [record])
            return [*replaced, fresh]

        await self._store.write(work, apply=lambda changed: self.register.learn(changed, "replaced"))
        return Enrolled(subject_id, issued.certificate_pem, self._ca.ca_pem, issued.not_after)

    async def revoke(self, principal: Principal, unit_id: str, reason: str) -> int:
        """Revoke every certificate and claim of a unit; live calls end at once. Returns how many there were."""
        require_administrator(principal)
        if not reason.strip():
            raise InvalidArgument("REASON_MISSING", "say why the unit is cut off: it goes on record")
        time = self._clock()

        def work(conn: Connection) -> list[Certificate]:
            if not units.set_state(conn, unit_id, "revoked"):
                raise NotFound("UNIT_UNKNOWN", f"there is no unit {unit_id}: see `vidhub unit list`")
            claims = [c for c in self.register.live(conn, "claim", unit_id, time) if c.use_time is None]
            revoked = self.register.revoke(
                conn, [*self.register.live(conn, "unit", unit_id, time), *claims], time, reason
            )
            self._audit.append(conn, [_record(principal, "unit.revoke", unit_id, reason=reason, revoked=len(revoked))])
            return revoked

        def apply(changed: list[Certificate]) -> None:
            self.register.learn(changed, reason)
            for listener in self._cut_off_listeners:
                listener(unit_id)

        revoked = await self._store.write(work, apply=apply)
        return len(revoked)

    async def list_units(self, principal: Principal) -> list[Unit]:
        if principal.kind is not PrincipalKind.SYSTEM and not principal.roles - {Role.OPERATOR, Role.UNIT}:
            raise PermissionDenied("ROLE_MISSING", "the list of units is for administrators, supervisors and auditors")
        return await self._store.read(units.load)

    def name_of(self, unit_id: str) -> str:
        """ "" for a unit that this hub has not invited."""
        return self._names.get(unit_id, "")

    async def get(self, unit_id: str) -> Unit | None:
        return await self._store.read(lambda conn: units.get(conn, unit_id))

    def by_certificate(self, pem: bytes, address: str) -> Principal:
        """As `Register.by_certificate`."""
        return self.register.by_certificate(pem, address)


def _record(principal: Principal, action: str, unit_id: str, **detail: str | int) -> AuditRecord:
    return AuditRecord(
        principal=principal.ref,
        principal_unit=principal.unit_id,
        action=action,
        resource=f"unit/{unit_id}",
        source_address=principal.address,
        detail_json=json.dumps(detail, ensure_ascii=False),
    )
