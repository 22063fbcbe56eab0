"""A hub that comes back from a backup, and the hub that it is linked with."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from support.hub import HubProcess, enrol
from support.links import CITY, DISTRICT, camera, in_step, link, placed, register, until
from support.ports import standing
from support.site import cli


@pytest.mark.parametrize("which", ["lower", "upper"])
async def test_a_restored_hub_links_again_and_both_sides_come_in_step(tmp_path: Path, which: str):
    """What was registered since is gone below; what the city knew of it goes there too, or comes back to a city that
    forgot it."""
    async with contextlib.AsyncExitStack() as stack:
        where = {CITY: standing("grpc", "rtsps"), DISTRICT: standing("grpc", "rtsps")}
        city = await stack.enter_async_context(placed(tmp_path, CITY, *where[CITY]))
        district = await stack.enter_async_context(placed(tmp_path, DISTRICT, *where[DISTRICT]))
        await link(city, district, DISTRICT)
        unit = await enrol(district)
        await district.ask("hub_share", hub="yingtan", everything=True)
        await register(unit, *(camera(number) for number in range(1, 101)))
        await in_step(district, city, 100)
        lost, place = (district, DISTRICT) if which == "lower" else (city, CITY)
        taken = await cli("--data-dir", lost.data, "backup", tmp_path / "hub.backup")
        assert taken.status == 0, taken.err
        await register(unit, *(camera(number) for number in range(101, 151)))
        await in_step(district, city, 150)
        assert await lost.end() == 0

        back = tmp_path / "back" / place[0]
        done = await cli("--data-dir", back, "restore", tmp_path / "hub.backup")
        assert done.status == 0, done.err
        again: HubProcess = await stack.enter_async_context(placed(tmp_path / "back", place, *where[place]))
        below, above = (again, city) if which == "lower" else (district, again)
        await until(below, CITY[0], state="up")
        await until(above, DISTRICT[0], state="up")
        cameras = 100 if which == "lower" else 150
        await in_step(below, above, cameras)
        # And it goes on from there: what is registered now is told as ever.
        if which == "upper":
            await register(unit, *(camera(number) for number in range(151, 161)))
            await in_step(below, above, 160)
        else:
            (first,) = [one["id"] for one in (await below.ask("camera_list"))["cameras"]][:1]
            await below.ask("camera_retire", id=first, reason="gone")
            await in_step(below, above, 99)
        for running in (below, above):
            assert (await running.ask("audit_verify"))["intact"]
