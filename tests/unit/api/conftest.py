"""What tests of the API share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.edges import Edges, served


@pytest.fixture
async def edges() -> AsyncIterator[Edges]:
    async with served() as both:
        yield both
