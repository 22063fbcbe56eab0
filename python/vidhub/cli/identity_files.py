"""The files of a unit's identity: the enrolment file a hub gives out, and the folder that enrolling fills."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vidhub.errors import FailedPrecondition, InvalidArgument

# No file of ours is larger; what is, is not read.
LARGEST_FILE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """A unit's certificate and key, and the hub that gave it."""

    unit_id: str
    hub: str
    ca_pem: bytes
    certificate_pem: bytes
    key_pem: bytes

    def channel(self) -> grpc.aio.Channel:
        """A channel to the hub over mTLS. Raises FailedPrecondition CERTIFICATE_EXPIRED, which no handshake says."""
        check_validity(self.certificate_pem)
        return secure_channel(self.hub, self.ca_pem, self.certificate_pem, self.key_pem)


def secure_channel(hub: str, ca_pem: bytes, certificate_pem: bytes, key_pem: bytes) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(ca_pem, key_pem, certificate_pem)
    limit = 8 * 1024 * 1024
    return grpc.aio.secure_channel(
        hub, credentials, options=[("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", limit)]
    )


def check_validity(certificate_pem: bytes) -> None:
    """Raises FailedPrecondition when the certificate is not valid today."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    now = datetime.now(UTC)
    if now >= certificate.not_valid_after_utc:
        raise FailedPrecondition(
            "CERTIFICATE_EXPIRED",
            f"the certificate ended on {certificate.not_valid_after_utc:%Y-%m-%d}: ask for a new enrolment file",
        )
    if now < certificate.not_valid_before_utc:
        raise FailedPrecondition(
            "CLOCK_SKEW",
            f"the certificate starts on {certificate.not_valid_before_utc:%Y-%m-%d %H:%M}Z: set this machine's clock",
        )


def read_json(path: Path, keys: tuple[str, ...], what: str) -> dict[str, Any]:
    """A small JSON object with these keys. Raises InvalidArgument FILE_NOT_READ or FILE_INVALID."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
    except OSError as cause:
        raise InvalidArgument("FILE_NOT_READ", f"{path}: {cause.strerror}: give the path of {what}") from cause
    try:
        document = json.loads(text) if len(text) <= LARGEST_FILE else None
    except ValueError:
        document = None
    if not isinstance(document, dict) or any(not isinstance(document.get(key), str) for key in keys):
        raise InvalidArgument("FILE_INVALID", f"{path} is not {what}: it must be a JSON object with {', '.join(keys)}")
    return document


def load_identity(directory: Path) -> Identity:
    """What `vidhub unit enrol` wrote. Raises InvalidArgument when a file is missing or broken."""
    document = read_json(
        directory / "identity.json",
        ("unit_id", "hub", "certificate", "key", "ca"),
        "the identity.json that vidhub unit enrol wrote",
    )
    parts = {}
    for name in ("ca", "certificate", "key"):
        # The paths were written for the machine that enrolled: the folder may have moved.
        path = directory / Path(document[name]).name
        try:
            parts[name] = path.read_bytes()
        except OSError as cause:
            raise InvalidArgument("FILE_NOT_READ", f"{path}: {cause.strerror}: enrol again") from cause
    return Identity(document["unit_id"], document["hub"], parts["ca"], parts["certificate"], parts["key"])


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_request(key: ec.EllipticCurvePrivateKey) -> str:
    """A PKCS #10 request in PEM. The hub takes the key from it and nothing else."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vidhub unit")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()
