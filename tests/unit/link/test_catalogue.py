"""The catalogue over a link: what is shared arrives, moves and goes, whatever happens on the way."""

from __future__ import annotations

import asyncio

import pytest
from support.catalogues import EVERYTHING, Sharing, in_step, joined, until
from support.domain import SYSTEM, camera, unit

from vidhub.errors import FailedPrecondition, NotFound
from vidhub.model import HubSide, Scope
from vidhub.store import meta


def bodies(link: object, name: str) -> list[object]:
    return [message for message in link.sent if message.WhichOneof("body") == name]  # type: ignore[attr-defined]


async def test_what_is_shared_arrives_and_nothing_else(district: Sharing, city: Sharing) -> None:
    ids = await district.register(*range(1, 301))
    await district.know(city, HubSide.UPPER)
    await district.share(city, Scope(camera_ids=tuple(ids[:280])))
    async with joined(district, city) as link:
        assert (await in_step(district, city))[0] == 280
        assert city.ids() == set(ids[:280])
        text = b"".join(message.SerializeToString() for message in link.sent)
        assert [one for one in (b"rtsp", b"hunter22", ids[290].encode()) if one in text] == []
    found = await city.domain.catalogue.get(SYSTEM, ids[0])
    assert (found.name, found.home_hub_id, found.unit_id, found.unit_name) == ("东门1", "district", "u1", "单位u1")
    assert [(one.url, one.username, one.password) for one in found.streams] == [("", "", "")]
    assert (found.location.address, found.legal.purpose) == ("", "")


async def test_changes_follow_and_so_do_retirements(district: Sharing, city: Sharing) -> None:
    ids = await district.register(*range(1, 6))
    await district.know(city, HubSide.UPPER)
    await district.share(city)
    async with joined(district, city) as link:
        await in_step(district, city)
        await district.register(2, name="北门")
        await district.register(9)
        await district.domain.catalogue.retire(unit(), ids[0], "moved away")
        await in_step(district, city)
        assert city.ids() == {*ids[1:], camera(9).id}
        assert (await city.domain.catalogue.get(SYSTEM, ids[1])).name == "北门"
        assert len(bodies(link, "catalogue_digest")) == 1, "only to begin with"


async def test_a_link_that_was_cut_goes_on_by_deltas(district: Sharing, city: Sharing) -> None:
    ids = await district.register(*range(1, 600))
    await district.know(city, HubSide.UPPER)
    await district.share(city)
    async with joined(district, city):
        await in_step(district, city)
    for name in ("南门", "西门"):
        await district.register(*range(1, 101), name=name)
    await district.domain.catalogue.retire(unit(), ids[500], "gone")
    async with joined(district, city) as link:
        await in_step(district, city)
        assert not bodies(link, "catalogue_digest")
        deltas = [message.catalogue_delta for message in bodies(link, "catalogue_delta")]  # type: ignore[attr-defined]
        assert sum(len(delta.upserts) for delta in deltas) == 100, "each camera once"
        assert [one for delta in deltas for one in delta.removed] == [ids[500]]


async def test_a_rule_that_is_taken_back_takes_its_cameras_with_it(district: Sharing, city: Sharing) -> None:
    await district.register(*range(1, 20))
    other = await district.register(*range(20, 30), region_code="360603")
    await district.know(city, HubSide.UPPER)
    await district.share(city, Scope(region_prefixes=("360602",)))
    await district.share(city, Scope(region_prefixes=("360603",)))
    district.region_code = "360600"  # as the city knows it: both divisions are its own
    async with joined(district, city):
        await in_step(district, city)
        assert len(city.ids()) == 29
        await district.domain.shares.delete_of(SYSTEM, "city", Scope(region_prefixes=("360602",)))
        await until(lambda: city.ids() == set(other))
        await in_step(district, city)
        # Also while the link is down: it is compared then.
    await district.domain.shares.delete_of(SYSTEM, "city", Scope(region_prefixes=("360603",)))
    async with joined(district, city):
        await until(lambda: not city.ids())


