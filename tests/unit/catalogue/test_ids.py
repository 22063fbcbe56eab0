"""The ids that the hub assigns."""

import pytest

from vidhub.catalogue import ids
from vidhub.errors import ResourceExhausted


def test_an_id_is_twenty_digits_that_do_not_start_with_zero():
    assert ids.is_device_id("36060200111322000001")
    for wrong in (
        "",
        "3606020011132200001",
        "0606020011132200000",
        "3606020011132200000a",
        "３６０６０２００１１１３２２００００１",
    ):
        assert not ids.is_device_id(wrong)


def test_an_assigned_id_carries_region_industry_type_and_network():
    start = ids.prefix("360602", "11")
    assert start == "36060200111322"
    assert ids.assign(start, 2, []) == ["36060200111322000001", "36060200111322000002"]


def test_serials_go_on_after_the_highest_and_then_fill_the_gaps():
    start = ids.prefix("360602", "11")
    assert ids.assign(start, 1, [f"{start}000041"]) == [f"{start}000042"]
    assert ids.assign(start, 2, [f"{start}999998", f"{start}000001"]) == [f"{start}999999", f"{start}000002"]
    assert ids.assign(start, 1, ["36068100111322000009"]) == [f"{start}000001"]


def test_a_full_space_is_said():
    start = ids.prefix("360602", "11")
    with pytest.raises(ResourceExhausted, match="ID_SPACE_FULL"):
        ids.assign(start, ids.SERIALS, [f"{start}000001"])
