"""Whether the hub's own certificates are good, and for how long."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from vidhub.config import Config
from vidhub.identity.ca import host_of
from vidhub.link.probe import Hop

# Time enough to get a new one.
SOON = timedelta(days=30)
_NAMED = 5


def own(config: Config, names: Iterable[str]) -> list[Hop]:
    """Of the authority, of gRPC and RTSPS, and what is shown to people. names: what clients reach this hub at."""
    data = config.data_dir
    checks = [
        _certificate(
            "certificate.authority",
            data / "ca.pem",
            "restore `keys/` and ca.pem from a backup; with a new authority every unit enrols anew",
            (),
        )
    ]
    server = data / "keys" / "server.pem"
    if server.exists():
        checks.append(_certificate("certificate.server", server, "restart the hub: it makes a new one", names))
    if config.tls_cert is not None and config.tls_key is not None:
        named = [host] if (host := urlsplit(config.public_url).hostname) else []
        check = _certificate("certificate.public", config.tls_cert, "renew it, and restart the hub", named)
        checks.append(check if not check.ok else _pair(check, config.tls_cert, config.tls_key))
    return checks


def of_units(newest: Iterable[tuple[str, datetime | None]]) -> Hop:
    """newest: name of each enrolled unit, and when its last good certificate ends; None when it has none."""
    now, count, over, soon = datetime.now(UTC), 0, [], []
    for name, end in newest:
        count += 1
        if end is None or end <= now:
            over.append(name)
        elif end - now < SOON:
            soon.append(f"{name} ({end:%Y-%m-%d})")
    check = "certificate.units"
    if over:
        return Hop(
            check,
            "CERTIFICATE_EXPIRED",
            f"{len(over)} of {count} enrolled units hold no certificate that is good: {_some(over)}",
            "give each a new enrolment file (`vidhub unit token`), or revoke those that are gone",
        )
    if soon:
        return Hop(
            check,
            "CERTIFICATE_NEAR_EXPIRY",
            f"certificates of {len(soon)} of {count} units end within {SOON.days} days: {_some(soon)}",
            "tell them to renew (`vidhub unit renew`), or give them a new enrolment file",
        )
    return Hop(check, "", f"{count} enrolled units hold a good one for {SOON.days} days and more")


def _certificate(check: str, path: Path, remedy: str, names: Iterable[str]) -> Hop:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as cause:
        return Hop(check, "CERTIFICATE_MISSING", f"{path}: {cause.strerror}", remedy)
    except ValueError:
        return Hop(check, "CERTIFICATE_INVALID", f"{path} is no certificate", remedy)
    now, end = datetime.now(UTC), certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        told = f"{path} begins on {certificate.not_valid_before_utc:%Y-%m-%d %H:%M}Z only"
        return Hop(check, "CLOCK_SKEW", told, "set this machine's clock (NTP)")
    if now >= end:
        return Hop(check, "CERTIFICATE_EXPIRED", f"{path} ended on {end:%Y-%m-%d %H:%M}Z", remedy)
    if end - now < SOON:
        return Hop(check, "CERTIFICATE_NEAR_EXPIRY", f"{path} ends on {end:%Y-%m-%d}", remedy)
    if missing := sorted({host_of(name) for name in names} - _named(certificate)):
        return Hop(check, "CERTIFICATE_NAME", f"{path} does not name {', '.join(missing)}", remedy)
    return Hop(check, "", f"{path}, good until {end:%Y-%m-%d}")


def _named(certificate: x509.Certificate) -> set[str]:
    """Wildcards are left to the clients."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    return addresses | {one.lower() for one in names.get_values_for_type(x509.DNSName)}


def _pair(check: Hop, certificate: Path, key: Path) -> Hop:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ssl.SSLError, ValueError) as cause:
        why = getattr(cause, "reason", None) or getattr(cause, "strerror", None) or "a password protects the key"
        return Hop(
            check.name,
            "TLS_CERTIFICATE_INVALID",
            f"{certificate} and {key} do not go together: {why}",
            "give the key of this certificate in tls_key, in PEM and without a password",
        )
    return check


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
