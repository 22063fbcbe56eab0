"""What one hub may ask of another in a time."""

import pytest

from vidhub.errors import ResourceExhausted
from vidhub.link.allowance import Allowance


def taken(allowance: Allowance, hub_id: str, most: int) -> int:
    for count in range(most):
        try:
            allowance.take(hub_id)
        except ResourceExhausted:
            return count
    return most


def test_a_burst_goes_at_once_and_then_so_many_a_second() -> None:
    now = 0.0
    allowance = Allowance(per_s=50, burst=500, clock=lambda: now)
    assert taken(allowance, "yuehu", 1_000) == 500
    assert taken(allowance, "guixi", 1_000) == 500, "each hub by itself"
    now = 1.0
    assert taken(allowance, "yuehu", 1_000) == 50
    now = 3_600.0
    assert taken(allowance, "yuehu", 1_000) == 500, "no more than the burst is saved up"


def test_a_clock_that_stands_still_gives_nothing() -> None:
    allowance = Allowance(per_s=50, burst=1, clock=lambda: 7.0)
    allowance.take("yuehu")
    with pytest.raises(ResourceExhausted, match="LIMIT_RATE"):
        allowance.take("yuehu")
