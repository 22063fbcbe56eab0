"""Pictures over links: what a hop adds to their delay, what a line carries for them, how soon they end everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from support.hub import PASSWORD, HubProcess, Person, camera_message, enrol, person
from support.links import CITY, PROVINCE, ThreeLevels, three_levels
from support.network import Network, network, settle
from support.rtsp import RtpPacket, RtspClient
from support.site import opened, scrape
from support.whep import whep_viewer

from benches import footage, programs
from benches.figures import Figures, Mark
from benches.measure import percentile
from benches.media import Plan, cameras, on_core
from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

VIEWERS = 20
# Ends of one camera in a round.
ENDS = 10
HOPS = "Pictures over links, district to city to province, this machine's loopback"
LINES = "Pictures over links, what a line carries for each octet of RTP payload, IP headers included"
# Bits a second, and the size of the picture, below what the other benches show.
SMALL = ((300_000, (640, 360)), (1_000_000, (1280, 720)), (2_000_000, (1280, 720)))
# From here on the headers are few enough for 6 %; see docs/reference/links.md.
HELD_BPS = 2_000_000
_CAMERA = camera_message(0).id
_SETTINGS = {"VIDHUB_STREAM__LINGER_S": "1", "VIDHUB_PROBE__INTERVAL_S": "86400"}


async def measure(plan: Plan, figures: Figures, cache: Path, step: Callable[[str], None]) -> None:
    """Raises programs.Failed when a program does not play along."""
    for number in range(1, plan.rounds + 1):
        step(f"three levels, round {number} of {plan.rounds}")
        async with cameras(plan, plan.clip) as camera, _levels(plan) as hubs:
            await _settle(hubs, camera)
            await _delays(plan, figures, hubs)
            await _ends(figures, hubs)
    if os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nft")):
        print("bench: no rows of what a line carries: they want root, `ip` and `nft`", file=sys.stderr)
        return
    clips = {plan.clip: footage.BITS_PER_S}
    for bits_per_s, size in SMALL if plan.rounds > 1 else ():
        clips[await asyncio.to_thread(footage.small, cache, bits_per_s, size)] = bits_per_s
    for clip, bits_per_s in clips.items():
        step(f"what a line carries, {bits_per_s / 1e6:.3g} Mbit/s")
        try:
            await _lines(plan, figures, clip, bits_per_s, crowd=VIEWERS if clip == plan.clip else 0)
        except AssertionError as cause:  # what the tests' own tools say
            raise programs.Failed(f"what a line carries was not seen: {cause}") from cause


@contextlib.asynccontextmanager
async def _levels(plan: Plan) -> AsyncIterator[ThreeLevels]:
    with tempfile.TemporaryDirectory(prefix="vidhub-bench-") as folder, on_core(plan.hub_core):
        async with three_levels(Path(folder), **_SETTINGS) as hubs:
            yield hubs


async def _settle(hubs: ThreeLevels, camera: str) -> None:
    """A camera of the district's, shared up to the province; at every level somebody who may watch."""
    unit = await enrol(hubs.district)
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        message = camera_message(0, f"rtsp://{camera}/0")
        await stub.BatchRegisterCameras(camera_service_pb2.BatchRegisterCamerasRequest(cameras=[message]))
    await _share(hubs.district, CITY[0])
    await _share(hubs.city, PROVINCE[0])
    for running in (hubs.district, hubs.city, hubs.province):
        await running.ask("user_add", name="li", roles=["operator"], password=PASSWORD)
        end = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        await running.ask("grant_create", username="li", actions=["view_live"], purposes=["patrol"],
                          not_after=end, region_prefixes=["36"])  # fmt: skip
        await _knows(running)


async def _share(lower: HubProcess, upper: str) -> None:
    await lower.ask("hub_share", hub=upper, everything=True)


async def _knows(running: HubProcess, cameras: int = 1) -> None:
    async with asyncio.timeout(programs.PATIENCE_S):
        while (await running.ask("status"))["cameras"] != cameras:  # noqa: ASYNC110 - what came is told by no event
            await asyncio.sleep(0.02)


# Delay.