async def test_an_id_never_shared_is_not_named_after_a_cut(district: Sharing, city: Sharing) -> None:
    shared, hidden = await district.register(1, 2)
    await district.know(city, HubSide.UPPER)
    await district.share(city, Scope(camera_ids=(shared,)))
    async with joined(district, city):
        await in_step(district, city)
    await district.register(2, name="内部")
    await district.domain.catalogue.retire(unit(), hidden, "gone")
    await district.register(1, name="外部")
    async with joined(district, city) as link:
        await in_step(district, city)
        assert hidden.encode() not in b"".join(message.SerializeToString() for message in link.sent)
        assert (await city.domain.catalogue.get(SYSTEM, shared)).name == "外部"


async def test_a_new_epoch_is_compared_and_only_what_differs_is_sent(district: Sharing, city: Sharing) -> None:
    await district.register(*range(1, 2_001))
    await district.know(city, HubSide.UPPER)
    await district.share(city)
    async with joined(district, city):
        await in_step(district, city)
    await district.register(700, name="一号门")
    await district.domain.store.write(meta.new_epoch)
    revision = await district.domain.store.read(meta.revision)
    await district.domain.load()
    assert district.domain.core.revision() == revision
    async with joined(district, city) as link:
        await in_step(district, city)
        ranges = [message.catalogue_range for message in bodies(link, "catalogue_range")]  # type: ignore[attr-defined]
        assert 0 < sum(len(one.cameras) for one in ranges) <= 256
        assert not bodies(link, "catalogue_delta")


async def test_a_camera_of_another_hub_can_t_be_changed_here(district: Sharing, city: Sharing) -> None:
    (camera_id,) = await district.register(1)
    await district.know(city, HubSide.UPPER)
    await district.share(city)
    async with joined(district, city):
        await in_step(district, city)
    with pytest.raises(NotFound):  # the city has a unit of the same name
        await city.domain.catalogue.retire(unit(), camera_id, "mine")
    with pytest.raises(FailedPrecondition) as refused:
        await city.domain.catalogue.retire(SYSTEM, camera_id, "mine")
    assert refused.value.reason == "CAMERA_NOT_OURS"


async def test_the_fields_of_a_rule_go_along(district: Sharing, city: Sharing) -> None:
    (camera_id,) = await district.register(
        1, device=(("manufacturer", "海康"), ("mac", "00-11-22-33-44-55"), ("ip_address", "10.1.2.3"))
    )
    await district.know(city, HubSide.UPPER)
    await district.share(city)
    async with joined(district, city):
        await in_step(district, city)
        await district.share(city, EVERYTHING, fields=("legal", "device", "location.address"))
        await in_step(district, city)
        found = await city.domain.catalogue.get(SYSTEM, camera_id)
        assert found.legal.purpose == "校园安全"
        assert found.location.address == "胜利西路"
        assert dict(found.device) == {"manufacturer": "海康"}
        await district.share(city)
        await in_step(district, city)
        assert (await city.domain.catalogue.get(SYSTEM, camera_id)).device == ()


async def test_a_newer_link_takes_over_and_the_older_one_leaves_nothing_running(
    district: Sharing, city: Sharing
) -> None:
    await district.register(1)
    await district.know(city, HubSide.UPPER)
    await district.share(city)
    async with joined(district, city):
        await in_step(district, city)
        parts = ("Catalogue", "Conflicts")
        before = {task for task in asyncio.all_tasks() if task.get_coro().__qualname__.startswith(parts)}  # type: ignore[union-attr]
        assert len(before) == 6, "two that tell and one that takes, on each side"
        async with joined(district, city):
            await in_step(district, city)
            await until(lambda: all(task.done() for task in before))
            await district.register(2)
            await in_step(district, city)
    assert city.domain.remote.is_stale(camera(2).id)
