"""A district and the city above it, each with a store and a core of its own; and the linked hubs of one hub."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.catalogues import Sharing, sharing
from support.peers import OWN, Bench, Clock

from vidhub.audit import AuditLog
from vidhub.identity import CertificateAuthority, HubKeys, Register
from vidhub.link.peers import Peers
from vidhub.store import Store


@pytest.fixture
async def district(tmp_path: Path) -> AsyncIterator[Sharing]:
    async with sharing(tmp_path / "district", "district", "360602") as found:
        yield found


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[Sharing]:
    async with sharing(tmp_path / "city", "city", "360600") as found:
        yield found


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = Clock()
    store = await Store.open(f"sqlite:///{tmp_path}/vidhub.db")
    audit = await AuditLog.open(store, HubKeys.open(tmp_path).hub, clock=clock)
    register = await Register.open(store, CertificateAuthority.open(tmp_path, OWN.id, clock=clock), clock=clock)
    peers = await Peers.open(store, audit, register, OWN, clock=clock)
    yield Bench(store, audit, register, peers, clock)
    assert (await audit.verify()).intact
    await store.close()
