"""Three levels on machines of their own, the district behind a border that lets nothing in."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import async_playwright
from support.cameras import gst_camera, make_clip
from support.console import FLAGS, Console
from support.hub import HubProcess, person
from support.links import CITY, DISTRICT, PROVINCE, listed, until
from support.namespaces import Namespace, Wire
from support.network import CAMERA, network, settle
from support.rtsp import RtspClient
from support.site import PATIENCE_S, opened, scrape
from support.whep import whep_viewer

# A tile that shows no picture any more.
GONE = "[data-testid=tile]:not([data-phase=live])"
# Of one look at the lines: sixteen groups of the clip.
PICTURES = 400


def slow(wire: Wire) -> None:
    wire.delay_s = 0.3


def lossy(wire: Wire) -> None:
    wire.loss = 0.05


def narrow(wire: Wire) -> None:
    wire.rate_bps = 256_000


async def until_heard(running: HubProcess, peer: str, before: dict[str, Any]) -> dict[str, Any]:
    """The peer as it is once something more has been heard of it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            seen = await listed(running, peer)
            assert seen is not None
            if seen["heard_time"] != before["heard_time"]:
                return seen
            await asyncio.sleep(0.1)


async def test_a_link_lives_through_a_bad_line_and_comes_back_after_a_cut(tmp_path: Path) -> None:
    async with network(tmp_path) as three:
        for worsen in (slow, lossy, narrow):
            worsen(three.net.down)
            before = await until(three.hubs.city, DISTRICT[0], state="up")
            # Round trips of its own tell that heartbeats go both ways.
            after = before
            for _ in range(2):
                after = await until_heard(three.hubs.city, DISTRICT[0], after)
            assert (after["state"], after["connect_time"]) == ("up", before["connect_time"])
            three.net.down.restore()
        three.net.down.is_cut = True
        await until(three.hubs.city, DISTRICT[0], state="down")
        await until(three.hubs.district, CITY[0], state="down")
        # The neighbour does not notice.
        await until(three.hubs.province, CITY[0], state="up")
        three.net.down.restore()
        await until(three.hubs.city, DISTRICT[0], within_s=40, state="up")
        await until(three.hubs.district, CITY[0], state="up")


