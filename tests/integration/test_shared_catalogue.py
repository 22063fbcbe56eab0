"""The shared catalogue between whole hubs: districts, their city, the province; and what cuts them short."""

import asyncio
import contextlib
import json
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.hub import PASSWORD, HubProcess, enrol, person
from support.links import (
    CITY,
    DISTRICT,
    OTHER_DISTRICT,
    PROVINCE,
    camera,
    in_step,
    link,
    placed,
    register,
    three_levels,
    two_hubs,
    until,
)
from support.ports import standing
from support.site import cli

PATIENCE_S = 30.0


async def count_is(running: HubProcess, is_so: Callable[[int], bool]) -> None:
    """Looks until the hub knows of so many cameras."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so((await running.ask("status"))["cameras"]):
            pass


async def why(running: HubProcess, camera_id: str) -> list[str]:
    return [one["reason"] for one in (await running.ask("hub_explain", camera_id=camera_id))["reasons"]]


async def test_three_levels_share_and_take_back(tmp_path: Path):
    async with three_levels(tmp_path) as levels:
        district, city, province = levels.district, levels.city, levels.province
        unit = await enrol(district)
        ids = await register(unit, *(camera(number) for number in range(1, 301)))
        empty = await in_step(district, city, 0)
        assert await why(district, ids[0]) == ["NOT_SHARED"]
        seen = await district.ask("hub_preview", hub="yingtan", region_prefixes=["3606"])
        assert (seen["cameras"], seen["added"], len(seen["sample"])) == (300, 300, 100)
        assert [word for word in ("url", "legal", "address") if word in str(seen)] == []

        shared = await cli("hub", "share", "yingtan", "--region", "3606", "--data-dir", district.data)
        assert shared.answer["actions"] == ["list", "view_live"]
        assert await in_step(district, city, 300) != empty
        await city.ask("hub_share", hub="jiangxi", everything=True)
        await in_step(city, province, 300)
        above = await province.ask("camera_show", id=ids[0])
        assert (above["homeHubId"], above["name"], "url" in str(above)) == ("yuehu", "东门1", False)
        assert (await why(district, ids[0]))[0] == "SHARED"
        assert (await cli("hub", "explain", ids[0], "--data-dir", city.data)).answer["visible"]

        unshared = await cli("hub", "unshare", "yingtan", "--region", "3606", "--data-dir", district.data)
        assert unshared.status == 0
        await in_step(district, city, 0)
        await in_step(city, province, 0)
        assert (await province.ask("camera_list"))["cameras"] == []
        for running in (district, city, province):
            assert (await running.ask("audit_verify"))["intact"]


async def test_a_district_sees_another_s_cameras_by_way_of_the_city(tmp_path: Path):
    async with (
        placed(tmp_path, CITY) as city,
        placed(tmp_path, DISTRICT) as one,
        placed(tmp_path, OTHER_DISTRICT) as other,
    ):
        await link(city, one, DISTRICT)
        await link(city, other, OTHER_DISTRICT)
        (camera_id,) = await register(await enrol(one), camera(1))
        await one.ask("hub_share", hub="yingtan", everything=True)
        await city.ask("hub_share", hub="guixi", everything=True)
        await city.ask("hub_share", hub="yuehu", everything=True)
        await in_step(one, city, 1)
        await count_is(other, lambda found: found == 1)
        assert (await other.ask("camera_show", id=camera_id))["homeHubId"] == "yuehu"
        digest = await city.ask("hub_digest", hub="yuehu")
        assert digest["down"]["cameras"] == 0, "nothing goes back to where it came from"
        down = (await city.ask("hub_digest", hub="guixi"))["down"]
        assert (await other.ask("hub_digest", hub="yingtan"))["down"] == down == {**down, "cameras": 1}


async def test_two_hubs_that_claim_one_id(tmp_path: Path):
    async with placed(tmp_path, PROVINCE) as province, placed(tmp_path, CITY) as city:
        await link(province, city, CITY)
        (camera_id,) = await register(await enrol(province), camera(1))
        await register(await enrol(city), camera(1, name="市里的"), camera(2))
        await city.ask("hub_share", hub="jiangxi", everything=True)
        await in_step(city, province, 1)
        assert (await province.ask("camera_show", id=camera_id))["name"] == "东门1", "who was there keeps it"
        for running, peer in ((city, "jiangxi"), (province, "yingtan")):
            assert "CONFLICT" in await why(running, camera_id)
            assert (await until(running, peer, conflicts=1))["conflicts"] == 1
        entries = (await province.ask("audit_list", action="catalogue.refused"))["entries"]
        assert [(one["principal"], one["result"]) for one in entries] == [("hub/yingtan", "CAMERA_ID_TAKEN")]


async def test_a_supervisor_says_whose_an_id_is(tmp_path: Path):
    async with (
        placed(tmp_path, CITY) as city,
        placed(tmp_path, DISTRICT) as rightful,
        placed(tmp_path, OTHER_DISTRICT) as squatter,
    ):
        await link(city, rightful, DISTRICT)
        await link(city, squatter, OTHER_DISTRICT)
        unit = await enrol(squatter, region="360681")
        (camera_id,) = await register(unit, camera(1, region_code="360681", name="占用"))
        await squatter.ask("hub_share", hub="yingtan", everything=True)
        await in_step(squatter, city, 1)
        await register(await enrol(rightful), camera(1))
        await rightful.ask("hub_share", hub="yingtan", everything=True)
        await until(city, "yuehu", conflicts=1)
        told = (await city.ask("hub_explain", camera_id=camera_id))["reasons"][0]
        assert (told["reason"], "in the region of yuehu, not of guixi" in told["message"]) == ("CONFLICT", True)
        assert (await city.ask("camera_show", id=camera_id))["name"] == "占用"

        await city.ask("user_add", name="jian", roles=["supervisor"], password=PASSWORD)
        asked = {"cameraId": camera_id, "hub": "yuehu", "reason": "编码在先"}
        async with person(city, "jian") as supervisor:
            # What the console makes its sentences of, and whom it lists.
            told = (await supervisor.call("HubService/ExplainCamera", cameraId=camera_id))["findings"][0]
            del told["message"]
            about = {"offeringHubId": "yuehu", "holdingHubId": "guixi", "likelyHubId": "yuehu"}
            assert told == {"reason": "CONFLICT", "cause": "CAMERA_ID_TAKEN", **about}
            assert await supervisor.call("HubService/AssignCamera", **asked) == {}
        await in_step(rightful, city, 1)
        await in_step(squatter, city, 0)
        assert (await city.ask("camera_show", id=camera_id))["name"] == "东门1"
        assert "CONFLICT" in await why(squatter, camera_id)
        assert (await city.ask("audit_list", action="catalogue.assign"))["entries"][0]["principal"] == "user/jian"
        # And back, by the command line.
        words = ("hub", "assign", camera_id, "guixi", "--reason", "x", "--data-dir", city.data)
        assert (await cli(*words)).answer == {"camera": camera_id, "hub": "guixi"}
        await in_step(squatter, city, 1)


@dataclass
class Kept:
    """A hub at fixed ports, which may be killed and started again."""

    folder: Path
    place: tuple[str, str, str]
    ports: tuple[str, ...]

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[HubProcess]:
        async with placed(self.folder, self.place, *self.ports) as running:
            yield running
            await running.end()  # the log is folded into the file

    def put_back(self, copy: Path) -> None:
        shutil.copy(copy, self.database)

    @property
    def database(self) -> Path:
        return self.folder / self.place[0] / "vidhub.db"


def kept(folder: Path, place: tuple[str, str, str]) -> Kept:
    return Kept(folder, place, standing("grpc", "rtsps"))


async def test_the_receiver_is_killed_in_the_middle_of_a_comparison(tmp_path: Path):
    above, below = kept(tmp_path, CITY), kept(tmp_path, DISTRICT)
    count = 3_000
    async with below.run() as district:
        async with above.run() as city:
            await link(city, district, DISTRICT)
            unit = await enrol(district)
            await register(unit, *(camera(number) for number in range(1, count + 1)))
            await district.ask("hub_share", hub="yingtan", everything=True)
            await count_is(city, lambda found: 200 < found < count)
            await city.end(signal.SIGKILL)
        with sqlite3.connect(above.database) as database:
            (partial,) = database.execute("SELECT count(*) FROM remote_cameras").fetchone()
            assert database.execute("SELECT epoch FROM hubs").fetchone() == ("",), "not at a revision yet"
        assert 200 < partial < count
        async with above.run() as city:
            await in_step(district, city, count)
            assert (await city.ask("status"))["cameras"] == count
            entries = (await city.ask("audit_list", action="catalogue.receive", limit=1000))["entries"]
            assert sum(json.loads(one["detailJson"])["count"] for one in entries) == count, "none lost, none twice"
            assert (await city.ask("audit_verify"))["intact"]


async def test_either_side_is_put_back_from_a_copy(tmp_path: Path):
    above, below = kept(tmp_path, CITY), kept(tmp_path, DISTRICT)
    copies = tmp_path / "copies"
    copies.mkdir()

    async def with_both(change: Any = None, cameras: int = 0) -> None:
        async with above.run() as city, below.run() as district:
            await until(city, "yuehu", state="up")
            if change is not None:
                await change(city, district)
            await in_step(district, city, cameras)

    async def begin(city: HubProcess, district: HubProcess) -> None:
        await register(await enrol(district), *(camera(number) for number in range(1, 401)))
        await district.ask("hub_share", hub="yingtan", everything=True)

    async def go_on(city: HubProcess, district: HubProcess) -> None:
        ids = [one["id"] for one in (await district.ask("camera_list"))["cameras"]]
        for camera_id in ids[:50]:
            await district.ask("camera_retire", id=camera_id, reason="moved")

    async with above.run() as city, below.run() as district:
        await link(city, district, DISTRICT)
        await begin(city, district)
        await in_step(district, city, 400)
    for place in (above, below):
        shutil.copy(place.database, copies / place.place[0])
    await with_both(go_on, 350)
    # The lower one forgets an hour: its cameras are back, above too.
    below.put_back(copies / "yuehu")
    await with_both(cameras=400)
    # The upper one forgets what came since; the lower one has gone on.
    await with_both(go_on, 350)
    above.put_back(copies / "yingtan")
    await with_both(cameras=350)


async def test_a_link_that_is_ended_takes_its_cameras_with_it(tmp_path: Path):
    async with two_hubs(tmp_path) as hubs:
        await register(await enrol(hubs.lower), *(camera(number) for number in range(1, 451)))
        await hubs.lower.ask("hub_share", hub="yingtan", everything=True)
        await in_step(hubs.lower, hubs.upper, 450)
        await hubs.upper.ask("hub_end", hub="yuehu", reason="reorganised")
        assert (await hubs.upper.ask("camera_list"))["cameras"] == []
        assert (await hubs.lower.ask("status"))["cameras"] == 450
