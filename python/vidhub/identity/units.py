"""Units: invited by a token, enrolled by a claim, known by their certificate, and cut off by its revocation."""

from __future__ import annotations

import asyncio
import json
import secrets as random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from vidhub import paging
from vidhub.audit import AuditLog
from vidhub.errors import InvalidArgument, NotFound, PermissionDenied, ResourceExhausted, Unauthenticated
from vidhub.identity.accounts import may_look_up, require_administrator
from vidhub.identity.ca import CLIENT_LIFE, CertificateAuthority
from vidhub.identity.register import Register, RevocationListener
from vidhub.model import AuditRecord, Principal, PrincipalKind, Role, Unit
from vidhub.store import Store, certificates, industries, regions, units
from vidhub.store.certificates import Certificate
from vidhub.store.regions import RegionTable
from vidhub.store.times import now

MOST_UNITS = 10_000
MOST_CERTIFICATES = 100


@dataclass(frozen=True, slots=True)
class UnitFilter:
    """All given conditions hold together. text: part of the name, or the id. state: "" for all. expires_within: of its
    last good certificate."""

    text: str = ""
    region_prefix: str = ""
    industry: str = ""
    state: str = ""
    expires_within: timedelta | None = None


@dataclass(frozen=True, slots=True)
class UnitSeen:
    """certificate_end: of its last good certificate, None where it holds none. cameras: of its own, not retired."""

    unit: Unit
    certificate_end: datetime | None
    cameras: int


@dataclass(frozen=True, slots=True)
class UnitPage:
    """In order of name. total: all that match."""

    units: tuple[UnitSeen, ...]
    next_page_token: str
    total: int


@dataclass(frozen=True, slots=True)
class UnitCertificate:
    """state: "good", "expired", "revoked", or of a claim "used"."""

    certificate: Certificate
    state: str


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


ALL = UnitFilter()


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
                if units.count(conn) >= MOST_UNITS:
                    raise ResourceExhausted("LIMIT_UNITS", f"a hub has {MOST_UNITS} units at most")
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

    async def list_units(
        self,
        principal: Principal,
        wanted: UnitFilter = ALL,
        *,
        page_size: int = 0,
        page_token: str = "",
    ) -> UnitPage:
        """Raises PermissionDenied ROLE_MISSING."""
        if not may_look_up(principal):
            raise PermissionDenied("ROLE_MISSING", "the list of units is for those who administer, grant or audit")
        question = (principal.ref, wanted)
        after = paging.after("units", question, page_token)
        limit = paging.size(page_size)
        time = self._clock()
        ends = self.register.ends("unit", time)

        def read(conn: Connection) -> tuple[list[Unit], list[Unit], dict[str, int]]:
            found = [unit for unit in units.load(conn) if _matches(unit, ends.get(unit.id), wanted, time)]
            rest = [unit for unit in found if _order(unit) > after]
            return found, rest, units.cameras_of(conn, [unit.id for unit in rest[:limit]])

        found, rest, count = await self._store.read(read)
        more = _order(rest[limit - 1]) if len(rest) > limit else None
        shown = tuple(UnitSeen(unit, ends.get(unit.id), count.get(unit.id, 0)) for unit in rest[:limit])
        return UnitPage(shown, paging.token("units", question, more), len(found))

    async def all_units(self, principal: Principal, wanted: UnitFilter = ALL) -> list[UnitSeen]:
        """Every page of `list_units`."""
        found: list[UnitSeen] = []
        token = ""
        while True:
            page = await self.list_units(principal, wanted, page_size=paging.MOST, page_token=token)
            found += page.units
            token = page.next_page_token
            if not token:
                return found

    async def look_at(self, principal: Principal, unit_id: str) -> tuple[UnitSeen, tuple[UnitCertificate, ...]]:
        """A unit with its certificates and claims, newest first. unit_id: "" for one's own.

        Raises NotFound UNIT_UNKNOWN, also to those whose unit it is not.
        """
        unit_id = unit_id or principal.unit_id
        is_own = bool(unit_id) and unit_id == principal.unit_id
        is_of_unit = principal.kind is PrincipalKind.UNIT or Role.UNIT in principal.roles
        may = may_look_up(principal) or (is_own and is_of_unit)

        def read(conn: Connection) -> tuple[Unit | None, list[Certificate], int]:
            held = [one for kind in ("unit", "claim") for one in certificates.of_subject(conn, kind, unit_id)]
            return units.get(conn, unit_id), held, units.cameras_of(conn, [unit_id]).get(unit_id, 0)

        unit, held, cameras = await self._store.read(read) if may and unit_id else (None, [], 0)
        if unit is None:
            raise NotFound("UNIT_UNKNOWN", f"there is no unit {unit_id[:64]!r} that you may see")
        time = self._clock()
        held.sort(key=lambda one: (one.create_time, one.fingerprint), reverse=True)
        shown = tuple(UnitCertificate(one, _state(one, time)) for one in held[:MOST_CERTIFICATES])
        return UnitSeen(unit, self.register.ends("unit", time).get(unit_id), cameras), shown

    def name_of(self, unit_id: str) -> str:
        """ "" for a unit that this hub has not invited."""
        return self._names.get(unit_id, "")

    async def get(self, unit_id: str) -> Unit | None:
        return await self._store.read(lambda conn: units.get(conn, unit_id))

    def by_certificate(self, pem: bytes, address: str) -> Principal:
        """As `Register.by_certificate`."""
        return self.register.by_certificate(pem, address)


def _matches(unit: Unit, end: datetime | None, wanted: UnitFilter, now: datetime) -> bool:
    text = wanted.text.casefold()
    return (
        (not text or text in unit.name.casefold() or text == unit.id)
        and unit.region_code.startswith(wanted.region_prefix)
        and (not wanted.industry or unit.industry == wanted.industry)
        and (not wanted.state or unit.state == wanted.state)
        and (wanted.expires_within is None or (end is not None and end - now <= wanted.expires_within))
    )


def _order(unit: Unit) -> str:
    return f"{unit.name}\0{unit.id}"


def _state(certificate: Certificate, now: datetime) -> str:
    if certificate.revoke_time is not None:
        return "revoked"
    if certificate.use_time is not None:
        return "used"
    return "expired" if certificate.not_after <= now else "good"


def _record(principal: Principal, action: str, unit_id: str, **detail: str | int) -> AuditRecord:
    return AuditRecord(
        principal=principal.ref,
        principal_unit=principal.unit_id,
        action=action,
        resource=f"unit/{unit_id}",
        source_address=principal.address,
        trace_id=principal.trace_id,
        detail_json=json.dumps(detail, ensure_ascii=False),
    )
