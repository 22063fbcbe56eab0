"""Encoded frames in Python: what the camera sent, not copied, newest first in need, and nobody waits for the reader."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import time
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import av
import numpy as np
import pytest
from support.cameras import gst_camera, make_clip, nal_units, silence, slice_hashes, tcp_camera
from support.live import LiveCore, live_core
from support.rtsp import RtpPacket, RtspClient

from vidhub.core import Core, FrameUnit
from vidhub.errors import FailedPrecondition, NotFound, PermissionDenied, Unavailable

FPS = 25
GOP = 25


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.h264", seconds=4, fps=FPS, key_interval=GOP)


def dropped(core: Core) -> int:
    return dict(core.snapshot()["dropped"])["slow_viewer"]  # type: ignore[call-overload]


async def until(reached: Callable[[], bool], within_s: float = 20) -> None:
    """What is waited for happens on threads of the core, which tell nobody: looks again, not too often."""
    async with asyncio.timeout(within_s):
        while not reached():
            await asyncio.to_thread(time.sleep, 0.02)


async def test_every_unit_is_what_the_camera_sent_and_is_lent_not_copied(tmp_path: Path, clip: Path):
    async with gst_camera(clip=clip, fps=FPS) as camera, live_core(tmp_path, camera.url) as live:
        units: list[FrameUnit] = []
        async with aclosing(live.core.frames(live.open())) as frames, asyncio.timeout(30):
            async for unit in frames:
                units.append(unit)
                if len(units) == 3 * GOP:
                    break
        await until(lambda: live.core.counts()["sinks"] == 0)
    first = units[0]
    assert (first.kind, first.codec, first.clock_rate_hz, first.keyframe) == ("video", "h264", 90_000, True)
    assert (first.width, first.height, first.generation) == (320, 180, 0)
    source = slice_hashes(nal_units(clip.read_bytes()))
    got = slice_hashes(nal_units(b"".join(map(bytes, units))))
    start = source.index(got[0])
    assert got == [source[(start + number) % len(source)] for number in range(3 * GOP)]
    assert [unit.keyframe for unit in units] == [number % GOP == 0 for number in range(3 * GOP)]
    assert all(later.dts > earlier.dts for earlier, later in itertools.pairwise(units))
    assert bytes(first).startswith(first.parameters[:4])
    # The same octets whoever looks, and nobody writes.
    views = [np.frombuffer(first, np.uint8) for _ in range(2)]
    assert views[0].ctypes.data == views[1].ctypes.data
    assert views[0].size == len(first) == len(memoryview(first))
    assert memoryview(first).readonly
    with pytest.raises(TypeError, match="not writable"):
        (ctypes.c_char * len(first)).from_buffer(first)
    # They outlive their object, the reader and the core.
    del units[0], first
    decoder = av.CodecContext.create("h264", "r")
    assert views[0].tobytes().startswith(b"\0\0\0\1")
    assert [frame.width for frame in decoder.decode(av.Packet(views[0].tobytes()))] in ([], [320])


async def test_keyframes_alone_and_of_those_the_newest(tmp_path: Path, clip: Path):
    async with (
        gst_camera(clip=clip, fps=FPS) as camera,
        live_core(tmp_path, camera.url) as live,
        aclosing(live.core.frames(live.open(), keyframes_only=True)) as frames,
    ):
        async with asyncio.timeout(20):
            first = await anext(frames)
        # Nobody reads for a while: what comes meanwhile is replaced.
        await until(lambda: dropped(live.core) >= 2)
        late = await anext(frames)
        assert first.keyframe
        assert late.keyframe
        assert late.dropped_before >= 2
        assert late.pts - first.pts >= 3 * GOP * 3600
        # And one that reads along misses none.
        async with asyncio.timeout(20):
            while (following := await anext(frames)).dropped_before:
                late = following
        assert abs(following.pts - late.pts - GOP * 3600) < GOP * 360


async def test_a_reader_ends_with_its_session_and_a_second_takes_its_place(tmp_path: Path, clip: Path):
    async with gst_camera(clip=clip, fps=FPS) as camera, live_core(tmp_path, camera.url) as live:
        core, session = live.core, live.open()
        first, second = core.frames(session), core.frames(session)
        async with asyncio.timeout(30):
            await anext(first)
            await anext(second)
            with pytest.raises(FailedPrecondition) as replaced:
                [unit async for unit in first]
            assert replaced.value.reason == "CONNECTION_REPLACED"
            # A still stands beside it.
            assert (await core.keyframe(session, patience_s=10)).keyframe
            await anext(second)
            core.end_session(session, "GRANT_REVOKED")
            with pytest.raises(FailedPrecondition) as ended:
                [unit async for unit in second]
            assert ended.value.reason == "GRANT_REVOKED"
        with pytest.raises(NotFound) as unknown:
            await anext(core.frames(session))
        assert unknown.value.reason == "SESSION_UNKNOWN"
        with pytest.raises(PermissionDenied) as other:
            await anext(core.frames(live.open("p1", purpose="publish")))
        assert other.value.reason == "TICKET_OTHER_OPERATION"
        await until(lambda: core.counts()["sinks"] == 0)


async def test_a_camera_that_can_not_be_had_is_said_with_its_reason(tmp_path: Path):
    quick = {"allow": ["127.0.0.0/8"], "connect_timeout_s": 0.5, "stall_timeout_s": 0.5}
    async with tcp_camera(silence) as url, live_core(tmp_path, url, source=quick) as live:
        for reading in (anext(live.core.frames(live.open("s1"))), live.core.keyframe(live.open("s2"), patience_s=10)):
            with pytest.raises(Unavailable) as silent:
                await reading
            assert silent.value.reason == "CAMERA_SILENT"


async def test_who_waits_for_a_camera_learns_that_the_session_has_ended_or_the_hub_stops(tmp_path: Path):
    patient = {"allow": ["127.0.0.0/8"], "connect_timeout_s": 30, "stall_timeout_s": 30}
    async with tcp_camera(silence) as url, live_core(tmp_path, url, source=patient) as live:
        first, second = (asyncio.ensure_future(anext(live.core.frames(live.open(name)))) for name in ("s1", "s2"))
        await until(lambda: live.core.counts()["streams"] == 1)
        live.core.end_session("s1", "USER_SUSPENDED")
        with pytest.raises(FailedPrecondition) as ended:
            await first
        assert ended.value.reason == "USER_SUSPENDED"
        await live.core.stop()
        with pytest.raises(Unavailable) as stopped:
            await second
        assert stopped.value.reason == "HUB_DRAINING"


async def test_a_reader_that_stalls_costs_its_queue_and_nobody_a_picture(tmp_path: Path, record_property):
    bound, bitrate_k = 1 << 20, 6_000
    clip = await asyncio.to_thread(
        make_clip, tmp_path / "noise.h264", size="640x360", fps=FPS, key_interval=GOP, bitrate_k=bitrate_k
    )
    async with (
        gst_camera(clip=clip, fps=FPS) as camera,
        live_core(tmp_path, camera.url, stream={"gop_cache_bytes": bound}) as live,
        aclosing(live.core.frames(live.open("s1"))) as frames,
        await RtspClient.connect(live.rtsp_url(live.open("s2"))) as viewer,
    ):
        await viewer.watch()
        async with asyncio.timeout(30):
            await anext(frames)
        await viewer.until(lambda: viewer.pictures > GOP)
        counted = Counted(viewer)
        before = resident()
        await until(lambda: dropped(live.core) > 6 * GOP, within_s=60)
        grown = resident() - before
        async with asyncio.timeout(10):
            late = await anext(frames)
            following = [await anext(frames) for _ in range(GOP)]
        assert counted.packets > 6 * GOP
        assert counted.missing == 0
    assert late.keyframe
    assert late.dropped_before > 3 * GOP
    assert sum(unit.dropped_before == 0 for unit in following) >= GOP - 2, "and then it reads along"
    record_property("grown_kib", grown // 1024)
    # The queue and the cache, and what a process takes in steps.
    assert grown < 2 * bound + (8 << 20)


class Counted:
    """What a viewer gets from now on; keeps nothing."""

    def __init__(self, viewer: RtspClient) -> None:
        self.packets = self.missing = 0
        self._last = -1
        viewer.on_packet = self._take

    def _take(self, packet: RtpPacket) -> None:
        if self._last >= 0:
            self.missing += (packet.sequence - self._last - 1) % 65_536
        self._last = packet.sequence
        self.packets += 1


def resident() -> int:
    """Of this process, in octets."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_readers_come_and_go_without_a_trace(tmp_path: Path, clip: Path):
    async with gst_camera(clip=clip, fps=FPS) as camera, live_core(tmp_path, camera.url) as live:
        session = live.open()

        async def one(live: LiveCore) -> None:
            async with aclosing(live.core.frames(session, keyframes_only=True)) as frames, asyncio.timeout(20):
                await anext(frames)

        await one(live)
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(200):
            await one(live)
        await until(lambda: live.core.counts()["sinks"] == 0)
        await until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= descriptors)
        assert live.core.snapshot()["sinks"] is not None
        assert dict(live.core.snapshot()["sinks"])["frames"] == 0  # type: ignore[call-overload]
