"""What a certificate request must be. Only its key is taken: who the certificate names is the hub's to say."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from vidhub.errors import InvalidArgument

MAX_BYTES = 16 * 1024
# What gRPC's TLS (BoringSSL) accepts of a client. Ed25519 is not among it: such a certificate would burn the claim and
# then fail in every handshake.
_CURVES = (ec.SECP256R1, ec.SECP384R1)

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def public_key_of(csr_pem: str) -> PublicKey:
    """The key of a PKCS #10 request, proved to be the sender's. Raises InvalidArgument CSR_INVALID."""
    data = csr_pem.encode("utf-8", "replace")
    if len(data) > MAX_BYTES:
        raise _invalid(f"it is longer than {MAX_BYTES} bytes")
    try:
        request = x509.load_pem_x509_csr(data)
        key = request.public_key()
        proved = request.is_signature_valid
    except Exception as cause:  # parsers of foreign bytes raise more than they name
        raise _invalid("it is no PKCS #10 request in PEM") from cause
    if not proved:
        raise _invalid("its signature does not fit its key")
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 8192:
        return key
    raise _invalid("its key must be ECDSA P-256 or P-384, or RSA of 2048 to 8192 bits")


def _invalid(why: str) -> InvalidArgument:
    return InvalidArgument("CSR_INVALID", f"the certificate request cannot be used: {why}")
