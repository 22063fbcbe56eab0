"""What tests of the domain share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.domain import Domain, domain_of


@pytest.fixture
async def domain(tmp_path: Path) -> AsyncIterator[Domain]:
    async with domain_of(tmp_path) as built:
        yield built
