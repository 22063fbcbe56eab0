"""Units: invited by a token, enrolled by a claim, known by their certificate, and cut off by its revocation."""

from __future__ import annotations

import asyncio
import json
import secrets as random
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from vidhub.audit import AuditLog
from vidhub.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from vidhub.identity.accounts import require_administrator
from vidhub.identity.ca import CLIENT_LIFE, CertificateAuthority, Issued, fingerprint_of, identity_of
from vidhub.model import AuditRecord, Principal, PrincipalKind, Role, Unit
from vidhub.store import Store, certificates, industries, regions, units
from vidhub.store.certificates import Certificate
from vidhub.store.regions import RegionTable
from vidhub.store.times import now

# Live certificates of one subject; the oldest beyond it are revoked as replaced, so renewing can't fill the register.
MAX_LIVE = 8
_MAX_PARSED = 4_096
_MAX_PEM = 64 * 1024

log = structlog.get_logger(__name__)

# (fingerprints that are no longer good, reason)
RevocationListener = Callable[[frozenset[str], str], None]


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
    """The register of certificates is held in memory too: each call asks it."""

    def __init__(
        self,
        store: Store,
        audit: AuditLog,
        ca: CertificateAuthority,
        known: dict[str, Certificate],
        names: dict[str, str],
        table: RegionTable,
        life: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._audit = audit
        self._ca = ca
        self._known = known
        self._names = names
        self._regions = table
        self._life = life
        self._clock = clock
        self._parsed: OrderedDict[str, tuple[str, str, str] | None] = OrderedDict()
        self._listeners: list[RevocationListener] = []
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
        """life: of the certificates that units get."""
        time = clock()
        known = await store.read(lambda conn: {c.fingerprint: c for c in certificates.load(conn, time)})
        table = RegionTable(await store.read(regions.load))
        names = {unit.id: unit.name for unit in await store.read(units.load)}
        return cls(store, audit, ca, known, names, table, life, clock)

    def on_revoked(self, listener: RevocationListener) -> None:
        """`listener` is called on the event loop as soon as a revocation is durable, to cut live calls."""
        self._listeners.append(listener)

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
            earlier = [t for t in _live(conn, "claim", unit.id, time) if t.use_time is None]
            changed = _revoke(conn, earlier, time, "replaced")
            claim = _register(conn, issued, "claim", unit.id, time, token_id=token_id)
            self._audit.append(
                conn, [_record(principal, "unit.token", unit.id, region=region, industry=industry, name=name)]
            )
            return unit, [*changed, claim]

        unit, _ = await self._store.write(work, apply=lambda done: self._learn(done[1], "replaced"))
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
        unit_id = principal.unit_id
        issued = await asyncio.to_thread(self._ca.issue, "unit", unit_id, csr_pem, life=self._life)
        time = self._clock()

        def work(conn: Connection) -> list[Certificate]:
            if not certificates.burn(conn, principal.fingerprint, time):
                raise Unauthenticated("CLAIM_USED", "this claim was used or replaced: ask the hub for a new token")
            if not units.set_state(conn, unit_id, "enrolled"):
                raise NotFound("UNIT_UNKNOWN", "the unit of this claim is gone: ask the hub for a new token")
            fresh = _register(conn, issued, "unit", unit_id, time)
            replaced = _revoke(conn, _surplus(conn, "unit", unit_id, time), time, "replaced")
            self._audit.append(conn, [_record(principal, "unit.enrol", unit_id, fingerprint=issued.fingerprint)])
            claim = certificates.get(conn, principal.fingerprint)
            return [*replaced, fresh, *([] if claim is None else [claim])]

        await self._store.write(work, apply=lambda changed: self._learn(changed, "replaced"))
        return Enrolled(unit_id, issued.certificate_pem, self._ca.ca_pem, issued.not_after)

    async def renew(self, principal: Principal, csr_pem: str) -> Enrolled:
        """A further certificate for the holder of a good one, which stays good until its own end."""
        if principal.kind not in (PrincipalKind.UNIT, PrincipalKind.HUB):
            raise PermissionDenied("CERTIFICATE_REQUIRED", "only an enrolled unit or hub renews its certificate")
        kind, subject_id = principal.kind.value, principal.id
        issued = await asyncio.to_thread(self._ca.issue, kind, subject_id, csr_pem, life=self._life)
        time = self._clock()

        def work(conn: Connection) -> list[Certificate]:
            held = certificates.get(conn, principal.fingerprint)
            if held is None or held.revoke_time is not None:
                raise Unauthenticated(
                    "CERTIFICATE_REVOKED", "this certificate was revoked: ask the hub for a new token"
                )
            fresh = _register(conn, issued, kind, subject_id, time)
            replaced = _revoke(conn, _surplus(conn, kind, subject_id, time), time, "replaced")
            self._audit.append(conn, [_record(principal, f"{kind}.renew", subject_id, fingerprint=issued.fingerprint)])
            return [*replaced, fresh]

        await self._store.write(work, apply=lambda changed: self._learn(changed, "replaced"))
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
            claims = [c for c in _live(conn, "claim", unit_id, time) if c.use_time is None]
            revoked = _revoke(conn, [*_live(conn, "unit", unit_id, time), *claims], time, reason)
            self._audit.append(conn, [_record(principal, "unit.revoke", unit_id, reason=reason, revoked=len(revoked))])
            return revoked

        def apply(changed: list[Certificate]) -> None:
            self._learn(changed, reason)
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
        """Who holds this client certificate. No input or output but memory: every call asks.

        Raises Unauthenticated CERTIFICATE_UNKNOWN, CERTIFICATE_EXPIRED, CERTIFICATE_REVOKED, CLAIM_USED, CLAIM_EXPIRED.
        """
        try:
            if len(pem) > _MAX_PEM:
                raise ValueError("too long")
            der = ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
        except ValueError as cause:  # what is no PEM, base64 or ASCII
            raise Unauthenticated("CERTIFICATE_UNKNOWN", "this is no certificate: use the one the hub gave") from cause
        return self._principal(der, fingerprint_of(der), address)

    def _principal(self, der: bytes, fingerprint: str, address: str) -> Principal:
        held = self._known.get(fingerprint)
        if held is None:
            raise Unauthenticated(
                "CERTIFICATE_UNKNOWN", "this hub did not give this certificate, or it is long expired"
            )
        named = self._parse(der, fingerprint)
        expected = held.token_id if held.kind == "claim" else held.subject_id
        if named != (self._ca.hub_id, held.kind, expected):
            raise Unauthenticated("CERTIFICATE_UNKNOWN", "this certificate names somebody else: enrol again")
        claim = held.kind == "claim"
        if claim and held.use_time is not None:
            raise Unauthenticated("CLAIM_USED", "this claim was used: ask the hub for a new token")
        if held.revoke_time is not None:
            word = "claim" if claim else "certificate"
            raise Unauthenticated("CERTIFICATE_REVOKED", f"this {word} was revoked: ask the hub for a new token")
        if held.not_after <= self._clock():
            reason, word = ("CLAIM_EXPIRED", "claim") if claim else ("CERTIFICATE_EXPIRED", "certificate")
            raise Unauthenticated(reason, f"this {word} has expired: ask the hub for a new token")
        return Principal(
            kind=PrincipalKind(held.kind),
            id=expected,
            hub_id=self._ca.hub_id,
            unit_id=held.subject_id if held.kind != "hub" else "",
            fingerprint=fingerprint,
            address=address,
        )

    def _parse(self, der: bytes, fingerprint: str) -> tuple[str, str, str] | None:
        if fingerprint in self._parsed:
            self._parsed.move_to_end(fingerprint)
            return self._parsed[fingerprint]
        if len(self._parsed) >= _MAX_PARSED:
            self._parsed.popitem(last=False)
        named = self._parsed[fingerprint] = identity_of(der)
        return named

    def _learn(self, changed: list[Certificate], reason: str) -> None:
        """Take over what became durable, and tell who has live calls."""
        time = self._clock()
        if len(self._known) > 1_024 and len(self._known) % 256 == 0:
            self._known = {f: c for f, c in self._known.items() if c.not_after > time}
        for certificate in changed:
            self._known[certificate.fingerprint] = certificate
        gone = frozenset(c.fingerprint for c in changed if c.revoke_time is not None)
        if gone:
            for listener in self._listeners:
                listener(gone, reason)


def _record(principal: Principal, action: str, unit_id: str, **detail: str | int) -> AuditRecord:
    return AuditRecord(
        principal=principal.ref,
        principal_unit=principal.unit_id,
        action=action,
        resource=f"unit/{unit_id}",
        source_address=principal.address,
        detail_json=json.dumps(detail, ensure_ascii=False),
    )


def _register(
    conn: Connection, issued: Issued, kind: str, subject_id: str, time: datetime, *, token_id: str = ""
) -> Certificate:
    certificate = Certificate(
        fingerprint=issued.fingerprint,
        kind=kind,
        subject_id=subject_id,
        not_before=issued.not_before,
        not_after=issued.not_after,
        create_time=time,
        token_id=token_id,
    )
    certificates.insert(conn, certificate)
    return certificate


def _live(conn: Connection, kind: str, subject_id: str, time: datetime) -> list[Certificate]:
    found = certificates.of_subject(conn, kind, subject_id)
    return [c for c in found if c.revoke_time is None and c.not_after > time]


def _surplus(conn: Connection, kind: str, subject_id: str, time: datetime) -> list[Certificate]:
    return _live(conn, kind, subject_id, time)[:-MAX_LIVE]


def _revoke(conn: Connection, revoked: list[Certificate], time: datetime, reason: str) -> list[Certificate]:
    certificates.revoke(conn, [c.fingerprint for c in revoked], time, reason)
    return [replace(c, revoke_time=time, revoke_reason=reason) for c in revoked]
