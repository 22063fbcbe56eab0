"""The hub's own certificate authority. ECDSA P-256 throughout, which every TLS library verifies."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vidhub.errors import FailedPrecondition, InvalidArgument
from vidhub.identity.csr import PublicKey, public_key_of
from vidhub.store.keyfiles import create_private, read_private, write_private
from vidhub.store.times import now

CLAIM_LIFE = timedelta(hours=24)
CLIENT_LIFE = timedelta(days=365)
_CA_LIFE = timedelta(days=20 * 365)
_SERVER_LIFE = timedelta(days=397)
_RENEW_BEFORE = timedelta(days=30)
# Of clocks that differ; certificates hold from before they were made.
_SKEW = timedelta(hours=1)
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_URI = re.compile(r"vidhub://([A-Za-z0-9._-]{1,64})/(claim|unit|hub)/([A-Za-z0-9._-]{1,64})")
# What linked hubs ask the media port for (SNI): it may show people another certificate. As `NAME` in rust/src/peer.rs.
MEDIA_NAME = "media.hub.internal"
_ALWAYS = ("localhost", "127.0.0.1", "::1", MEDIA_NAME)
_WILDCARDS = {"", "0.0.0.0", "::"}  # noqa: S104  names to leave out, nothing listens here


@dataclass(frozen=True, slots=True)
class Issued:
    """A client certificate. key_pem: only where the hub made the key, as for claims."""

    certificate_pem: str
    fingerprint: str
    not_before: datetime
    not_after: datetime
    key_pem: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """names: the addresses it is good for."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    names: tuple[str, ...]
    not_after: datetime


