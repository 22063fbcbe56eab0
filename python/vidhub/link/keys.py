"""What this hub shows to its upper hubs: a key and a certificate for each, in DATA/keys/links."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from vidhub.errors import FailedPrecondition
from vidhub.mtls import key_pem, new_key
from vidhub.store.keyfiles import create_private, read_private, write_private

# Keys of invitations that came to nothing: an invitation is good for 24 hours.
_FORGET_S = 48 * 3_600.0


@dataclass(frozen=True, slots=True)
class LinkIdentity:
    """PEM, and until when."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    not_before: datetime
    not_after: datetime


class LinkKeys:
    """Keys are made here and never leave. Key and certificate share a file, so that they never part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pending(self, claim_pem: str) -> tuple[ec.EllipticCurvePrivateKey, bool]:
        """The key for an invitation, and whether it was made by an earlier attempt: the same each time."""
        for old in self._folder.glob(".joining-*.key"):
            if time.time() - old.stat().st_mtime > _FORGET_S:
                old.unlink(missing_ok=True)
        path = self._pending(claim_pem)
        earlier = not create_private(path, key_pem(new_key()))
        return _key(path, read_private(path)), earlier

    def settle(self, claim_pem: str) -> None:
        """The invitation has become an identity."""
        self._pending(claim_pem).unlink(missing_ok=True)

    def save(self, hub_id: str, certificate_pem: str, key: ec.EllipticCurvePrivateKey) -> LinkIdentity:
        """Raises FailedPrecondition CERTIFICATE_FOREIGN when the certificate is not for this key."""
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
        except ValueError as cause:
            raise FailedPrecondition("CERTIFICATE_FOREIGN", "the other hub gave no certificate: see its log") from cause
        if certificate.public_key() != key.public_key():
            raise FailedPrecondition(
                "CERTIFICATE_FOREIGN", "the other hub gave a certificate for another key: try again"
            )
        write_private(self._path(hub_id), key_pem(key) + certificate.public_bytes(Encoding.PEM))
        return self.load(hub_id)

    def load(self, hub_id: str) -> LinkIdentity:
        """Raises FailedPrecondition LINK_KEY_MISSING, KEY_FILE_DAMAGED."""
        path = self._path(hub_id)
        if not path.exists():
            raise FailedPrecondition("LINK_KEY_MISSING", f"{path} is gone: put it back, or end the link and join anew")
        data = read_private(path)
        try:
            certificate = x509.load_pem_x509_certificate(data)
        except ValueError as cause:
            raise FailedPrecondition(
                "KEY_FILE_DAMAGED", f"{path} holds no certificate: put back a copy of it"
            ) from cause
        return LinkIdentity(
            certificate.public_bytes(Encoding.PEM),
            key_pem(_key(path, data)),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
        )

    def forget(self, hub_id: str) -> None:
        self._path(hub_id).unlink(missing_ok=True)

    def _path(self, hub_id: str) -> Path:
        return self._folder / f"{hub_id}.pem"

    def _pending(self, claim_pem: str) -> Path:
        return self._folder / f".joining-{hashlib.sha256(claim_pem.encode()).hexdigest()[:32]}.key"


def _key(path: Path, data: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as cause:
        raise FailedPrecondition("KEY_FILE_DAMAGED", f"{path} is no key in PEM: put back a copy of it") from cause
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FailedPrecondition("KEY_FILE_DAMAGED", f"{path} is no ECDSA key: put back a copy of it")
    return key