async def _delays(plan: Plan, figures: Figures, hubs: ThreeLevels) -> None:
    """One viewer at a time, at each level."""
    found = []
    for name, running in (("district", hubs.district), ("city", hubs.city), ("province", hubs.province)):
        async with person(running, "li") as caller:
            spread = await _delay(plan, caller)
        found.append(spread["p50"])
        figures.add(HOPS, f"relay delay of a viewer at the {name}, p50", "ms", spread["p50"])
        figures.add(HOPS, f"relay delay of a viewer at the {name}, p99", "ms", spread["p99"])
    for name, (before, after) in zip(("city's", "province's"), pairwise(found), strict=True):
        figures.add(HOPS, f"what the {name} hop adds, p50", "ms", max(0.0, after - before), mark=Mark(5))


async def _delay(plan: Plan, caller: Person) -> dict[str, Any]:
    session = await opened(caller, _CAMERA)
    target = {"url": session["rtspUrl"].partition("?")[0], "ticket": session["ticket"]}
    configuration = {
        "targets": [target], "readers": 1, "rate": 1, "warmup_s": 2, "seconds": plan.window_s, "core": plan.load_core,
    }  # fmt: skip
    answer = await programs.result(plan.load, "readers", configuration=configuration)
    if answer["playing"] != 1:
        raise programs.Failed(f"nothing plays over links: {answer['error'] or 'no reason given'}")
    await caller.call("SessionService/CloseSession", sessionId=session["session"]["id"])
    return dict(answer["relay_ms"])


# Ends.


async def _ends(figures: Figures, hubs: ThreeLevels) -> None:
    """The district takes the camera back while it is watched at the city and the province, by RTSP and WebRTC."""
    took = []
    async with person(hubs.city, "li") as between, person(hubs.province, "li") as above:
        for _ in range(ENDS):
            async with contextlib.AsyncExitStack() as stack:
                ends = []
                for caller in (between, above):
                    session = await opened(caller, _CAMERA)
                    reader = await stack.enter_async_context(await RtspClient.connect(session["rtspUrl"]))
                    await reader.watch()
                    await reader.until(lambda reader=reader: reader.pictures > 5)  # type: ignore[misc]
                    session = await opened(caller, _CAMERA)
                    viewer = await stack.enter_async_context(whep_viewer(session["whepUrl"], session["ticket"]))
                    await viewer.until(lambda viewer=viewer: viewer.pictures > 5)  # type: ignore[misc]
                    ends += [_end(reader), viewer.end(programs.PATIENCE_S)]
                begun = time.monotonic()
                await hubs.district.ask("hub_unshare", hub=CITY[0], everything=True)
                took.append(max(await asyncio.gather(*ends)) - begun)
            for running in (hubs.city, hubs.province):
                await _knows(running, 0)
            await _share(hubs.district, CITY[0])
            for running in (hubs.city, hubs.province):
                await _knows(running)
    name = "from the district's withdrawal to the last picture above"
    figures.add(HOPS, f"{name}, p50", "s", percentile(took, 0.5))
    note = f"{ENDS} withdrawals, each of 4 viewers at two levels, by RTSP and WebRTC"
    figures.add(HOPS, f"{name}, the longest", "s", max(took), mark=Mark(2), note=note)


async def _end(reader: RtspClient) -> float:
    _, at = await reader.end(programs.PATIENCE_S)
    return at


# Octets.


@dataclass(frozen=True, slots=True)
class _Line:
    """One look at both lines, district to city and city to province: octets carried, and of RTP payload in them."""

    carried: tuple[float, float]
    payload: tuple[float, float]


