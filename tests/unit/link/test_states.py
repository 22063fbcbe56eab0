"""States over a link: the newest of each, many at once; and what is stale while a link is down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection
from support.catalogues import Sharing, in_step, joined, sharing, until
from support.domain import SYSTEM, Domain, camera

from vidhub.link.live import BULK_BYTES
from vidhub.model import CameraFilter, CameraState, CameraStateChange, CameraUpserted, HubSide, Synced, WatchEvent
from vidhub.store import cameras, changes, meta
from vidhub.v1 import link_service_pb2 as pb

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
async def village(tmp_path: Path) -> AsyncIterator[Sharing]:
    """A zone below the district: what it tells the district, the district tells the city."""
    async with sharing(tmp_path / "village", "village", "360602") as found:
        yield found


def states(domain: Domain) -> dict[str, tuple[CameraState, str, bool]]:
    page = domain.core.list_cameras(SYSTEM, CameraFilter(), limit=10_000)
    return {one.id: (one.state, one.state_reason, domain.remote.told(one).stale) for one in page.cameras}


async def linked(lower: Sharing, upper: Sharing) -> None:
    await lower.know(upper, HubSide.UPPER)
    await lower.share(upper)


def tell(domain: Domain, ids: list[str], state: CameraState, reason: str = "") -> None:
    domain.core.apply_states([(one, state, NOW, reason) for one in ids])


async def test_states_go_all_the_way_up_and_a_storm_goes_in_few_messages(
    village: Sharing, district: Sharing, city: Sharing
) -> None:
    ids = await village.register(*range(1, 2_001))
    await linked(village, district)
    await linked(district, city)
    async with joined(village, district), joined(district, city) as link:
        await in_step(village, district)
        assert (await in_step(district, city))[0] == 2_000
        tell(district.domain, ids[:3], CameraState.ONLINE)
        await until(lambda: states(city.domain)[ids[2]] == (CameraState.ONLINE, "", False))
        found = await city.domain.catalogue.get(SYSTEM, ids[0])
        assert found.state_time == NOW, "of the hub that saw it"
        link.sent.clear()
        tell(district.domain, ids, CameraState.OFFLINE, "no power")
        await until(lambda: set(states(city.domain).values()) == {(CameraState.OFFLINE, "no power", False)})
        storm = [one.camera_states for one in link.sent if one.WhichOneof("body") == "camera_states"]
        assert sum(len(one.states) for one in storm) < 2 * len(ids)
        assert len(storm) < len(ids) / 100
        assert max(one.ByteSize() for one in storm) <= BULK_BYTES + 1_024


async def test_a_link_s_loss_makes_its_cameras_stale_not_offline(
    village: Sharing, district: Sharing, city: Sharing
) -> None:
    ids = await village.register(*range(1, 6))
    (own,) = await city.register(90)
    await linked(village, district)
    await linked(district, city)
    seen: list[WatchEvent] = []

    async def watch() -> None:
        async with aclosing(city.domain.catalogue.watch(SYSTEM, None, CameraFilter())) as events:
            async for event in events:
                seen.append(event)

    def told() -> list[tuple[str, CameraState, bool]]:
        return [(one.id, one.state, one.stale) for one in seen if isinstance(one, CameraStateChange)]

    async with joined(district, city) as link:
        async with joined(village, district):
            await in_step(village, district)
            await in_step(district, city)
            tell(district.domain, ids, CameraState.ONLINE)
            await until(lambda: all(states(city.domain)[one] == (CameraState.ONLINE, "", False) for one in ids))
            watching = asyncio.create_task(watch())
            await until(lambda: any(isinstance(one, Synced) for one in seen))
            assert [one.camera.stale for one in seen if isinstance(one, CameraUpserted)] == [False] * 6
            await until(lambda: len(told()) >= 6)
            seen.clear()
        # The zone is lost from the district's sight: the city is told so.
        lost = {(one, CameraState.ONLINE, True) for one in ids}
        await until(lambda: set(told()) == lost)
        assert len(told()) == len(ids), "one event each"
        seen.clear()
        assert link.upper.is_open
        async with joined(village, district):
            # The zone tells what it knows of them itself, which is nothing yet.
            await until(lambda: set(told()) >= {(one, CameraState.UNKNOWN, False) for one in ids})
        await until(lambda: all(states(city.domain)[one][2] for one in ids))
        seen.clear()
    await until(lambda: not city.domain.remote._up)
    assert all(states(city.domain)[one] == (CameraState.UNKNOWN, "", True) for one in ids)
    assert states(city.domain)[own][2] is False
    assert (await city.domain.catalogue.get(SYSTEM, ids[0])).stale
    page = await city.domain.catalogue.list(SYSTEM, CameraFilter(), full=True)
    assert {one.id for one in page.cameras if one.stale} == set(ids)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_after_a_restart_everything_is_stale_until_the_link_is_up(district: Sharing, tmp_path: Path) -> None:
    (camera_id,) = await district.register(1)
    async with sharing(tmp_path / "city", "city", "360600") as city:
        await linked(district, city)
        async with joined(district, city):
            await in_step(district, city)
            assert states(city.domain)[camera_id][2] is False
    async with sharing(tmp_path / "city", "city", "360600") as city:
        assert states(city.domain)[camera_id] == (CameraState.UNKNOWN, "", True)
        async with joined(district, city):
            await until(lambda: states(city.domain)[camera_id][2] is False)


async def test_states_that_are_not_the_peer_s_to_tell_change_nothing(district: Sharing, city: Sharing) -> None:
    (theirs,) = await district.register(1)
    (own,) = await city.register(90)
    await linked(district, city)
    async with joined(district, city) as link:
        await in_step(district, city)
        found = [
            pb.CameraStates.State(camera_id=own, state=3, stale=True),
            pb.CameraStates.State(camera_id="9" * 20, state=3),
            pb.CameraStates.State(camera_id=theirs, state=6),
            pb.CameraStates.State(camera_id=theirs, state=3, reason="\x00"),
        ]
        ahead = pb.CameraStates.State(camera_id=theirs, state=3, reason="dark")
        ahead.time.FromDatetime(datetime.now(UTC) + timedelta(minutes=10))
        link.lower.send(camera_states=pb.CameraStates(states=[*found, ahead]))
        await until(lambda: any(one.problem.reason == "STATE_INVALID" for one in link.said))
        assert states(city.domain) == {
            own: (CameraState.UNKNOWN, "", False),
            theirs: (CameraState.OFFLINE, "dark", False),
        }
        seen = await city.domain.catalogue.get(SYSTEM, theirs)
        assert seen.state_time is not None
        assert seen.state_time <= datetime.now(UTC), "a clock that is ahead is not believed"


async def test_a_quarantine_goes_up_with_the_record(district: Sharing, city: Sharing) -> None:
    (camera_id,) = await district.register(1)
    await linked(district, city)
    async with joined(district, city):
        await in_step(district, city)
        await quarantine(district.domain, camera_id)
        await until(lambda: states(city.domain)[camera_id][0] is CameraState.QUARANTINED)
        await in_step(district, city)


async def quarantine(domain: Domain, camera_id: str) -> None:

    def work(conn: Connection) -> int:
        number = meta.next_revision(conn)
        cameras.set_state(conn, camera_id, CameraState.QUARANTINED, "by law", revision=number, now=NOW)
        changes.append(conn, [(number, "upserted", camera_id)])
        return number

    number = await domain.store.write(work)
    stored = await domain.store.read(lambda conn: cameras.get(conn, camera_id, domain.secrets))
    assert stored is not None
    domain.core.apply_cameras(number, [stored])
    domain.watches.wake()
    assert camera(1).id == camera_id
