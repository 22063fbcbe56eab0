"""Two hubs claim one id, and a supervisor says whose it is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.catalogues import Sharing, in_step, joined, sharing, until
from support.domain import SYSTEM, camera

from vidhub.errors import FailedPrecondition, NotFound
from vidhub.model import HubSide
from vidhub.store import remote_cameras

ID = camera(1).id


@pytest.fixture
async def other(city: Sharing, tmp_path: Path) -> AsyncIterator[Sharing]:
    """A second district: it claims camera 1, and has camera 2."""
    async with sharing(tmp_path / "other", "other", "360602") as found:
        await found.register(1, name="后来的")
        await found.register(2)
        await found.know(city, HubSide.UPPER)
        await found.share(city)
        yield found


@pytest.fixture
async def first(district: Sharing, city: Sharing) -> Sharing:
    """The district that brought camera 1 first."""
    await district.register(1)
    await district.know(city, HubSide.UPPER)
    await district.share(city)
    async with joined(district, city):
        await in_step(district, city)
    return district


def holder(city: Sharing) -> str:
    return city.domain.remote.link_of(ID)


async def is_refused(city: Sharing, other: Sharing, by: str) -> None:
    """The city takes camera 2 of the other, and says who has camera 1."""
    assert (await in_step(other, city))[0] == 1
    await until(lambda: other.out.refused("city", ID) == ("CAMERA_ID_TAKEN", by))


async def test_the_hub_that_it_was_given_to_takes_over_and_both_see_it(
    first: Sharing, city: Sharing, other: Sharing
) -> None:
    async with joined(first, city), joined(other, city):
        await is_refused(city, other, "district")
        await city.into.assign(SYSTEM, ID, "other", "登记在先")
        await until(lambda: holder(city) == "other")
        assert (await city.domain.catalogue.get(SYSTEM, ID)).name == "后来的"
        assert (await in_step(other, city))[0] == 2
        await until(lambda: first.out.refused("city", ID) == ("CAMERA_ID_TAKEN", "other"))
        assert (await in_step(first, city))[0] == 0
        assert [city.into.refused_count(hub) for hub in ("district", "other")] == [1, 0]
        # What the first one says of it changes nothing.
        await first.register(1, 3, name="又来")
        await until(lambda: camera(3).id in city.ids())
        assert (holder(city), len(city.ids())) == ("other", 3)
    (given,) = await city.domain.entries("catalogue.assign")
    assert json.loads(given.record.detail_json) == {"hub": "other", "from": "district", "reason": "登记在先"}
    (taken,) = await city.domain.entries("catalogue.takeover")
    assert (taken.record.principal, taken.record.resource) == ("hub/other", f"camera/{ID}")


async def test_it_keeps_its_place_until_the_other_is_there_and_when_it_is_gone_again(
    first: Sharing, city: Sharing, other: Sharing
) -> None:
    async with joined(first, city):
        async with joined(other, city):
            await is_refused(city, other, "district")
        await city.into.assign(SYSTEM, ID, "other", "x")
        assert holder(city) == "district", "nobody is without a picture meanwhile"
        async with joined(other, city):
            await until(lambda: holder(city) == "other")
            await other.domain.catalogue.retire(SYSTEM, ID, "x")
            await until(lambda: holder(city) == "district")


async def test_a_comparison_takes_over_as_a_delta_does(first: Sharing, city: Sharing, other: Sharing) -> None:
    await city.know(other, HubSide.LOWER)
    async with joined(first, city):
        await in_step(first, city)
        async with joined(other, city):
            await is_refused(city, other, "district")
        await city.into.assign(SYSTEM, ID, "other", "x")
        await city.domain.received.forget("other")
        async with joined(other, city):
            await until(lambda: holder(city) == "other")
            assert (await in_step(other, city))[0] == 2


async def test_what_is_this_hub_s_own_goes_and_does_not_come_again(
    first: Sharing, city: Sharing, other: Sharing
) -> None:
    async with joined(first, city), joined(other, city):
        await is_refused(city, other, "district")
        await city.into.assign(SYSTEM, ID, "city", "本级的")
        assert ID not in city.ids()
        await until(lambda: first.out.refused("city", ID) == ("CAMERA_ID_TAKEN", "city"))
    async with joined(first, city):
        assert (await in_step(first, city))[0] == 0
        await city.register(1, name="市里的")
        assert (holder(city), (await city.domain.catalogue.get(SYSTEM, ID)).name) == ("", "市里的")


async def test_the_end_of_a_link_is_the_end_of_what_was_given_to_it(
    first: Sharing, city: Sharing, other: Sharing
) -> None:
    async with joined(first, city), joined(other, city):
        await is_refused(city, other, "district")
    await city.into.assign(SYSTEM, ID, "other", "x")
    await city.into.ended("other")
    assert await city.domain.store.read(lambda conn: remote_cameras.assignments(conn, [ID])) == {}


async def test_what_can_t_be_given(first: Sharing, city: Sharing, other: Sharing) -> None:
    await city.know(other, HubSide.LOWER)
    (own,) = await city.register(50)
    with pytest.raises(FailedPrecondition, match="CAMERA_IS_OURS"):
        await city.into.assign(SYSTEM, own, "district", "x")
    with pytest.raises(NotFound, match="CAMERA_NOT_FOUND"):
        await city.into.assign(SYSTEM, camera(77).id, "district", "x")
    # One hub has it, and nobody else says that it is theirs.
    with pytest.raises(FailedPrecondition, match="CAMERA_NOT_DISPUTED"):
        await city.into.assign(SYSTEM, ID, "city", "x")
    with pytest.raises(FailedPrecondition, match="CAMERA_NOT_CLAIMED"):
        await city.into.assign(SYSTEM, ID, "other", "x")
    with pytest.raises(FailedPrecondition, match="HUB_NOT_JOINED"):
        await city.into.assign(SYSTEM, ID, "elsewhere", "x")
    assert holder(city) == "district"
    assert await city.domain.entries("catalogue.assign") == []