async def _lines(plan: Plan, figures: Figures, clip: Path, bits_per_s: int, *, crowd: int) -> None:
    """crowd: how many watch in a second look; 0 for no second look."""
    rate = f"{bits_per_s / 1e6:.3g} Mbit/s"
    with tempfile.TemporaryDirectory(prefix="vidhub-bench-") as folder:
        async with network(Path(folder), **_SETTINGS) as three, contextlib.AsyncExitStack() as stack:
            # Which namespace a program is in is told to `ip`.
            inside = three.net.district.prefix()
            shown = {"clip": str(clip), "core": plan.load_core}
            words = (*inside[1:], str(plan.load), "camera")
            stream = await stack.enter_async_context(programs.running(Path(inside[0]), *words, configuration=shown))
            await settle(three, f"rtsp://{(await programs.said(stream))['ready']}/0", Path(folder))
            above = await stack.enter_async_context(person(three.hubs.province, "li"))
            between = await stack.enter_async_context(person(three.hubs.city, "zhou"))
            camera = (await above.call("CameraService/ListCameras"))["cameras"][0]["id"]
            url = urlsplit((await opened(above, camera))["rtspUrl"])
            reached = url._replace(netloc=three.hubs.province.ready["rtsp"]).geturl()
            first = _Counting(await stack.enter_async_context(await RtspClient.connect(reached)))
            await first.client.watch()
            alone = await _window(three, first)
            for name, ratio in zip(("district to city", "city to province"), _ratios(alone), strict=True):
                mark = Mark(1.06) if bits_per_s >= HELD_BPS else None
                figures.add(LINES, f"{rate}, {name}", "", ratio, mark=mark)
            if not crowd:
                return
            watching = [
                asyncio.create_task(_crowd(plan, caller, camera, where.prefix(), count))
                for caller, where, count in (
                    (between, three.net.city, crowd // 2),
                    (above, three.net.province, crowd - crowd // 2 - 1),
                )
            ]
            await asyncio.wait(watching, timeout=6)
            together = await _window(three, first)
            for playing in await asyncio.gather(*watching):
                if not playing:
                    raise programs.Failed("not all of them play")
            for name, one, many in zip(("district to city", "city to province"), alone.carried, together.carried,
                                       strict=True):  # fmt: skip
                growth = 100 * (many / one - 1)
                figures.add(LINES, f"{rate}, growth from 1 to {crowd} viewers, {name}", "%", growth, mark=Mark(1))


async def _crowd(plan: Plan, caller: Person, camera: str, prefix: Sequence[str], count: int) -> bool:
    """Whether all of them play, for as long as a look takes."""
    sessions = [await opened(caller, camera) for _ in range(count)]
    targets = [{"url": one["rtspUrl"].partition("?")[0], "ticket": one["ticket"]} for one in sessions]
    configuration = {
        "targets": targets, "readers": count, "rate": 20, "warmup_s": 2, "seconds": 40, "core": plan.load_core,
    }  # fmt: skip
    words = (*prefix[1:], str(plan.load), "readers")
    answer = await programs.result(Path(prefix[0]), *words, configuration=configuration)
    return bool(answer["playing"] == count)


class _Counting:
    """A reader that keeps no packets."""

    def __init__(self, client: RtspClient) -> None:
        self.client = client
        self.pictures = 0
        client.on_packet = self._note

    def _note(self, packet: RtpPacket) -> None:
        self.pictures += packet.marker


async def _window(three: Network, first: _Counting) -> _Line:
    """What the lines carry while the clip goes round once."""
    patience_s = 2 * footage.PICTURES / footage.RATE
    # What is in the caches goes over the lines at once.
    settled = first.pictures + 2 * footage.RATE
    await first.client.until(lambda: first.pictures >= settled, patience_s)
    begun, before = first.pictures, await _look(three)
    await first.client.until(lambda: first.pictures >= begun + footage.PICTURES, patience_s)
    after = await _look(three)
    pictures = first.pictures - begun
    return _Line(
        *(
            ((late[0] - early[0]) / pictures, (late[1] - early[1]) / pictures)
            for late, early in zip((after.carried, after.payload), (before.carried, before.payload), strict=True)
        )
    )


async def _look(three: Network) -> _Line:
    def carried() -> tuple[int, int]:
        return three.net.down.carried[1], three.net.up.carried[1]

    early = carried()
    scraped = await asyncio.gather(scrape(three.hubs.district), scrape(three.hubs.city))
    late = carried()
    payload = [
        samples[f"vidhub_link_media_bytes_total{{direction=out,peer={peer}}}"]
        for (_, samples), peer in zip(scraped, (CITY[0], PROVINCE[0]), strict=True)
    ]
    # The payload was told in between.
    return _Line(((early[0] + late[0]) / 2, (early[1] + late[1]) / 2), (payload[0], payload[1]))


def _ratios(line: _Line) -> tuple[float, ...]:
    return tuple(carried / payload for carried, payload in zip(line.carried, line.payload, strict=True))
