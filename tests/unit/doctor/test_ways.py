"""What the doctor says of ports, certificates and addresses: of good ones, and of each that was really broken."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.certificates import self_signed

from vidhub.config import Config, ListenOptions
from vidhub.doctor import addresses, certificates, ports
from vidhub.identity import CertificateAuthority

TAKES = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
taken = socket.socket(socket.AF_INET, kind)
taken.bind(("127.0.0.1", 0))
if kind is socket.SOCK_STREAM:
    taken.listen()
print(taken.getsockname()[1], flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def taken(kind: str) -> Iterator[tuple[int, int]]:
    """A port that another program has, and its process."""
    with subprocess.Popen(
        (sys.executable, "-c", TAKES, kind), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
        process.terminate()


@pytest.mark.parametrize(
    ("listener", "kind", "shift"),
    [("http", "tcp", 0), ("webrtc", "tcp", 0), ("webrtc", "udp", 0), ("rtsp_udp", "udp", 0), ("rtsp_udp", "udp", 1)],
)
def test_a_port_that_is_taken_is_told_with_whoever_has_it(listener: str, kind: str, shift: int) -> None:
    with taken(kind) as (port, pid):
        listen = ListenOptions(**{listener: f"127.0.0.1:{port - shift}"})
        found = {check.name: check for check in ports.of_stopped(listen)}[f"port.{listener}"]
    assert found.reason == "LISTENER_IN_USE"
    assert f"process {pid} (python" in found.message
    assert f"listen.{listener}" in found.remedy
    again = {check.name: check for check in ports.of_stopped(listen)}[f"port.{listener}"]
    assert (again.reason, "is free" in again.message) == ("", True)


def test_an_address_of_another_machine_is_no_listener() -> None:
    listen = ListenOptions(http="192.0.2.1:8080", grpc="off", rtsp="127.0.0.1:0")
    found = {check.name: check for check in ports.of_stopped(listen)}
    assert found["port.http"].reason == "LISTENER_FAILED"
    assert "192.0.2.1" in found["port.http"].remedy
    assert found["port.grpc"].message == "off"
    assert "chosen" in found["port.rtsp"].message


def test_a_port_of_a_running_hub_that_takes_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as open_, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        bound = {
            "http": f"127.0.0.1:{open_.getsockname()[1]}",
            "grpc": f"127.0.0.1:{closed.getsockname()[1]}",
            "rtsp_udp": "127.0.0.1:9",
            "sip": None,
            "pid": 7,
        }
        found = {check.name: check.reason for check in ports.of_running(bound, 7)}
    assert found == {"port.http": "", "port.grpc": "PORT_SILENT", "port.rtsp_udp": "", "port.sip": ""}


def authority(data: Path, *, days_ago: int = 0) -> CertificateAuthority:
    """One with a certificate for gRPC, both made so long ago."""
    ca = CertificateAuthority.open(data, "yingtan", clock=lambda: datetime.now(UTC) - timedelta(days=days_ago))
    ca.server_certificate(["hub.example"])
    return ca


def reasons(config: Config, *names: str) -> dict[str, str]:
    found = certificates.own(config, names)
    assert all(check.remedy for check in found if not check.ok)
    return {check.name.removeprefix("certificate."): check.reason for check in found}


def test_certificates_that_are_good_over_soon_over_or_of_another_name(tmp_path: Path) -> None:
    for days_ago, reason in ((0, ""), (380, "CERTIFICATE_NEAR_EXPIRY"), (400, "CERTIFICATE_EXPIRED")):
        data = tmp_path / str(days_ago)
        authority(data, days_ago=days_ago)
        assert reasons(Config(data_dir=data), "hub.example") == {"authority": "", "server": reason}
    assert reasons(Config(data_dir=tmp_path / "0"), "other.example")["server"] == "CERTIFICATE_NAME"
    assert reasons(Config(data_dir=tmp_path / "0"), "127.0.0.1:50051", "[::1]:1", "HUB.example")["server"] == ""
    authority(tmp_path / "later", days_ago=-3)
    assert reasons(Config(data_dir=tmp_path / "later"))["server"] == "CLOCK_SKEW"


def test_an_authority_that_is_gone_or_none(tmp_path: Path) -> None:
    authority(tmp_path)
    (tmp_path / "ca.pem").write_text("no certificate")
    assert reasons(Config(data_dir=tmp_path))["authority"] == "CERTIFICATE_INVALID"
    (tmp_path / "ca.pem").unlink()
    assert reasons(Config(data_dir=tmp_path))["authority"] == "CERTIFICATE_MISSING"


def test_the_certificate_for_people_and_its_key(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    shown = ca.server_certificate(["people.example"])
    chain, key = tmp_path / "chain.pem", tmp_path / "people.key"
    chain.write_bytes(shown.certificate_pem)
    key.write_bytes(shown.key_pem)
    config = Config(data_dir=tmp_path, tls_cert=chain, tls_key=key, public_url="https://people.example")
    assert reasons(config)["public"] == ""
    elsewhere = Config(data_dir=tmp_path, tls_cert=chain, tls_key=key, public_url="https://elsewhere.example")
    assert reasons(elsewhere)["public"] == "CERTIFICATE_NAME"
    key.write_bytes((tmp_path / "keys" / "ca.key").read_bytes())
    assert reasons(config)["public"] == "TLS_CERTIFICATE_INVALID"


def test_units_without_a_certificate_and_soon_without(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    good, soon = ("school", now + timedelta(days=90)), ("station", now + timedelta(days=9))
    assert certificates.of_units([good]).ok
    near = certificates.of_units([good, soon])
    assert (near.reason, "station" in near.message, "school" in near.message) == (
        "CERTIFICATE_NEAR_EXPIRY",
        True,
        False,
    )
    over = certificates.of_units([good, soon, ("clinic", None), *((f"u{number}", None) for number in range(9))])
    assert (over.reason, "10 of 12" in over.message, "and 5 more" in over.message) == (
        "CERTIFICATE_EXPIRED",
        True,
        True,
    )


@contextlib.asynccontextmanager
async def listening(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def look(url: str, **told: str) -> dict[str, tuple[str, bool]]:
    """Reason of each, and whether something is advised."""
    found = await asyncio.to_thread(addresses.checks, url, told)
    assert all(check.remedy for check in found if not check.ok)
    return {check.name.removeprefix("address."): (check.reason, bool(check.remedy)) for check in found}


async def test_addresses_that_lead_here_and_elsewhere(tmp_path: Path) -> None:
    async with listening() as port:
        here, nobody = f"127.0.0.1:{port}", "nobody.invalid:8554"
        assert await look(f"http://{here}", rtsp=here, rtsps=nobody, webrtc="127.0.0.1:9", grpc="") == {
            "public_url": ("", True),  # it is told that loopback is for this machine alone
            "rtsp": ("", True),
            "rtsps": ("ADDRESS_UNKNOWN", True),
            "webrtc": ("ADDRESS_UNREACHABLE", True),
        }
        assert await look(f"https://{here}") == {"public_url": ("PUBLIC_URL_TLS", True)}
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with listening(context) as port:
        (check,) = await asyncio.to_thread(addresses.checks, f"https://127.0.0.1:{port}", {})
        assert (check.ok, "does not trust" in check.message) == (True, True)
