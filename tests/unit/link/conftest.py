"""A district and the city above it, each with a store and a core of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.catalogues import Sharing, sharing


@pytest.fixture
async def district(tmp_path: Path) -> AsyncIterator[Sharing]:
    async with sharing(tmp_path / "district", "district", "360602") as found:
        yield found


@pytest.fixture
async def city(tmp_path: Path) -> AsyncIterator[Sharing]:
    async with sharing(tmp_path / "city", "city", "360600") as found:
        yield found