@contextlib.asynccontextmanager
async def ffmpeg(url: str, at: Namespace) -> AsyncIterator[asyncio.subprocess.Process]:
    """A player on that machine, once it has pictures."""
    process = await asyncio.create_subprocess_exec(
        *(*at.prefix(), "ffmpeg", "-v", "error", "-progress", "pipe:1", "-stats_period", "0.2"),
        *("-rtsp_transport", "tcp", "-i", url, "-an", "-c", "copy", "-f", "null", "-"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for line in process.stdout:
                if line.startswith(b"frame=") and int(line.partition(b"=")[2]) > 10:
                    break
            else:
                raise AssertionError("ffmpeg ended without a picture")
        draining = asyncio.create_task(process.stdout.read())
        yield process
        if process.returncode is None:
            process.kill()
        await draining
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def browser(url: str, at: Namespace, folder: Path) -> AsyncIterator[Console]:
    """Chromium on that machine, at the console there."""
    program = folder / f"chromium-{at.name}"
    program.write_text(f'#!/bin/sh\nexec {" ".join(at.prefix())} {shutil.which("chromium")} "$@"\n')
    program.chmod(0o755)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield Console(await chromium.new_page(base_url=url))
        finally:
            await chromium.close()


@contextlib.asynccontextmanager
async def by_webrtc(session: dict[str, Any], at: Namespace) -> AsyncIterator[asyncio.Event]:
    """aiortc on that machine, with pictures. The event: the hub has ended them."""
    loop = asyncio.get_running_loop()
    playing, over, stop = asyncio.Event(), asyncio.Event(), threading.Event()

    async def watch() -> None:
        async with whep_viewer(session["whepUrl"], session["ticket"]) as viewer:
            await viewer.until(lambda: viewer.pictures > 10)
            loop.call_soon_threadsafe(playing.set)
            stopping = asyncio.get_running_loop().run_in_executor(None, stop.wait)
            await asyncio.wait({stopping, viewer.ended}, return_when=asyncio.FIRST_COMPLETED)
            if viewer.ended.done():
                loop.call_soon_threadsafe(over.set)

    watching = asyncio.create_task(at.do(watch))
    try:
        done, _ = await asyncio.wait({watching, asyncio.create_task(playing.wait())}, return_when="FIRST_COMPLETED")
        if watching in done:
            await watching
        yield over
    finally:
        stop.set()
        await watching


async def test_twenty_viewers_on_two_levels_are_one_copy_on_each_line(tmp_path: Path) -> None:
    clip = await asyncio.to_thread(make_clip, tmp_path / "clip.h264", bitrate_k=3_000)
    async with network(tmp_path, VIDHUB_STREAM__LINGER_S="1") as three, contextlib.AsyncExitStack() as stack:
        net, hubs = three.net, three.hubs
        camera = await stack.enter_async_context(gst_camera(at=net.district.prefix(), clip=str(clip)))
        await settle(three, camera.url, tmp_path)
        above = await stack.enter_async_context(person(hubs.province, "li"))
        between = await stack.enter_async_context(person(hubs.city, "zhou"))
        identifier = (await above.call("CameraService/ListCameras"))["cameras"][0]["id"]

        url = urlsplit((await opened(above, identifier))["rtspUrl"])
        reached = url._replace(netloc=hubs.province.ready["rtsp"]).geturl()
        first = await stack.enter_async_context(await RtspClient.connect(reached))
        await first.watch()

        async def measure() -> tuple[list[float], list[float]]:
            """Of each line: octets for each picture, and for each octet of RTP payload."""

            async def look() -> tuple[float, list[float]]:
                # Payload is told a moment after the rest was read: the middle of two looks is at its time.
                seen = [(first.pictures, net.down.carried[1], net.up.carried[1])]
                paid = await payload()
                seen.append((first.pictures, net.down.carried[1], net.up.carried[1]))
                pictures, *carried = (sum(two) / 2 for two in zip(*seen, strict=True))
                return pictures, [*carried, *paid]

            begun, before = await look()
            await first.until(lambda: first.pictures >= begun + PICTURES)
            ended, after = await look()
            grown = [late - early for late, early in zip(after, before, strict=True)]
            return [one / (ended - begun) for one in grown[:2]], [grown[0] / grown[2], grown[1] / grown[3]]

        async def payload() -> list[float]:
            scraped = await asyncio.gather(scrape(hubs.district), scrape(hubs.city))
            peers = (CITY[0], PROVINCE[0])
            return [
                samples[f"vidhub_link_media_bytes_total{{direction=out,peer={peer}}}"]
                for (_, samples), peer in zip(scraped, peers, strict=True)
            ]

        for_one, shares_of_one = await measure()
        assert max(shares_of_one) <= 1.06, shares_of_one

        players = []
        for caller, where, count in ((between, net.city, 7), (above, net.province, 8)):
            for _ in range(count):
                url = (await opened(caller, identifier))["rtspUrl"]
                players.append(await stack.enter_async_context(ffmpeg(url, where)))
        overs = [
            await stack.enter_async_context(by_webrtc(await opened(caller, identifier), where))
            for caller, where in ((between, net.city), (above, net.province))
        ]
        consoles = [
            await stack.enter_async_context(browser(address, where, tmp_path))
            for address, where in zip(three.consoles, (net.province, net.city), strict=True)
        ]
        for console, name in zip(consoles, ("li", "zhou"), strict=True):
            await console.log_in(name)
            await console.watch(CAMERA)
        assert 1 + len(players) + len(overs) + len(consoles) == 20

        for_twenty, shares_of_twenty = await measure()
        assert max(shares_of_twenty) <= 1.06, shares_of_twenty
        for one, twenty in zip(for_one, for_twenty, strict=True):
            assert twenty <= 1.01 * one, (for_one, for_twenty)
        assert camera.most_open == 1

        await hubs.district.ask("hub_unshare", hub=CITY[0], everything=True)
        async with asyncio.timeout(PATIENCE_S):
            ends = [over.wait() for over in overs] + [player.wait() for player in players]
            await asyncio.gather(*ends, *(console.page.locator(GONE).wait_for() for console in consoles))
        await first.end()
