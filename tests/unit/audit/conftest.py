"""A register of use on a store of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vidhub.audit import AuditLog
from vidhub.store import Store


class Clock:
    """Time that moves only when told."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(f"sqlite:///{tmp_path}/vidhub.db")
    yield store
    await store.close()


@pytest.fixture
async def audit(store: Store, key: Ed25519PrivateKey, clock: Clock, tmp_path: Path) -> AuditLog:
    return await AuditLog.open(store, key, anchor=tmp_path / "audit-anchor.json", clock=clock)
