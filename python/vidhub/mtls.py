"""The caller's half of mTLS: a key, a request for its certificate, a channel, and the other side's errors as ours."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from vidhub.errors import FailedPrecondition, Internal, Unavailable, VidhubError, Violation, error_class

_MOST_MESSAGE_BYTES = 8 * 1024 * 1024


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_request(key: ec.EllipticCurvePrivateKey, name: str = "vidhub unit") -> str:
    """A PKCS #10 request in PEM. The hub takes the key from it and nothing else."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def secure_channel(
    hub: str, ca_pem: bytes, certificate_pem: bytes, key_pem: bytes, options: tuple[tuple[str, int], ...] = ()
) -> grpc.aio.Channel:
    """hub: HOST:PORT, which its certificate must name."""
    credentials = grpc.ssl_channel_credentials(ca_pem, key_pem, certificate_pem)
    limits = (
        ("grpc.max_receive_message_length", _MOST_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MOST_MESSAGE_BYTES),
    )
    return grpc.aio.secure_channel(hub, credentials, options=[*limits, *options])


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


def translate(error: grpc.aio.AioRpcError, hub: str) -> VidhubError:
    """The error that the hub raised, with its reason and violations."""
    reason = ""
    violations: list[Violation] = []
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad_request):
            violations += [
                Violation(violation.field, violation.reason, violation.description)
                for violation in bad_request.field_violations
            ]
    message = error.details() or ""
    # grpcio's own word, as INTERNAL, for a message that could not be written any more: the connection is gone.
    is_cut = error.code() is grpc.StatusCode.INTERNAL and message == "Internal error from Core"
    if not reason and (is_cut or error.code() is grpc.StatusCode.UNAVAILABLE):
        if "CERTIFICATE" in message.upper() or "SSL" in message.upper() or "handshake" in message:
            return Unavailable(
                "HUB_NOT_TRUSTED",
                f"{hub} did not accept our certificate, or showed one of another authority: enrol again at this hub",
            )
        return Unavailable("HUB_UNREACHABLE", f"no hub answers at {hub}: check the address and that it runs")
    kind = error_class(error.code().name.lower())
    return (kind or Internal)(reason or error.code().name, message, violations=violations)
