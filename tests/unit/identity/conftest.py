"""A hub's identity on a store of its own, with a clock that moves only when told and hashes that cost little."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from vidhub.audit import AuditLog
from vidhub.identity import Authentication, CertificateAuthority, HubKeys, People, Units
from vidhub.model import Principal, PrincipalKind, Role
from vidhub.store import Store

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Clock:
    """Time that moves only when told."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, **parts: float) -> None:
        self.time += timedelta(**parts)


@dataclass(slots=True)
class Hub:
    folder: Path
    clock: Clock
    store: Store
    audit: AuditLog
    keys: HubKeys
    ca: CertificateAuthority
    units: Units
    people: People
    authentication: Authentication

    async def actions(self) -> list[tuple[str, str, str]]:
        """(principal, action, result) of the register of use, oldest first."""
        await self.audit._refusals.flush()
        page = await self.audit.list(limit=1_000)
        return [(e.record.principal, e.record.action, e.record.result) for e in reversed(page.entries)]

    async def again(self) -> tuple[People, Units]:
        """People and units as a restart finds them."""
        units = await Units.open(self.store, self.audit, self.ca, clock=self.clock)
        return await open_people(self), units


async def open_people(hub: Hub, hasher: PasswordHasher = CHEAP) -> People:
    return await People.open(
        hub.store, hub.audit, hub.keys, hub_id="h1", data_dir=hub.folder, hasher=hasher, clock=hub.clock
    )


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    clock = Clock()
    keys = HubKeys.open(tmp_path)
    store = await Store.open(f"sqlite:///{tmp_path}/vidhub.db")
    audit = await AuditLog.open(store, keys.hub, clock=clock)
    ca = CertificateAuthority.open(tmp_path, "h1", clock=clock)
    units = await Units.open(store, audit, ca, clock=clock)
    people = await People.open(store, audit, keys, hub_id="h1", data_dir=tmp_path, hasher=CHEAP, clock=clock)
    yield Hub(tmp_path, clock, store, audit, keys, ca, units, people, Authentication(people, units))
    assert (await audit.verify()).intact
    people.close()
    await store.close()


@pytest.fixture
def system() -> Principal:
    return Principal(PrincipalKind.SYSTEM, hub_id="h1")


@pytest.fixture
def operator() -> Principal:
    return Principal(PrincipalKind.USER, "wang", "h1", roles=frozenset({Role.OPERATOR}))


@pytest.fixture
def make_csr() -> Callable[..., str]:
    def make(key: object = None) -> str:
        signer = key if key is not None else ec.generate_private_key(ec.SECP256R1())
        algorithm = None if "Ed25519" in type(signer).__name__ else hashes.SHA256()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody else")])
        alternative = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("vidhub://h1/unit/somebody-else")])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name).add_extension(alternative, critical=False)
        request = builder.sign(signer, algorithm)  # type: ignore[arg-type]
        return request.public_bytes(serialization.Encoding.PEM).decode()

    return make
