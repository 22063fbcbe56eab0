"""What clients are told, and whether that leads here: as far as it can be seen from the hub's own machine."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

from vidhub.config import is_loopback, split_address
from vidhub.link.probe import HOP_S, Hop

# Listener -> option that says what clients are told instead.
_TOLD_BY = {"grpc": "advertise", "rtsp": "advertise", "rtsps": "advertise", "webrtc": "advertise"}


def checks(public_url: str, told: Mapping[str, str]) -> list[Hop]:
    """public_url: where the console is. told: HOST:PORT by listener, "" for what is off."""
    found = [_web(public_url)] if public_url else []
    return found + [_address(name, address) for name, address in told.items() if name in _TOLD_BY and address]


def _web(url: str) -> Hop:
    check, parts = "address.public_url", urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    failed = _connect(check, host, port, "public_url")
    if failed is not None:
        return failed
    if parts.scheme == "https":
        try:
            with socket.create_connection((host, port), timeout=HOP_S) as plain:
                ssl.create_default_context().wrap_socket(plain, server_hostname=host).close()
        except ssl.SSLCertVerificationError as cause:
            # Of an authority that this machine does not know: people's machines may.
            return Hop(
                check,
                "",
                f"{url} answers; this machine does not trust its certificate ({cause.verify_message})",
                "see that browsers do: the chain in tls_cert must be whole, and from an authority that they know",
            )
        except OSError as cause:
            return Hop(
                check,
                "PUBLIC_URL_TLS",
                f"{url} does not speak TLS: {cause}",
                "give tls_cert and tls_key, or see the ingress in front of the hub",
            )
    return _reached(check, url, host, "public_url")


def _address(name: str, address: str) -> Hop:
    host, port = split_address(address)
    failed = _connect(f"address.{name}", host, port, _TOLD_BY[name])
    return failed or _reached(f"address.{name}", address, host, _TOLD_BY[name])


def _connect(check: str, host: str, port: int, option: str) -> Hop | None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as cause:
        why = getattr(cause, "strerror", None) or "no such name"
        return Hop(check, "ADDRESS_UNKNOWN", f"{host} does not resolve: {why}", f"correct {option}, or the name server")
    why = ""
    for family, kind, _, _, target in found[:4]:
        with socket.socket(family, kind) as probe:
            probe.settimeout(HOP_S)
            try:
                probe.connect(target)
            except OSError as cause:
                why = cause.strerror or f"no answer within {HOP_S:.0f} s"
            else:
                return None
    return Hop(
        check,
        "ADDRESS_UNREACHABLE",
        f"clients are told {host} port {port}, which does not answer from here: {why}",
        f"correct {option}; where a router or ingress leads here, see that it does, and that firewalls let it through",
    )


def _reached(check: str, shown: str, host: str, option: str) -> Hop:
    """Loopback is no failure: an ingress may stand on this machine, and a trial needs no more."""
    if is_loopback(host):
        return Hop(
            check,
            "",
            f"{shown} answers, for programs on this machine alone",
            f"for others: listen on an address of this machine's network, and say in {option} what they are told",
        )
    return Hop(check, "", f"{shown} answers")
