"""The Python SDK at a hub whose camera is another's: what the hub below was away for is waited for."""

import asyncio
import signal
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.cameras import gst_camera
from support.hub import PASSWORD, HubProcess, camera_message, enrol
from support.links import CITY, DISTRICT, link, placed
from support.site import Site

from vidhub.client import Hub, Viewer

CAMERA = camera_message(1).id
# Ten seconds of lease, the hub's start, and the link's.
PATIENCE_S = 60.0


async def ended(running: HubProcess, reason: str) -> None:
    """Once the one view there has ended for this reason."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := (await running.ask("audit_list", action="session.close"))["entries"]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert f'"{reason}"' in found[0]["detailJson"]


async def pictures(viewer: Viewer, count: int) -> None:
    async with asyncio.timeout(PATIENCE_S), aclosing(viewer.frames()) as frames:
        async for _ in frames:
            count -= 1
            if not count:
                return


@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGTERM, "HUB_DRAINING"), (signal.SIGKILL, "LINK_LEASE_EXPIRED")]
)
async def test_a_view_is_opened_again_when_the_hub_below_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, reason: str
) -> None:
    monkeypatch.setattr("vidhub.client.viewer.STALL_S", 4.0)
    async with AsyncExitStack() as stack:
        camera = await stack.enter_async_context(gst_camera(key_interval=25))
        city = await stack.enter_async_context(placed(tmp_path, CITY))
        district = await stack.enter_async_context(placed(tmp_path, DISTRICT))
        await link(city, district, DISTRICT)
        assert await Site(district, await enrol(district)).register(1, camera.url) == CAMERA
        await district.ask("hub_share", hub=CITY[0], everything=True)
        async with asyncio.timeout(PATIENCE_S):
            while (await city.ask("status"))["cameras"] != 1:  # noqa: ASYNC110 - what came is told by no event
                await asyncio.sleep(0.05)
        await city.ask("user_add", name="li", roles=["operator"], password=PASSWORD)
        end = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        grant = {"username": "li", "region_prefixes": ["36"], "actions": ["view_live"], "purposes": ["patrol"]}
        await city.ask("grant_create", **grant, not_after=end)
        caller = await stack.enter_async_context(Hub(city.url, "li", PASSWORD))
        viewer = await stack.enter_async_context(Viewer(caller, CAMERA, "patrol"))
        await pictures(viewer, 5)
        first = viewer.session.id
        await district.end(number)
        await ended(city, reason)
        await stack.enter_async_context(placed(tmp_path, DISTRICT))
        async with asyncio.timeout(PATIENCE_S):
            while viewer.session.id == first:
                await pictures(viewer, 1)
        await pictures(viewer, 5)
