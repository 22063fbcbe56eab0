"""What is not taken between hubs, listed for people on both sides."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection
from support.catalogues import EVERYTHING, Sharing, in_step, joined, sharing, until
from support.domain import SYSTEM, camera

from vidhub.config import HubOptions
from vidhub.errors import InvalidArgument
from vidhub.identity import CertificateAuthority, Register
from vidhub.link.disputes import Dispute, Disputes
from vidhub.link.links import Links
from vidhub.link.notices import Notices
from vidhub.link.peers import Peers
from vidhub.link.sharing import SharingDesk
from vidhub.model import HubLevel, HubSide, LinkedHub
from vidhub.store import hubs, remote_cameras
from vidhub.store.remote_cameras import OTHER_WAY, Conflict

ID = camera(1).id


async def listed(hub: Sharing, directory: Path) -> tuple[Disputes, list[LinkedHub]]:
    """As it is on record now."""
    domain = hub.domain
    register = await Register.open(domain.store, CertificateAuthority.open(directory, hub.hub_id))
    own = HubOptions(hub.hub_id, hub.hub_id, "city", hub.region_code)
    peers = await Peers.open(domain.store, domain.audit, register, own)
    return Disputes(domain.store, peers, hub.out), peers.all()


def _put(hub: LinkedHub, found: list[Conflict], now: datetime, conn: Connection) -> None:
    hubs.put(conn, hub)
    remote_cameras.put_conflicts(conn, found, now)


async def desk(hub: Sharing, directory: Path) -> SharingDesk:
    disputes, _ = await listed(hub, directory)
    domain = hub.domain
    return SharingDesk(
        store=domain.store,
        core=domain.core,
        peers=disputes._peers,
        links=Links(),
        shares=domain.shares,
        told=hub.out,
        taken=hub.into,
        notices=Notices(domain.shares),
    )


async def page(of: tuple[Disputes, list[LinkedHub]]) -> tuple[Dispute, ...]:
    return (await of[0].page(of[1], page_size=0, page_token=""))[0]


async def test_both_sides_list_it_and_the_one_where_they_meet_may_settle_it(
    district: Sharing, city: Sharing, tmp_path: Path
) -> None:
    async with sharing(tmp_path / "other", "other", "360602") as other:
        for hub in (district, other):
            await hub.register(1)
            await hub.know(city, HubSide.UPPER)
            await hub.share(city)
        async with joined(district, city):
            await until(lambda: ID in city.ids())
            async with joined(other, city):
                await until(lambda: other.out.refused("city", ID) is not None)
                here, there = await listed(city, tmp_path), await listed(other, tmp_path / "other")
                assert await page(here) == (
                    Dispute(ID, "CAMERA_ID_TAKEN", "other", "city", holding_hub_id="district", assignable=True),
                )
                assert await page(there) == (
                    Dispute(ID, "CAMERA_ID_TAKEN", "other", "city", holding_hub_id="district"),
                )
                await city.into.assign(SYSTEM, ID, "other", "登记在先")
                await until(lambda: city.domain.remote.link_of(ID) == "other")
                (turned,) = await page(here)
                assert (turned.offering_hub_id, turned.holding_hub_id, turned.assigned_hub_id) == (
                    "district",
                    "other",
                    "other",
                )
                await until(lambda: other.out.refused("city", ID) is None)
                assert await page(there) == ()


async def test_what_this_hub_has_registered_is_never_to_be_given_away(
    district: Sharing, city: Sharing, tmp_path: Path
) -> None:
    for hub in (city, district):
        await hub.register(1)
    await district.know(city, HubSide.UPPER)
    await district.share(city)
    async with joined(district, city):
        await until(lambda: district.out.refused("city", ID) is not None)
        (one,) = await page(await listed(city, tmp_path))
    assert (one.holding_hub_id, one.assignable) == ("city", False)


async def test_a_camera_that_comes_by_a_second_hub_is_no_conflict(
    district: Sharing, city: Sharing, tmp_path: Path
) -> None:
    """A district has two uppers, and both have this hub above them: nobody is to register anything anew."""
    await district.register(1)
    async with sharing(tmp_path / "bureau", "bureau", "360600") as bureau:
        for upper in (city, bureau):
            await district.know(upper, HubSide.UPPER)
            await district.share(upper)
            await upper.know(district, HubSide.LOWER)
        async with sharing(tmp_path / "province", "province", "360000") as province:
            for upper in (city, bureau):
                await upper.know(province, HubSide.UPPER)
                await upper.share(province)
            async with joined(district, city), joined(district, bureau), joined(city, province):
                await until(lambda: ID in province.ids())
                async with joined(bureau, province):
                    await until(lambda: bureau.out.refused("province", ID) == (OTHER_WAY, "city"))
                    assert (province.into.refused_count("bureau"), bureau.out.refused_count("province")) == (0, 0)
                    assert await province.domain.entries("catalogue.refused") == []
                    assert (await in_step(bureau, province))[0] == 0
                    (one,) = await page(await listed(province, tmp_path / "province"))
                    assert (one.reason, one.holding_hub_id, one.assignable) == (OTHER_WAY, "city", True)
                    for hub, name, seen_from in ((province, "province", ""), (bureau, "bureau", "province")):
                        found = await (await desk(hub, tmp_path / name)).explain(SYSTEM, ID)
                        (said,) = [finding for finding in found if finding.reason == "OTHER_WAY"]
                        assert (said.hub_id, said.visible, said.holding_hub_id) == (seen_from, True, "city")
                        assert "CONFLICT" not in {finding.reason for finding in found}
                    # A supervisor chooses the way; and what the first one shares no more comes by the other.
                    await province.into.assign(SYSTEM, ID, "bureau", "x")
                    await until(lambda: province.domain.remote.link_of(ID) == "bureau")
                    await until(lambda: city.out.refused("province", ID) == (OTHER_WAY, "bureau"))
                    await bureau.domain.shares.delete_of(SYSTEM, "province", EVERYTHING)
                    await until(lambda: province.domain.remote.link_of(ID) == "city")


async def test_pages_hold_each_once_in_order_of_id(city: Sharing, tmp_path: Path) -> None:
    """Names that sort otherwise with what stands behind them are among the hubs."""
    names = ("a", "a-b", "a.b")
    now = datetime.now(UTC)
    for name in names:
        hub = LinkedHub(name, name, HubLevel.DISTRICT, "360602", HubSide.LOWER, create_time=now)
        found = [Conflict(name, camera(number).id, "NAME_INVALID") for number in (3, 1, 2)]
        await city.domain.store.write(partial(_put, hub, found, now))
    disputes, linked = await listed(city, tmp_path)
    wanted = [(camera(number).id, name) for number, name in itertools.product((1, 2, 3), names)]
    for size in (1, 2, 3, 8, 9, 10):
        seen, token = [], ""
        while True:
            found, token = await disputes.page(linked, page_size=size, page_token=token)
            seen += [(one.camera_id, one.offering_hub_id) for one in found]
            assert len(found) == size or not token
            if not token:
                break
        assert seen == wanted
    _, token = await disputes.page(linked, page_size=1, page_token="")
    with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
        await disputes.page(linked[:1], page_size=1, page_token=token)


async def test_why_a_camera_is_seen_says_the_same_on_all_levels_while_a_link_is_down(
    district: Sharing, city: Sharing, tmp_path: Path
) -> None:
    async with sharing(tmp_path / "province", "province", "360000") as province:
        for lower, upper in ((district, city), (city, province)):
            await lower.know(upper, HubSide.UPPER)
            await upper.know(lower, HubSide.LOWER)
            await lower.share(upper)
        await district.register(1)
        async with joined(city, province):
            async with joined(district, city):
                await until(lambda: ID in province.ids())
                above = await desk(province, tmp_path / "province")
                await until(lambda: not province.into.is_stale(ID))
                (seen,) = await above.explain(SYSTEM, ID)
                assert (seen.reason, seen.visible, seen.stale) == ("THEIRS", True, False)
            await until(lambda: province.into.is_stale(ID))
            (seen,) = await above.explain(SYSTEM, ID)
            assert (seen.reason, seen.visible, seen.stale) == ("THEIRS", True, True), "the city has lost it from sight"
        # The city knows of the one that it was told of, and of no other.
        (late,) = await district.register(2)
        below = await desk(district, tmp_path)
        for camera_id, is_seen in ((ID, True), (late, False)):
            (seen,) = await below.explain(SYSTEM, camera_id)
            assert (seen.reason, seen.visible, seen.stale) == ("LINK_DOWN", is_seen, True)
