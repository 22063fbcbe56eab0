"""A page of cameras that the core writes is, field for field, what `convert.py` makes of the same rows."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.catalogues import in_step, joined, sharing
from support.domain import HUB, SYSTEM, camera

from vidhub.api import METHODS, convert
from vidhub.api.call import Call
from vidhub.api.cameras import CameraServicer
from vidhub.core import Core
from vidhub.identity import HubKeys
from vidhub.model import Camera, CameraFilter, CameraState, CameraStream, HubSide, Location, Profile, Revision
from vidhub.v1 import camera_service_pb2 as pb

UNITS = {"u1": "第一中学", "u2": ""}
REGIONS = {"360602": "月湖区"}
NAMES = convert.Names(unit=lambda unit_id: UNITS.get(unit_id, ""), region=lambda code: REGIONS.get(code, ""))


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    built = Core({"hub_id": HUB, "ticket_key_pem": HubKeys.open(tmp_path).hub_pem.decode(), "threads": 1})
    yield built
    await built.stop()


def any_camera(number: int, chance: random.Random) -> Camera:
    degrees = chance.choice((0.0, -0.0, 28.24, -89.999999, chance.uniform(-90, 90)))
    profiles = chance.choice(((Profile.MAIN,), (Profile.SUB,), (Profile.MAIN, Profile.SUB), ()))
    return replace(
        camera(number),
        name=chance.choice(("", "东门", "a" * 200, "路口 🚦", '"\\')),
        unit_id=chance.choice(("u1", "u2", "u3")),
        region_code=chance.choice(("360602", "360681")),
        place_category=chance.randrange(13),
        location=Location(degrees, -degrees),
        streams=tuple(CameraStream(profile, "rtsp://10.0.0.1/1", "admin", "Kp1!") for profile in profiles),
        state=chance.choice((CameraState.UNKNOWN, CameraState.QUARANTINED)),
        revision=Revision("e1", chance.choice((0, 1, 2**40))),
        home_hub_id=chance.choice(("", "lower")),
    )


async def test_any_row_is_written_as_the_control_plane_writes_it(core: Core) -> None:
    chance = random.Random(29)
    cameras = [any_camera(number, chance) for number in range(1, 401)]
    core.load(Revision("e1", 2**40), cameras, [])
    past = datetime(2026, 3, 1, tzinfo=UTC)
    core.apply_states(
        (
            one.id,
            chance.choice((CameraState.ONLINE, CameraState.OFFLINE)),
            past + timedelta(microseconds=number),
            "没电",
        )
        for number, one in enumerate(cameras)
        if chance.random() < 0.5
    )
    rows = core.list_rows(SYSTEM, CameraFilter(), limit=1_000)
    foreign = {
        camera_id: (chance.random() < 0.5, chance.choice(("", f"{unit_id}那边"))) for camera_id, unit_id in rows.foreign
    }

    def told(one: Camera) -> Camera:
        stale, unit_name = foreign.get(one.id, (False, ""))
        return replace(one, stale=stale, unit_name=unit_name)

    listed = core.list_cameras(SYSTEM, CameraFilter(), limit=1_000).cameras
    expected = pb.ListCamerasResponse(cameras=[convert.to_camera(told(one), NAMES) for one in listed])
    found = pb.ListCamerasResponse.FromString(rows.message(UNITS, REGIONS, foreign))
    assert len(found.cameras) == 400
    for one, wanted in zip(found.cameras, expected.cameras, strict=True):
        assert one == wanted
    assert found == expected
    assert {one.state for one in listed} > {CameraState.ONLINE, CameraState.QUARANTINED}


async def test_every_page_is_the_one_that_the_catalogue_gives(tmp_path: Path) -> None:
    call = Call(METHODS["vidhub.v1.CameraService/ListCameras"], SYSTEM, "", {}, "")
    async with (
        sharing(tmp_path / "d", "district", "360602") as lower,
        sharing(tmp_path / "c", "city", "360600") as upper,
    ):
        await lower.register(1, 2, 3)
        await upper.register(11, 12)
        await lower.know(upper, HubSide.UPPER)
        await lower.share(upper)
        catalogue = upper.domain.catalogue
        servicer = CameraServicer(catalogue, upper.domain.telemetry, NAMES, snapshots=upper.domain.snapshots)

        async def compare() -> list[tuple[str, bool, str]]:
            token, seen = "", []
            while True:
                page = await catalogue.list(SYSTEM, CameraFilter(region_prefix="36"), page_size=2, page_token=token)
                request = pb.ListCamerasRequest(page_size=2, page_token=token)
                request.filter.region_prefix = "36"
                answer = await servicer.list_cameras(request, call)
                assert answer == pb.ListCamerasResponse(
                    cameras=[convert.to_camera(one, NAMES) for one in page.cameras],
                    next_page_token=page.next_page_token,
                    total_size=page.total_size,
                    revision=convert.to_revision(page.revision),
                )
                seen += [(one.id, one.stale, one.unit_name) for one in answer.cameras]
                if not (token := page.next_page_token):
                    return seen

        async with joined(lower, upper):
            await in_step(lower, upper)
            linked = await compare()
        foreign = {camera(number).id for number in (1, 2, 3)}
        assert linked == [
            (camera(number).id, False, "单位u1" if number < 10 else "第一中学") for number in (1, 2, 3, 11, 12)
        ]
        assert {camera_id for camera_id, stale, _ in await compare() if stale} == foreign
