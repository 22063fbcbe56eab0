"""The hub's certificates: what they name, who made them, and what a request must be."""

from __future__ import annotations

import base64
import ssl
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from vidhub.errors import FailedPrecondition, InvalidArgument
from vidhub.identity.ca import MEDIA_NAME, CertificateAuthority, fingerprint_of, host_of, identity_of
from vidhub.identity.csr import public_key_of

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def open_ca(folder: Path, time: datetime = NOW) -> CertificateAuthority:
    return CertificateAuthority.open(folder, "h1", clock=lambda: time)


def test_the_root_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    first = open_ca(tmp_path)
    assert open_ca(tmp_path).ca_pem == first.ca_pem == (tmp_path / "ca.pem").read_text()
    assert stat.S_IMODE((tmp_path / "keys" / "ca.key").stat().st_mode) == 0o600
    root = x509.load_pem_x509_certificate(first.ca_pem.encode())
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)


def test_a_first_start_that_was_killed_goes_on(tmp_path: Path) -> None:
    issued = open_ca(tmp_path).issue_claim("t1")
    (tmp_path / "ca.pem").unlink()
    root = x509.load_pem_x509_certificate(open_ca(tmp_path).ca_pem.encode())
    x509.load_pem_x509_certificate(issued.certificate_pem.encode()).verify_directly_issued_by(root)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    open_ca(tmp_path / "a")
    open_ca(tmp_path / "b")
    (tmp_path / "a" / "ca.pem").write_bytes((tmp_path / "b" / "ca.pem").read_bytes())
    with pytest.raises(FailedPrecondition, match="CA_MISMATCH"):
        open_ca(tmp_path / "a")
    (tmp_path / "a" / "ca.pem").write_text("nonsense")
    with pytest.raises(FailedPrecondition, match="CA_MISMATCH"):
        open_ca(tmp_path / "a")
    (tmp_path / "b" / "keys" / "ca.key").unlink()
    with pytest.raises(FailedPrecondition, match="CA_KEY_MISSING"):
        open_ca(tmp_path / "b")


def test_the_server_certificate_names_every_address_and_follows_them(tmp_path: Path) -> None:
    addresses = ["0.0.0.0:50051", "192.0.2.7:50051", "Hub.Example.cn:443", "[2001:DB8::1]:50051"]
    ca = open_ca(tmp_path)
    first = ca.server_certificate(addresses)
    assert first.names == ("127.0.0.1", "192.0.2.7", "2001:db8::1", "::1", "hub.example.cn", "localhost", MEDIA_NAME)
    certificate = x509.load_pem_x509_certificate(first.certificate_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"hub.example.cn", "localhost", MEDIA_NAME}
    assert len(names.get_values_for_type(x509.IPAddress)) == 4
    assert ca.server_certificate(reversed(addresses)) == first, "the same names, the same certificate"
    assert ca.server_certificate(["192.0.2.8:1"]).certificate_pem != first.certificate_pem
    near_end = open_ca(tmp_path, NOW + timedelta(days=380))
    again = near_end.server_certificate(["192.0.2.8:1"])
    assert again.not_after > NOW + timedelta(days=700)
    (tmp_path / "keys" / "server.pem").write_text("nonsense")
    assert near_end.server_certificate(["192.0.2.8:1"]).names == again.names


@pytest.mark.parametrize(
    ("address", "host"),
    [("a.b:1", "a.b"), ("a.b", "a.b"), ("[::1]:5", "::1"), ("::1", "::1"), ("1.2.3.4:5", "1.2.3.4"), (":5", "")],
)
def test_hosts_of_addresses(address: str, host: str) -> None:
    assert host_of(address) == host


def test_a_name_that_no_certificate_carries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="ADDRESS_INVALID"):
        open_ca(tmp_path).server_certificate(["平台.cn:1"])


def test_a_client_certificate_names_whom_the_hub_says(tmp_path: Path, make_csr: Callable[..., str]) -> None:
    ca = open_ca(tmp_path)
    issued = ca.issue("unit", "u1", make_csr())
    certificate = x509.load_pem_x509_certificate(issued.certificate_pem.encode())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(ca.ca_pem.encode()))
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    der = ssl.PEM_cert_to_DER_cert(issued.certificate_pem)
    assert identity_of(der) == ("h1", "unit", "u1"), "what the request claimed is not taken"
    assert fingerprint_of(der) == issued.fingerprint
    assert issued.not_after - NOW == timedelta(days=365)


def test_a_claim_lives_a_day(tmp_path: Path) -> None:
    issued = open_ca(tmp_path).issue_claim("t1")
    assert issued.not_after - NOW == timedelta(hours=24)
    assert identity_of(ssl.PEM_cert_to_DER_cert(issued.certificate_pem)) == ("h1", "claim", "t1")


@pytest.mark.parametrize("bad", ["", "a/b", "a b", "单位", "x" * 65, "a\n"])
def test_ids_that_do_not_fit_a_uri_are_refused(tmp_path: Path, bad: str, make_csr: Callable[..., str]) -> None:
    with pytest.raises(InvalidArgument, match="ID_INVALID"):
        open_ca(tmp_path).issue("unit", bad, make_csr())


def test_good_keys_are_taken(make_csr: Callable[..., str]) -> None:
    for key in (
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
    ):
        assert public_key_of(make_csr(key)) == key.public_key()


def test_what_the_hub_issues_passes_the_handshake_of_grpc(tmp_path: Path, make_csr: Callable[..., str]) -> None:
    ca = open_ca(tmp_path, datetime.now(UTC))
    shown = ca.server_certificate(["127.0.0.1:0"])
    root = ca.ca_pem.encode()

    def who(_request: bytes, context: grpc.ServicerContext) -> bytes:
        names: list[bytes] = context.auth_context()["x509_subject_alternative_name"]
        return b" ".join(names)

    server = grpc.server(ThreadPoolExecutor(1))
    methods = {"Who": grpc.unary_unary_rpc_method_handler(who)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", methods),))
    pairs = [(shown.key_pem, shown.certificate_pem)]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pairs, root, require_client_auth=True))
    server.start()
    try:
        for key in (
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 2048),
        ):
            key_pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            issued = ca.issue("unit", "u1", make_csr(key))
            credentials = grpc.ssl_channel_credentials(root, key_pem, issued.certificate_pem.encode())
            with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
                assert channel.unary_unary("/test.Test/Who")(b"", timeout=20) == b"vidhub://h1/unit/u1"
    finally:
        server.stop(0).wait()


def test_weak_and_odd_keys_are_refused(make_csr: Callable[..., str]) -> None:
    for key in (
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        dsa.generate_private_key(2048),
        ed25519.Ed25519PrivateKey.generate(),
    ):
        with pytest.raises(InvalidArgument, match="CSR_INVALID"):
            public_key_of(make_csr(key))


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----", "x" * 20_000, "\ud800"],
)
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="CSR_INVALID"):
        public_key_of(text)


def test_a_certificate_is_no_request(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="CSR_INVALID"):
        public_key_of(open_ca(tmp_path).ca_pem)


@given(data=st.data())
def test_an_altered_request_never_gives_another_key(data: st.DataObject) -> None:
    der = bytearray(REQUEST)
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] ^= data.draw(st.integers(1, 255))
    body = base64.encodebytes(der).decode()
    try:
        key = public_key_of(f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n")
    except InvalidArgument:
        pass  # as it should
    else:
        assert key == REQUEST_KEY.public_key(), "only bytes that neither key nor signature cover may differ"


REQUEST_KEY = ec.derive_private_key(12345, ec.SECP256R1())


def _request() -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(REQUEST_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


REQUEST = _request()
