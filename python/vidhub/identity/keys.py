"""The hub's own keys: one signs tickets and audit checkpoints, another access tokens: none passes for another."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from vidhub.errors import FailedPrecondition
from vidhub.store.keyfiles import create_private, read_private


@dataclass(frozen=True, slots=True)
class HubKeys:
    """hub_pem: PKCS#8, as the core takes it."""

    hub: Ed25519PrivateKey = field(repr=False)
    hub_pem: bytes = field(repr=False)
    access: Ed25519PrivateKey = field(repr=False)
    access_pem: bytes = field(repr=False)

    @classmethod
    def open(cls, data_dir: Path) -> HubKeys:
        """Read DATA/keys/hub.key and access.key, or make them."""
        hub, hub_pem = _ed25519(data_dir / "keys" / "hub.key")
        access, access_pem = _ed25519(data_dir / "keys" / "access.key")
        return cls(hub, hub_pem, access, access_pem)


def _ed25519(path: Path) -> tuple[Ed25519PrivateKey, bytes]:
    if not path.exists():
        fresh = Ed25519PrivateKey.generate()
        create_private(path, fresh.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pem = read_private(path)
    try:
        key = load_pem_private_key(pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError("not Ed25519")
    except (ValueError, TypeError) as cause:
        raise FailedPrecondition(
            "KEY_FILE_DAMAGED", f"{path} is no Ed25519 key in PEM: put back a copy of it"
        ) from cause
    return key, pem
