"""A reader that stops reading hurts nobody but itself, and costs no more memory than is said."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.cameras import gst_camera, make_clip
from support.hub import HubProcess
from support.rtsp import RtpPacket, RtspClient, gaps
from support.site import site

GOOD = 10
QUEUE = 1 << 20
GOP_CACHE = 4 << 20
# What a process takes in steps: arenas of the allocator, thread stacks touched for the first time.
GRAIN = 8 << 20
BITRATE_K = 6_000
FPS = 25


@pytest.fixture
async def clip(tmp_path: Path) -> Path:
    return await asyncio.to_thread(
        make_clip, tmp_path / "clip.h264", seconds=4, size="640x360", fps=FPS, key_interval=FPS, bitrate_k=BITRATE_K
    )


class Good:
    """Counts, and keeps nothing."""

    def __init__(self) -> None:
        self.packets = self.missing = self.pictures = 0
        self._last = -1

    def take(self, packet: RtpPacket) -> None:
        if self._last >= 0:
            self.missing += (packet.sequence - self._last - 1) % 65_536
        self._last = packet.sequence
        self.packets += 1
        self.pictures += packet.marker


def memory(pid: int) -> int:
    """Proportional set size, in octets."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel tells no Pss")


async def figures(running: HubProcess) -> dict[str, float]:
    """What the test watches of the metrics."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://{running.ready['metrics']}/metrics")).text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name + "".join(f" {value}" for value in sample.labels.values())] = sample.value
    return found


async def most_memory(running: HubProcess, reached: Callable[[dict[str, float]], bool], within_s: float = 60) -> int:
    """The most the hub took until the figures were as wanted."""
    highest = 0
    async with asyncio.timeout(within_s):
        while True:
            highest = max(highest, memory(running.ready["pid"]))
            if reached(await figures(running)):
                return highest


async def test_ten_good_readers_lose_nothing_beside_two_that_stall(tmp_path: Path, clip: Path, record_property):
    environment = {
        "VIDHUB_BENCH": "1",
        "VIDHUB_STREAM__SINK_QUEUE_BYTES": str(QUEUE),
        "VIDHUB_STREAM__GOP_CACHE_BYTES": str(GOP_CACHE),
    }
    async with (
        gst_camera(clip=clip, fps=FPS) as camera,
        site(tmp_path / "data", **environment) as place,
        contextlib.AsyncExitStack() as stack,
    ):
        identifier = await place.register(1, camera.url)
        await place.until_state(identifier, "ONLINE")
        url = (await place.running.ask("bench_ticket", camera_id=identifier, viewers=GOOD + 2))["rtsp_url"]
        good = [Good() for _ in range(GOOD)]
        for one in good:
            reader = await stack.enter_async_context(await RtspClient.connect(url))
            reader.on_packet = one.take
            await reader.watch()
            await reader.until(lambda one=one: one.pictures >= FPS)  # type: ignore[misc]
        before = memory(place.running.ready["pid"])
        # Small windows, as of a reader far away: the hub has to keep what they do not take.
        slow = await stack.enter_async_context(await RtspClient.connect(url, receive_buffer=16_384))
        dead = await stack.enter_async_context(await RtspClient.connect(url, receive_buffer=16_384))
        for one in (slow, dead):
            await one.watch()
            await one.until(lambda one=one: one.pictures >= 5)  # type: ignore[misc]
            one.stall()
        began = good[0].pictures
        # First they fall behind: what is skipped is counted.
        behind = await most_memory(place.running, lambda now: now["vidhub_media_dropped_total slow_viewer"] > 1_000)
        # One reads on, and goes on at a keyframe.
        slow.resume()
        seen = slow.pictures
        await slow.until(lambda: slow.pictures >= seen + 3 * FPS, within_s=60)
        assert gaps(slow.packets) > 0
        for earlier, later in itertools.pairwise(slow.packets):
            if (later.sequence - earlier.sequence) % 65_536 != 1:
                assert starts_with_parameters(later), "after a gap it goes on at a keyframe"
                assert earlier.marker, "no picture is cut in two"
        # The other is closed.
        closed = await most_memory(place.running, lambda now: now["vidhub_sessions rtsp"] <= GOOD + 1)
        dead.resume()
        await asyncio.wait_for(dead.closed, 20)
        record_property("pictures_meanwhile", good[0].pictures - began)
        record_property("growth_kib", (max(behind, closed) - before) // 1024)
        assert [one.missing for one in good] == [0] * GOOD
        counts = [one.pictures for one in good]
        assert min(counts) >= began - FPS
        assert good[0].pictures - began >= 8 * FPS
        # Each of the two may hold its backlog and one access unit; the cache may fill to its bound.
        unit = BITRATE_K * 1000 // 8
        assert max(behind, closed) - before <= 2 * (QUEUE + unit) + GOP_CACHE + GRAIN


def starts_with_parameters(packet: RtpPacket) -> bool:
    """SPS alone, or in front of an aggregate."""
    kind = packet.payload[0] & 0x1F
    return kind in (7, 9) or (kind == 24 and packet.payload[3] & 0x1F in (7, 9)) or kind == 6