class CertificateAuthority:
    """Root, server certificate and client certificates of one hub."""

    def __init__(
        self,
        data_dir: Path,
        hub_id: str,
        key: ec.EllipticCurvePrivateKey,
        certificate: x509.Certificate,
        clock: Callable[[], datetime],
    ) -> None:
        self._data_dir = data_dir
        self._hub_id = hub_id
        self._key = key
        self._certificate = certificate
        self._clock = clock
        self.ca_pem = certificate.public_bytes(Encoding.PEM).decode()

    @classmethod
    def open(cls, data_dir: Path, hub_id: str, *, clock: Callable[[], datetime] = now) -> CertificateAuthority:
        """Read DATA/keys/ca.key and DATA/ca.pem, or make them; after a kill in between the next start goes on.

        Raises FailedPrecondition CA_KEY_MISSING or CA_MISMATCH.
        """
        check_id("hub", hub_id)
        key_path, path = data_dir / "keys" / "ca.key", data_dir / "ca.pem"
        if not key_path.exists():
            if path.exists():
                raise FailedPrecondition(
                    "CA_KEY_MISSING", f"{path} is there but {key_path} is not: put the key back from a copy"
                )
            create_private(key_path, _key_pem(ec.generate_private_key(ec.SECP256R1())))
        key = _load_key(key_path)
        if not path.exists():
            create_private(path, _root(key, hub_id, clock()).public_bytes(Encoding.PEM), mode=0o644)
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except ValueError as cause:
            raise FailedPrecondition("CA_MISMATCH", f"{path} is no certificate: remove it, it is made again") from cause
        if certificate.public_key() != key.public_key():
            raise FailedPrecondition("CA_MISMATCH", f"{path} and {key_path} do not belong together: put back a copy")
        return cls(data_dir, hub_id, key, certificate, clock)

    @property
    def hub_id(self) -> str:
        return self._hub_id

    def server_certificate(self, addresses: Iterable[str]) -> ServerCertificate:
        """The certificate that names `addresses` (HOST, HOST:PORT or [HOST]:PORT), kept in DATA/keys/server.pem.

        Made anew when the names change or its end is near. Call again at times while the hub runs.
        """
        names = tuple(sorted({*_ALWAYS, *(host_of(a) for a in addresses)} - _WILDCARDS))
        path = self._data_dir / "keys" / "server.pem"
        if path.exists():
            kept = self._kept_server(read_private(path), names)
            if kept is not None:
                return kept
        key = ec.generate_private_key(ec.SECP256R1())
        not_after = self._clock() + _SERVER_LIFE
        certificate = self._sign(
            key.public_key(),
            common_name=f"vidhub {self._hub_id}",
            alternatives=[_general_name(n) for n in names],
            usage=ExtendedKeyUsageOID.SERVER_AUTH,
            not_after=not_after,
        )
        pem, key_pem = certificate.public_bytes(Encoding.PEM), _key_pem(key)
        write_private(path, key_pem + pem)  # one file, so that key and certificate never part
        return ServerCertificate(pem, key_pem, names, certificate.not_valid_after_utc)

    def issue_claim(self, token_id: str) -> Issued:
        """A claim with its key: good for enrolling once, within a day."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._client(key.public_key(), "claim", token_id, CLAIM_LIFE, _key_pem(key).decode())

    def issue(self, kind: str, subject_id: str, csr_pem: str, *, life: timedelta = CLIENT_LIFE) -> Issued:
        """A client certificate for the key of a request; kind: unit or hub. Raises InvalidArgument CSR_INVALID."""
        return self._client(public_key_of(csr_pem), kind, subject_id, life, "")

    def _client(self, key: PublicKey, kind: str, subject_id: str, life: timedelta, key_pem: str) -> Issued:
        check_id(kind, subject_id)
        certificate = self._sign(
            key,
            common_name=f"{kind} {subject_id}"[:64],
            alternatives=[x509.UniformResourceIdentifier(f"vidhub://{self._hub_id}/{kind}/{subject_id}")],
            usage=ExtendedKeyUsageOID.CLIENT_AUTH,
            not_after=self._clock() + life,
        )
        return Issued(
            certificate_pem=certificate.public_bytes(Encoding.PEM).decode(),
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            key_pem=key_pem,
        )

    def _sign(
        self,
        key: PublicKey,
        *,
        common_name: str,
        alternatives: list[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        not_after: datetime,
    ) -> x509.Certificate:
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._clock() - _SKEW)
            .not_valid_after(min(not_after, self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _kept_server(self, data: bytes, names: tuple[str, ...]) -> ServerCertificate | None:
        try:
            certificate = x509.load_pem_x509_certificate(data)
            key = load_pem_private_key(data, password=None)
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            certificate.verify_directly_issued_by(self._certificate)
        except Exception:  # whatever is wrong with it, a fresh one mends
            return None
        listed = tuple(sorted(str(n.value) for n in found))
        fresh = certificate.not_valid_after_utc - self._clock() > _RENEW_BEFORE
        if listed != names or not fresh or not isinstance(key, ec.EllipticCurvePrivateKey):
            return None
        if key.public_key() != certificate.public_key():
            return None
        pem = certificate.public_bytes(Encoding.PEM)
        return ServerCertificate(pem, _key_pem(key), names, certificate.not_valid_after_utc)


def identity_of(der: bytes) -> tuple[str, str, str] | None:
    """(hub id, kind, id) from the URI SAN, never the CN; None unless there is exactly one, and it is one of ours."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    match = _URI.fullmatch(uris[0]) if len(uris) == 1 else None
    return None if match is None else (match[1], match[2], match[3])


def fingerprint_of(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def check_id(kind: str, value: str) -> None:
    if _ID.fullmatch(value) is None:
        raise InvalidArgument(
            "ID_INVALID", f"the id of a {kind} is 1 to 64 of letters, digits, dot, underscore and hyphen"
        )


def host_of(address: str) -> str:
    """The host of HOST, HOST:PORT, [HOST]:PORT or a bare IPv6 address."""
    if address.startswith("["):
        host = address[1:].partition("]")[0]
    elif address.count(":") == 1:
        host = address.partition(":")[0]
    else:
        host = address
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as cause:
        raise InvalidArgument(
            "ADDRESS_INVALID", f"{host!r} is no address for a certificate: write an IP or a name in ASCII (punycode)"
        ) from cause


def _root(key: ec.EllipticCurvePrivateKey, hub_id: str, time: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"vidhub {hub_id} CA"[:64])])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(time - _SKEW)
        .not_valid_after(time + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError) as cause:
        raise FailedPrecondition("KEY_FILE_DAMAGED", f"{path} is no key in PEM: put back a copy of it") from cause
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FailedPrecondition("KEY_FILE_DAMAGED", f"{path} is no ECDSA key: put back a copy of it")
    return key
