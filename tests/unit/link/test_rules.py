"""What two hubs must be for a link between them."""

from __future__ import annotations

import pytest

from vidhub.errors import VidhubError
from vidhub.link.live import VERSION
from vidhub.link.rules import check_below, check_cycle, check_hello, check_version, from_level, level_of, to_level
from vidhub.model import HubLevel, HubSide, LinkedHub, region_prefix
from vidhub.v1 import link_service_pb2 as pb

PROVINCE, CITY, DISTRICT, ZONE = HubLevel.PROVINCE, HubLevel.CITY, HubLevel.DISTRICT, HubLevel.ZONE


def hub(side: HubSide = HubSide.LOWER, **changed: object) -> LinkedHub:
    fields = {"id": "yuehu", "name": "月湖区", "level": DISTRICT, "region_code": "360602", "side": side, "joined": True}
    return LinkedHub(**{**fields, **changed})  # type: ignore[arg-type]


def hello(**changed: object) -> pb.Hello:
    fields = {"version": 1, "oldest_version": 1, "hub_id": "yuehu", "level": pb.HUB_LEVEL_DISTRICT}
    return pb.Hello(**{**fields, "region_code": "360602", **changed})  # type: ignore[arg-type]


def reason_of(check: object, *arguments: object, **named: object) -> str:
    try:
        check(*arguments, **named)  # type: ignore[operator]
    except VidhubError as error:
        return error.reason if error.message else "no sentence"
    return ""


@pytest.mark.parametrize(
    ("level", "region", "upper", "upper_region", "reason"),
    [
        (DISTRICT, "360602", CITY, "360600", ""),
        (ZONE, "360602", CITY, "360600", ""),
        (CITY, "360600", PROVINCE, "360000", ""),
        (ZONE, "360602", PROVINCE, "360000", ""),
        (CITY, "360600", CITY, "360600", "LEVEL_NOT_BELOW"),
        (ZONE, "360602", DISTRICT, "360602", "LEVEL_NOT_BELOW"),
        (PROVINCE, "360000", CITY, "360000", "LEVEL_NOT_BELOW"),
        (DISTRICT, "360102", CITY, "360600", "REGION_NOT_WITHIN"),
        (CITY, "440100", PROVINCE, "360000", "REGION_NOT_WITHIN"),
        # A code with the same beginning, but wider.
        (DISTRICT, "360000", CITY, "360600", "REGION_NOT_WITHIN"),
    ],
)
def test_a_lower_hub_stands_below_and_within(
    level: HubLevel, region: str, upper: HubLevel, upper_region: str, reason: str
) -> None:
    assert reason_of(check_below, level, region, upper, upper_region) == reason


def test_the_prefix_of_a_region_covers_what_lies_within() -> None:
    assert [region_prefix(code) for code in ("360000", "360600", "360602")] == ["36", "3606", "360602"]


def test_levels_are_the_words_of_the_protocol() -> None:
    assert [from_level(to_level(level)) for level in HubLevel] == list(HubLevel)
    assert level_of(" City ") is CITY
    assert reason_of(level_of, "village") == "LEVEL_UNKNOWN"
    assert reason_of(from_level, 0) == "LEVEL_UNKNOWN"


@pytest.mark.parametrize(
    ("newest", "oldest", "reason"),
    [(1, 1, ""), (7, 1, ""), (VERSION + 2, VERSION + 1, "VERSION_UNSUPPORTED")],
)
def test_both_speak_the_newest_version_that_both_know(newest: int, oldest: int, reason: str) -> None:
    assert reason_of(check_version, hello(version=newest, oldest_version=oldest)) == reason


def test_a_refused_version_names_both() -> None:
    with pytest.raises(VidhubError) as caught:
        check_version(hello(version=9, oldest_version=8))
    assert "8 to 9" in caught.value.message
    assert f"to {VERSION}" in caught.value.message


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, ""),
        ({"hub_id": "guixi"}, "HUB_ID_MISMATCH"),
        ({"level": pb.HUB_LEVEL_CITY}, "HUB_CHANGED"),
        ({"level": 77}, "HUB_CHANGED"),
        ({"region_code": "360681"}, "HUB_CHANGED"),
        ({"version": 9, "oldest_version": 9}, "VERSION_UNSUPPORTED"),
        # The lower names its uppers, this hub among them: no cycle.
        ({"above": ["yingtan", "jiangxi"]}, ""),
    ],
)
def test_hello_is_of_the_hub_on_record(said: dict[str, object], reason: str) -> None:
    assert reason_of(check_hello, hub(), hello(**said), own_id="yingtan", above=("jiangxi",)) == reason


@pytest.mark.parametrize(
    ("side", "theirs", "above", "reason"),
    [
        (HubSide.UPPER, ["jiangxi", "yingtan"], (), "LINK_CYCLE"),
        (HubSide.UPPER, ["jiangxi"], (), ""),
        (HubSide.LOWER, [], ("jiangxi", "yuehu"), "LINK_CYCLE"),
        # A bureau that is above it by another way as well: two ways up are no cycle.
        (HubSide.LOWER, ["bureau", "yingtan"], ("jiangxi",), ""),
    ],
)
def test_no_hub_stands_above_itself(side: HubSide, theirs: list[str], above: tuple[str, ...], reason: str) -> None:
    assert reason_of(check_cycle, hub(side), theirs, own_id="yingtan", above=above) == reason


def test_an_upper_that_says_a_hub_below_stands_above_it_is_refused_not_that_hub() -> None:
    upper, lower = hub(HubSide.UPPER), hub(HubSide.LOWER)
    told = {"own_id": "yingtan", "below": ("yuehu",)}
    assert reason_of(check_cycle, upper, ("jiangxi", "yuehu"), above=(), **told) == "LINK_CYCLE"
    assert reason_of(check_cycle, upper, ("jiangxi",), above=(), **told) == ""
    assert reason_of(check_cycle, lower, ("jiangxi", "yuehu"), above=(), **told) == ""
