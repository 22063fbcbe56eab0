"""The shared catalogue over bad lines, between hubs on machines of their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from support.hub import PASSWORD, HubProcess, camera_message, person
from support.links import CITY, DISTRICT, in_step, listed, until
from support.namespaces import Wire
from support.network import network


def slow(wire: Wire) -> None:
    wire.delay_s = 0.3


def lossy(wire: Wire) -> None:
    wire.loss = 0.05


def narrow(wire: Wire) -> None:
    wire.rate_bps = 256_000


async def register(running: HubProcess, numbers: range, name: str) -> None:
    """As a person of the unit, for the hub's gRPC is not to be reached from here."""
    cameras = []
    for number in numbers:
        message = camera_message(number)
        message.name = f"{name}{number}"
        cameras.append(MessageToDict(message))
    async with person(running, "unit") as caller:
        answer = await caller.call("CameraService/BatchRegisterCameras", cameras=cameras)
        assert "rejected" not in answer, answer


async def test_catalogues_are_equal_after_every_bad_line(tmp_path: Path) -> None:
    async with network(tmp_path) as three:
        district, city, province = three.hubs.district, three.hubs.city, three.hubs.province
        token = await district.ask("unit_token", name="第一中学", region_code="360602", industry="11")
        await district.ask("user_add", name="unit", roles=["unit"], password=PASSWORD, unit_id=token["unit_id"])
        await district.ask("hub_share", hub=CITY[0], everything=True)
        await city.ask("hub_share", hub="jiangxi", everything=True)
        await register(district, range(1, 401), "东门")
        await in_step(district, city, 400)
        await in_step(city, province, 400)
        before: dict[str, Any] | None = await listed(city, DISTRICT[0])
        assert before is not None
        for worsen in (slow, lossy, narrow):
            worsen(three.net.down)
            began = time.monotonic()
            await register(district, range(1, 401), worsen.__name__)
            await in_step(district, city, 400, within_s=60)
            seen = await until(city, DISTRICT[0], state="up")
            assert seen["connect_time"] == before["connect_time"], "the same link all the while"
            assert time.monotonic() - began < 60
            three.net.down.restore()
        three.net.down.is_cut = True
        await until(city, DISTRICT[0], within_s=20, state="down")
        camera_id = camera_message(7).id
        assert (await city.ask("camera_show", id=camera_id))["stale"] is True
        await register(district, range(1, 301), "西门")
        await district.ask("camera_retire", id=camera_message(399).id, reason="moved")
        (why,) = (await district.ask("hub_explain", camera_id=camera_id))["reasons"]
        assert (why["reason"], why["visible"], why["stale"]) == ("LINK_DOWN", True, True), "as the city shows it"
        three.net.down.restore()
        await in_step(district, city, 399, within_s=60)
        await in_step(city, province, 399)
        shown = await province.ask("camera_show", id=camera_id)
        assert (shown["name"], shown.get("stale", False)) == ("西门7", False)
