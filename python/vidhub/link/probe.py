"""Tests the way to an upper hub hop by hop, and names the hop that fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from vidhub.config import split_address
from vidhub.errors import FailedPrecondition, Unavailable, VidhubError
from vidhub.identity.ca import MEDIA_NAME
from vidhub.link.keys import LinkIdentity
from vidhub.model import LinkedHub

HOP_S = 5.0
# The beginning of HTTP/2 (RFC 9113, 3.4), and an empty SETTINGS frame.
_HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@dataclass(frozen=True, slots=True)
class Hop:
    """One step on the way. reason: empty when it went well; then `message` says what was found."""

    name: str
    reason: str
    message: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        return not self.reason

    def error(self) -> VidhubError:
        return Unavailable(self.reason, f"{self.message}: {self.remedy}" if self.remedy else self.message)


def to_dict(hop: Hop) -> dict[str, Any]:
    """As the command line prints it."""
    return {"name": hop.name, "ok": hop.ok, "reason": hop.reason, "message": hop.message, "remedy": hop.remedy}


async def hops(address: str, ca_pem: str, identity: LinkIdentity | None, *, what: str) -> AsyncIterator[Hop]:
    """Name lookup, TCP, certificate, TLS; the first that fails is the last. what: "link" or "media", before each name.

    identity: what is shown to the other side, None where nothing is wanted.
    """
    host, port = split_address(address)
    if identity is not None:
        own = _own_certificate(identity, what)
        yield own
        if not own.ok:
            return
    found, looked_up = await _look_up(host, port, what)
    yield looked_up
    if not looked_up.ok:
        return
    tcp = await _connect(found, port, what)
    yield tcp
    if tcp.ok:
        yield await _handshake(host, port, ca_pem, identity, what)


async def why_not(hub: LinkedHub, identity: LinkIdentity) -> VidhubError:
    """Why a link to this hub does not come up, as far as the way to it tells."""
    async for hop in hops(hub.link_address, hub.ca_pem, identity, what="link"):
        if not hop.ok:
            return hop.error()
    return Unavailable("LINK_DOWN", f"{hub.name} is there, but ends the call: see its log")


def _own_certificate(identity: LinkIdentity, what: str) -> Hop:
    name, time = f"{what}.own_certificate", datetime.now(UTC)
    if time >= identity.not_after:
        return Hop(
            name,
            "LINK_TLS",
            f"our certificate for this hub ended on {identity.not_after:%Y-%m-%d %H:%M}Z",
            "end the link on both sides and join with a new invitation",
        )
    if time < identity.not_before:
        return Hop(
            name,
            "LINK_TLS",
            f"our certificate for this hub begins on {identity.not_before:%Y-%m-%d %H:%M}Z",
            "set this machine's clock (NTP)",
        )
    return Hop(name, "", f"ours, good until {identity.not_after:%Y-%m-%d %H:%M}Z")


async def _look_up(host: str, port: int, what: str) -> tuple[list[str], Hop]:
    name = f"{what}.name"
    try:
        async with asyncio.timeout(HOP_S):
            rows = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as cause:
        why = getattr(cause, "strerror", None) or "the name server did not answer"
        return [], Hop(name, "LINK_NAME", f"{host}: {why}", "correct the name, or the name server of this machine")
    found = list(dict.fromkeys(str(row[4][0]) for row in rows))
    return found, Hop(name, "", f"{host} is {', '.join(found)}")


async def _connect(addresses: list[str], port: int, what: str) -> Hop:
    name, why = f"{what}.tcp", ""
    for address in addresses:
        try:
            async with asyncio.timeout(HOP_S):
                _, writer = await asyncio.open_connection(address, port)
        except TimeoutError:
            why = f"{address} port {port} did not answer within {HOP_S:.0f} s"
        except OSError as cause:
            why = f"{address} port {port}: {cause.strerror or cause}"
        else:
            writer.close()
            return Hop(name, "", f"{address} port {port} is open")
    return Hop(
        name, "LINK_REFUSED", why, "see that the other hub runs and listens there, and that firewalls let it through"
    )


async def _handshake(host: str, port: int, ca_pem: str, identity: LinkIdentity | None, what: str) -> Hop:
    name = f"{what}.tls"
    try:
        with _context(ca_pem, identity) as context:
            async with asyncio.timeout(HOP_S):
                wanted = MEDIA_NAME if identity is None else host
                reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=wanted)
                try:
                    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                    if identity is not None:
                        # In TLS 1.3 whoever is dialled refuses our certificate after the handshake only.
                        writer.write(_HTTP2)
                        await writer.drain()
                        if not await reader.read(1):
                            return _not_taken(name, "it closes")
                finally:
                    writer.transport.abort()
    except ssl.SSLCertVerificationError as cause:
        return _their_certificate(cause, host, name)
    except ssl.SSLError as cause:
        if identity is not None and "ALERT" in (cause.reason or ""):
            return _not_taken(name, cause.reason)
        return Hop(
            name,
            "LINK_TLS",
            f"{host} port {port} does not speak TLS as a hub does ({cause.reason or 'TLS failed'})",
            "see that this is the right port of the hub",
        )
    except TimeoutError:
        return Hop(
            name,
            "LINK_SILENT",
            f"{host} port {port} takes the connection, but says nothing within {HOP_S:.0f} s",
            "the other hub hangs, or something between answers in its place: see its log",
        )
    except OSError as cause:
        return Hop(
            name, "LINK_TLS", f"{host} port {port} broke off TLS: {cause}", "see that this is the right port of the hub"
        )
    certificate = x509.load_der_x509_certificate(der)
    return Hop(
        name,
        "",
        f"{certificate.subject.rfc4514_string()}, good until {certificate.not_valid_after_utc:%Y-%m-%d %H:%M}Z",
    )


def _not_taken(name: str, how: str) -> Hop:
    return Hop(
        name,
        "LINK_TLS",
        f"the other side does not accept our certificate ({how})",
        "see whether its authority was made anew; else join with a new invitation",
    )


def _their_certificate(cause: ssl.SSLCertVerificationError, host: str, name: str) -> Hop:
    why = cause.verify_message
    if "not yet valid" in why or "expired" in why:
        remedy = "set the clocks of both machines (NTP); else the certificate of that hub is over"
    elif "mismatch" in why.lower() or "doesn't match" in why or "does not match" in why:
        remedy = "set --advertise there so that its certificate names this address"
    else:
        remedy = "another hub answers there, or its authority was made anew: join with a new invitation"
    return Hop(name, "LINK_TLS", f"the certificate that {host} shows is not good: {why}", remedy)


@contextlib.contextmanager
def _context(ca_pem: str, identity: LinkIdentity | None) -> Iterator[ssl.SSLContext]:
    try:
        context = ssl.create_default_context(cadata=ca_pem)
    except ssl.SSLError as cause:
        raise FailedPrecondition("CA_INVALID", "what is on record for this hub is no certificate: join anew") from cause
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if identity is None:
        yield context
        return
    context.set_alpn_protocols(["h2"])
    # The library takes a certificate from a file alone.
    with tempfile.TemporaryDirectory(prefix="vidhub-") as folder:
        file = Path(folder) / "identity.pem"
        file.touch(mode=0o600)
        file.write_bytes(identity.key_pem + identity.certificate_pem)
        context.load_cert_chain(file)
        yield context
