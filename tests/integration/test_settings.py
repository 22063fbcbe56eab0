"""Settings in the environment of `vidhub serve` are seen to act from outside. Those of the queue of a sink are in
`test_stalled_reader`, those of a camera's time-outs in `test_camera_restart`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from support.hub import HubProcess, person
from support.rtsp import RtspClient
from support.scripted_camera import FPS, Clips, Script, scripted_camera
from support.site import PATIENCE_S, opened, scrape, site

OVER_BUDGET = "vidhub_media_dropped_total{reason=over_budget}"
PULLED = "vidhub_streams{source=rtsp_pull}"
# Much less than the default of 15 s, much more than a second.
SOON_S = 10.0


async def until_figure(
    running: HubProcess, name: str, holds: Callable[[float], bool], within_s: float = PATIENCE_S
) -> None:
    async with asyncio.timeout(within_s):
        while not holds((await scrape(running))[1].get(name, 0.0)):
            pass


async def test_cache_linger_and_probes_are_as_they_are_set(tmp_path: Path):
    settings = {
        # Less than the pictures between two keyframes are.
        "VIDHUB_STREAM__GOP_CACHE_BYTES": "65536",
        "VIDHUB_STREAM__LINGER_S": "1",
        # By default a camera is looked at every five minutes.
        "VIDHUB_PROBE__INTERVAL_S": "1",
    }
    async with (
        scripted_camera(Script(clip="long_gop"), Clips(tmp_path)) as camera,
        site(tmp_path / "data", **settings) as place,
    ):
        await place.operator("zhang")
        identifier = await place.register(1, camera.url)
        await place.until_state(identifier, "ONLINE")
        async with asyncio.timeout(PATIENCE_S):
            while camera.connections < 3:
                await place.camera(identifier)
        async with person(place.running, "zhang") as caller:
            session = await opened(caller, identifier)
            async with await RtspClient.connect(session["rtspUrl"]) as viewer:
                await viewer.watch()
                await until_figure(place.running, OVER_BUDGET, lambda dropped: dropped > 0)
                assert (await scrape(place.running))[1][PULLED] == 1
        await until_figure(place.running, PULLED, lambda streams: streams == 0, SOON_S)


async def test_by_default_the_same_camera_fits_into_the_cache(tmp_path: Path):
    async with (
        scripted_camera(Script(clip="long_gop"), Clips(tmp_path)) as camera,
        site(tmp_path / "data") as place,
    ):
        await place.operator("zhang")
        identifier = await place.register(1, camera.url)
        async with person(place.running, "zhang") as caller:
            session = await opened(caller, identifier)
            async with await RtspClient.connect(session["rtspUrl"]) as viewer:
                await viewer.watch()
                await viewer.until(lambda: viewer.pictures > 10 * FPS)
                assert (await scrape(place.running))[1][OVER_BUDGET] == 0
