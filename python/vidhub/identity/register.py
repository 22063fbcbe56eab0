"""The register of client certificates in memory: who holds one, and whose are no longer good. Each call asks it."""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from vidhub.errors import Unauthenticated
from vidhub.identity.ca import CLIENT_LIFE, CertificateAuthority, Issued, fingerprint_of, identity_of
from vidhub.model import Principal, PrincipalKind
from vidhub.store import Store, certificates
from vidhub.store.certificates import Certificate
from vidhub.store.times import now

# Live certificates of one subject; the oldest beyond it are revoked as replaced, so renewing can't fill the register.
MAX_LIVE = 8
_MAX_PARSED = 4_096
_MAX_PEM = 64 * 1024
# What a claim of a hub is registered under: "hub:" and the invitation. That of a unit: the unit's id.
HUB_CLAIM = "hub:"

# (fingerprints that are no longer good, reason)
RevocationListener = Callable[[frozenset[str], str], None]


class Register:
    """Every certificate that the hub's CA gave and that has not expired.

    `add`, `live`, `surplus` and `revoke` are parts of a transaction; `learn` takes over what it has made durable.
    """

    def __init__(
        self,
        ca: CertificateAuthority,
        known: dict[str, Certificate],
        life: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        """life: of the certificates that units and hubs get."""
        self.ca = ca
        self.life = life
        self._known = known
        self._clock = clock
        self._parsed: OrderedDict[str, tuple[str, str, str] | None] = OrderedDict()
        self._listeners: list[RevocationListener] = []

    @classmethod
    async def open(
        cls,
        store: Store,
        ca: CertificateAuthority,
        *,
        life: timedelta = CLIENT_LIFE,
        clock: Callable[[], datetime] = now,
    ) -> Register:
        time = clock()
        known = await store.read(lambda conn: {c.fingerprint: c for c in certificates.load(conn, time)})
        return cls(ca, known, life, clock)

    def on_revoked(self, listener: RevocationListener) -> None:
        """`listener` is called on the event loop as soon as a revocation is durable, to cut live calls."""
        self._listeners.append(listener)

    def get(self, fingerprint: str) -> Certificate | None:
        return self._known.get(fingerprint)

    def newest(self, kind: str, subject_id: str) -> datetime | None:
        """The latest end of a subject's good certificates."""
        good = (c for c in self._known.values() if c.subject_id == subject_id and c.kind == kind)
        return max((c.not_after for c in good if c.revoke_time is None), default=None)

    def ends(self, kind: str, now: datetime) -> dict[str, datetime]:
        """Of each subject that holds a good certificate, the end of the newest."""
        newest: dict[str, datetime] = {}
        for one in self._known.values():
            if one.kind == kind and one.revoke_time is None and one.not_after > now:
                newest[one.subject_id] = max(one.not_after, newest.get(one.subject_id, one.not_after))
        return newest

    def ending(self, before: datetime) -> dict[tuple[str, str], datetime]:
        """Units and hubs, by kind and id, whose newest good certificate ends before then; those that have none left are
        not among them."""
        time = self._clock()
        return {
            (kind, subject): end
            for kind in ("unit", "hub")
            for subject, end in self.ends(kind, time).items()
            if end < before
        }

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

    def learn(self, changed: Iterable[Certificate], reason: str) -> None:
        """Take over what became durable, and tell who has live calls."""
        time = self._clock()
        if len(self._known) > 1_024 and len(self._known) % 256 == 0:
            self._known = {f: c for f, c in self._known.items() if c.not_after > time}
        changed = tuple(changed)
        for certificate in changed:
            self._known[certificate.fingerprint] = certificate
        gone = frozenset(c.fingerprint for c in changed if c.revoke_time is not None)
        if gone:
            for listener in self._listeners:
                listener(gone, reason)

    # Within a transaction.

    def add(
        self, conn: Connection, issued: Issued, kind: str, subject_id: str, time: datetime, *, token_id: str = ""
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

    def live(self, conn: Connection, kind: str, subject_id: str, time: datetime) -> list[Certificate]:
        """Those that are neither revoked nor expired; a claim also when it was used."""
        found = certificates.of_subject(conn, kind, subject_id)
        return [c for c in found if c.revoke_time is None and c.not_after > time]

    def surplus(
        self, conn: Connection, kind: str, subject_id: str, time: datetime, *, besides: str = ""
    ) -> list[Certificate]:
        """The oldest beyond MAX_LIVE, besides the one of that fingerprint."""
        live = self.live(conn, kind, subject_id, time)
        return [c for c in live if c.fingerprint != besides][: max(len(live) - MAX_LIVE, 0)]

    def revoke(self, conn: Connection, revoked: list[Certificate], time: datetime, reason: str) -> list[Certificate]:
        """As they are from then on."""
        certificates.revoke(conn, [c.fingerprint for c in revoked], time, reason)
        return [replace(c, revoke_time=time, revoke_reason=reason) for c in revoked]

    # Inside.

    def _principal(self, der: bytes, fingerprint: str, address: str) -> Principal:
        held = self._known.get(fingerprint)
        if held is None:
            raise Unauthenticated(
                "CERTIFICATE_UNKNOWN", "this hub did not give this certificate, or it is long expired"
            )
        named = self._parse(der, fingerprint)
        expected = held.token_id if held.kind == "claim" else held.subject_id
        if named != (self.ca.hub_id, held.kind, expected):
            raise Unauthenticated("CERTIFICATE_UNKNOWN", "this certificate names somebody else: enrol again")
        claim = held.kind == "claim"
        if claim and held.use_time is not None:
            raise Unauthenticated("CLAIM_USED", "this file was used: ask the hub that wrote it for a new one")
        if held.revoke_time is not None:
            told = "file was replaced or taken back" if claim else "certificate was revoked"
            raise Unauthenticated("CERTIFICATE_REVOKED", f"this {told}: ask the hub that wrote it for a new one")
        if held.not_after <= self._clock():
            reason, word = ("CLAIM_EXPIRED", "file") if claim else ("CERTIFICATE_EXPIRED", "certificate")
            raise Unauthenticated(reason, f"this {word} has expired: ask the hub that wrote it for a new one")
        return Principal(
            kind=PrincipalKind(held.kind),
            id=expected,
            hub_id=self.ca.hub_id,
            unit_id="" if held.kind == "hub" or held.subject_id.startswith(HUB_CLAIM) else held.subject_id,
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
