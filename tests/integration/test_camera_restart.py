"""Cameras that fail: viewers stay through a short outage; what can't be had is said, with the reason, in time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.cameras import garbage, gst_camera, make_clip, silence, tcp_camera, without_keyframes
from support.hub import Person, person
from support.rtsp import RtspClient
from support.site import Site, opened, site
from support.whep import Refused, offer_sdp, post_offer, whep_viewer

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")

CONNECT_S = STALL_S = 1.5
# More than that, for a busy machine; a hub that never says it is given up on later.
SOON_S = 12.0


@module
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    quick = {"VIDHUB_SOURCE__CONNECT_TIMEOUT_S": str(CONNECT_S), "VIDHUB_SOURCE__STALL_TIMEOUT_S": str(STALL_S)}
    async with site(tmp_path_factory.mktemp("restart") / "data", VIDHUB_STREAM__LINGER_S="1", **quick) as ready:
        await ready.operator("zhang")
        yield ready


@module
async def caller(place: Site) -> AsyncIterator[Person]:
    async with person(place.running, "zhang") as ready:
        yield ready


async def test_viewers_outlast_a_camera_that_is_killed_and_started_again(place: Site, caller: Person, record_property):
    """Killed: on the same connections, RTSP, ffmpeg and WebRTC go on by themselves."""
    flags = {"width": 320, "height": 180, "fps": 10, "key_interval": 10, "user": "admin", "password": "pw"}
    async with gst_camera(**flags) as first:
        identifier = await place.register(1, first.url, username="admin", password="pw")
        await place.until_state(identifier, "ONLINE")
        sessions = [await opened(caller, identifier) for _ in range(2)]
        ffmpeg = await asyncio.create_subprocess_exec(
            *("ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", sessions[1]["rtspUrl"]),
            *("-f", "framemd5", "-flush_packets", "1", "-"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        frames = Lines(ffmpeg)
        async with (
            await RtspClient.connect(sessions[0]["rtspUrl"]) as rtsp,
            whep_viewer(sessions[0]["whepUrl"], sessions[0]["ticket"]) as whep,
        ):
            await rtsp.watch()
            await rtsp.until(lambda: rtsp.pictures > 10)
            await whep.until(lambda: whep.pictures > 10)
            await frames.until(10)
            await first.kill()
            gone = time.monotonic()
            camera = await place.until_state(identifier, "OFFLINE")
            assert camera["stateReason"]
            record_property("offline_after_s", round(time.monotonic() - gone, 2))
            seen = (rtsp.pictures, whep.pictures, frames.count)
            async with gst_camera(**flags, port=first.port) as second:
                back = time.monotonic()
                await rtsp.until(lambda: rtsp.pictures > seen[0] + 10, within_s=30)
                record_property("pictures_again_after_s", round(rtsp.packets[-1].at - back, 2))
                await whep.until(lambda: whep.pictures > seen[1] + 10, within_s=30)
                await frames.until(seen[2] + 10)
                assert (await place.until_state(identifier, "ONLINE")).get("stateReason", "") == ""
                assert second.most_open == 1
                # Sequence numbers go on without a hole and time does not run backwards for whoever stayed.
                numbers = [packet.sequence for packet in rtsp.packets]
                assert all((b - a) % 65_536 == 1 for a, b in itertools.pairwise(numbers))
                times = [packet.timestamp for packet in rtsp.packets]
                assert all((b - a) % 2**32 < 2**31 for a, b in itertools.pairwise(times))
        ffmpeg.kill()
        await ffmpeg.wait()
        await frames.ended


class Lines:
    """Counts what a process prints, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.count = 0
        self._process = process
        self._arrived = asyncio.Event()
        self.ended = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.count += not line.startswith(b"#")
            self._arrived.set()

    async def until(self, wanted: int) -> None:
        async with asyncio.timeout(30):
            while self.count < wanted:
                assert self._process.returncode is None
                self._arrived.clear()
                await self._arrived.wait()


async def both_refuse(place: Site, caller: Person, identifier: str, reason: str) -> None:
    """503 with the reason and a time to try again, by WHEP and RTSP."""
    session = await opened(caller, identifier)
    began = time.monotonic()
    with pytest.raises(Refused) as refused:
        async with whep_viewer(session["whepUrl"], session["ticket"]):
            pass
    assert time.monotonic() - began < SOON_S
    assert (refused.value.status, refused.value.reason) == (503, reason)
    assert int(refused.value.retry_after) > 0
    began = time.monotonic()
    async with await RtspClient.connect(session["rtspUrl"]) as rtsp:
        reply = await rtsp.describe()
    assert time.monotonic() - began < SOON_S
    assert (reply.status, reply.reason) == (503, reason)
    assert int(reply.header("Retry-After")) > 0


