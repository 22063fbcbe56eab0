"""A district's alarm reaches the city's people, of what is shared; and a link that is lost is one itself."""

from __future__ import annotations

from pathlib import Path

from support.events import event, is_over, lasts
from support.hub import PASSWORD, enrol, person
from support.links import camera, in_step, register, two_hubs

DARK = 6


async def test_a_storm_in_a_district_is_one_event_of_the_city_until_it_is_over(tmp_path: Path):
    async with two_hubs(tmp_path) as hubs:
        city, district = hubs.upper, hubs.lower
        for running in (city, district):
            await running.ask("user_add", name="sup", roles=["supervisor"], password=PASSWORD)
        cameras = [camera(number) for number in range(1, DARK + 1)]
        for one in cameras:
            one.streams[0].url = "rtsp://127.0.0.1:9/1"
        await district.ask("hub_share", hub="yingtan", everything=True)
        ids = await register(await enrol(district), *cameras)
        await in_step(district, city, DARK)
        async with person(city, "sup") as above, person(district, "sup") as below:
            here = await event(below, "camera.offline", lambda one: one["count"] == str(DARK))
            assert here["severity"] == "EVENT_SEVERITY_SEVERE"
            there = await event(above, "camera.offline", lambda one: one["count"] == str(DARK))
            assert (there["hubId"], there["subject"], there["cameraIds"]) == (
                "yuehu",
                here["subject"],
                here["cameraIds"],
            )
            assert sorted(there["cameraIds"]) == ids
            assert lasts(there)
            for one in ids:
                await district.ask("camera_retire", id=one, reason="拆除")
            await event(below, "camera.offline", lambda one: one["id"] == here["id"] and is_over(one))
            await event(above, "camera.offline", lambda one: one["id"] == there["id"] and is_over(one))
            assert await district.end() == 0
            down = await event(above, "link.down", lasts)
            assert (down["subject"], down["severity"]) == ("hub/yuehu", "EVENT_SEVERITY_SEVERE")
