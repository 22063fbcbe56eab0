"""The ids that the hub assigns."""

import pytest

from vidhub.catalogue import ids
from vidhub.errors import ResourceExhausted


def test_an_id_is_twenty_digits_that_do_not_start_with_zero():
    assert ids.is_device_id("36060200111322000001")
    for wrong in ("", "3606020011132200001", "06060200111322000001", "3606020011132200000a", "３" * 20):
        assert not ids.is_device_id(wrong)


def test_an_assigned_id_carries_region_industry_type_and_network():
    assert ids.prefix("360602", "11") == "36060200111322"


def test_serials_go_on_after_the_highest_and_then_fill_the_gaps():
    start = ids.prefix("360602", "11")
    assert ids.free_serial(start, []) == 1
    assert ids.free_serial(start, [f"{start}000041", f"{start}000002"]) == 42
    assert ids.free_serial(start, [f"{start}999999", f"{start}000001"]) == 2


def test_a_full_space_is_said():
    start = ids.prefix("360602", "11")
    with pytest.raises(ResourceExhausted, match="ID_SPACE_FULL"):
        ids.free_serial(start, (f"{start}{serial:06d}" for serial in range(ids.SERIALS)))