async def test_a_wrong_password_is_said_as_such(place: Site, caller: Person):
    async with gst_camera(user="admin", password="right") as camera:
        identifier = await place.register(2, camera.url, username="admin", password="wrong-one")
        found = await place.until_state(identifier, "REFUSED")
        assert found["stateReason"]
        assert "wrong-one" not in str(found)
        await both_refuse(place, caller, identifier, "CAMERA_REFUSED_LOGIN")
        assert camera.most_open <= 2


async def test_a_camera_without_that_path_is_said_as_such(place: Site, caller: Person):
    async with gst_camera() as camera:
        identifier = await place.register(3, camera.url + "-not-there")
        found = await place.until_state(identifier, "INVALID")
        assert "path" in found["stateReason"]
        session = await opened(caller, identifier)
        answer = await post_offer(session["whepUrl"], await offer_sdp(), session["ticket"])
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]


async def test_a_silent_camera_is_said_as_such_in_time(place: Site, caller: Person):
    async with tcp_camera(silence) as url:
        identifier = await place.register(4, url)
        await both_refuse(place, caller, identifier, "CAMERA_SILENT")
        assert (await place.until_state(identifier, "OFFLINE"))["stateReason"]


async def test_a_camera_that_speaks_garbage_is_said_as_such_in_time(place: Site, caller: Person):
    async with tcp_camera(garbage) as url:
        identifier = await place.register(5, url)
        found = await place.until_state(identifier, "INVALID")
        assert found["stateReason"]
        session = await opened(caller, identifier)
        began = time.monotonic()
        answer = await post_offer(session["whepUrl"], await offer_sdp(), session["ticket"])
        assert time.monotonic() - began < SOON_S
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert answer.json()["reason"].startswith("CAMERA_")


async def test_a_camera_that_is_not_there_is_said_as_such(place: Site, caller: Person):
    async with tcp_camera(silence) as url:
        pass
    identifier = await place.register(6, url)
    await both_refuse(place, caller, identifier, "CAMERA_UNREACHABLE")
    assert (await place.until_state(identifier, "OFFLINE"))["stateReason"]


async def test_a_camera_without_keyframes_is_said_as_such(place: Site, caller: Person, tmp_path: Path):
    clip = await asyncio.to_thread(make_clip, tmp_path / "clip.h264", seconds=2, fps=10, size="64x64")
    async with tcp_camera(without_keyframes(clip)) as url:
        identifier = await place.register(7, url)
        await both_refuse(place, caller, identifier, "CAMERA_NO_KEYFRAME")


async def test_b_frames_are_refused_by_webrtc_and_played_by_rtsp(place: Site, caller: Person):
    async with gst_camera(width=320, height=180, fps=10, key_interval=10, b_frames=2) as camera:
        identifier = await place.register(8, camera.url)
        session = await opened(caller, identifier)
        with pytest.raises(Refused) as refused:
            async with whep_viewer(session["whepUrl"], session["ticket"]):
                pass
        assert (refused.value.status, refused.value.reason) == (406, "B_FRAMES")
        async with await RtspClient.connect(session["rtspUrl"]) as rtsp:
            await rtsp.watch()
            await rtsp.until(lambda: rtsp.pictures > 5)


async def test_an_address_that_is_not_allowed_is_not_dialled(place: Site, caller: Person):
    """Link-local is denied unless it is allowed."""
    identifier = await place.register(9, "rtsp://169.254.169.254/latest")
    found = await place.until_state(identifier, "INVALID")
    assert found["stateReason"]
    session = await opened(caller, identifier)
    answer = await post_offer(session["whepUrl"], await offer_sdp(), session["ticket"])
    assert answer.status_code == 503


async def test_the_waiting_places_of_one_session_are_few(place: Site, caller: Person):
    async with tcp_camera(silence) as url:
        identifier = await place.register(10, url)
        session, offer = await opened(caller, identifier), await offer_sdp()
        answers = await asyncio.gather(*(post_offer(session["whepUrl"], offer, session["ticket"]) for _ in range(12)))
    reasons = sorted({(answer.status_code, answer.json()["reason"]) for answer in answers})
    assert reasons == [(429, "LIMIT_CONNECTIONS"), (503, "CAMERA_SILENT")]
    assert all(answer.headers["Retry-After"] for answer in answers)
