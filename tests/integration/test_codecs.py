"""What cameras send besides H.264 and G.711: carried untouched, or refused with what to set in the camera."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from support.cameras import gst_camera, make_clip, nal_units, slice_hashes
from support.hub import person
from support.rtsp import RtspClient
from support.site import Site, camera_id, opened, site
from support.whep import offer_sdp, post_offer, whep_viewer

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")


@module
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("codecs")
    async with site(folder / "data", VIDHUB_STREAM__LINGER_S="1", VIDHUB_SOURCE__STALL_TIMEOUT_S="2") as ready:
        await ready.operator("zhang")
        yield ready


async def ffmpeg(*words: str) -> tuple[bytes, str]:
    """stdout, and everything from warnings up."""
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-v", "warning", "-rtsp_transport", "tcp", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out, err.decode()


async def test_h265_and_opus_come_out_as_they_went_in(place: Site, tmp_path: Path):
    clip = await asyncio.to_thread(make_clip, tmp_path / "clip.h265", seconds=4, fps=15, codec="h265")
    source = slice_hashes(nal_units(clip.read_bytes()), "h265")
    assert len(set(source)) == len(source) == 60
    async with (
        gst_camera(codec="h265", clip=clip, fps=15, audio="opus") as camera,
        person(place.running, "zhang") as who,
    ):
        await place.register(1, camera.url)
        await place.until_state(camera_id(1), "ONLINE")
        copied, decoded = await asyncio.gather(
            ffmpeg(
                *("-i", (await opened(who, camera_id(1)))["rtspUrl"], "-an", "-c", "copy", "-frames:v", "40"),
                *("-bsf:v", "hevc_mp4toannexb", "-f", "hevc", "-"),
            ),
            ffmpeg(
                *("-i", (await opened(who, camera_id(1)))["rtspUrl"], "-frames:v", "30", "-frames:a", "100"),
                *("-f", "framemd5", "-"),
            ),
        )
        seen = await place.camera(camera_id(1))
        async with await RtspClient.connect((await opened(who, camera_id(1)))["rtspUrl"]) as reader:
            described = (await reader.describe()).body.decode()
    out, said = copied
    assert said == ""
    got = slice_hashes(nal_units(out), "h265")
    assert len(got) == 40
    start = source.index(got[0])
    assert start % 25 == 0, "what is sent starts at a keyframe"
    assert got == [source[(start + number) % len(source)] for number in range(40)]
    out, said = decoded
    assert said == ""
    lines = [line.split(",") for line in out.decode().splitlines() if not line.startswith("#")]
    pictures, sounds = ([line for line in lines if line[0] == track] for track in "01")
    assert len(pictures) == 30
    assert len({line[5] for line in pictures}) == 30, "every picture is another"
    assert len(sounds) >= 50
    assert {int(line[4]) for line in sounds} == {960 * 2 * 2}, "20 ms of two channels each"
    assert "H265/90000" in described
    assert "opus/48000/2" in described
    [stream] = seen["streams"]
    assert (stream["codec"], stream["width"], stream["height"]) == ("h265", 320, 180)


async def test_b_frames_of_h265_keep_their_order(place: Site):
    async with (
        gst_camera(codec="h265", b_frames=2, width=320, height=180, fps=15, key_interval=30) as camera,
        person(place.running, "zhang") as caller,
    ):
        await place.register(2, camera.url)
        async with await RtspClient.connect((await opened(caller, camera_id(2)))["rtspUrl"]) as reader:
            await reader.watch()
            await reader.until(lambda: reader.pictures >= 20)
        session = await opened(caller, camera_id(2))
        out, said = await ffmpeg("-i", session["rtspUrl"], "-an", "-frames:v", "30", "-f", "framemd5", "-")
    times = [packet.timestamp for packet in reader.packets if packet.marker]
    assert times != sorted(times), "pictures come in another order than they are shown"
    assert len(set(times)) == len(times)
    assert said == ""
    lines = [line.split(",") for line in out.decode().splitlines() if not line.startswith("#")]
    assert len({line[5] for line in lines}) == 30, "every picture is another"


@pytest.mark.parametrize(
    ("number", "options", "remedy"),
    [(3, {"codec": "jpeg"}, "H.264 or H.265"), (4, {"codec": "none", "audio": "pcma"}, "switch its video stream on")],
    ids=["mjpeg", "sound-alone"],
)
async def test_a_camera_without_a_picture_for_us_is_invalid_and_says_what_to_set(
    place: Site, number: int, options: dict[str, object], remedy: str
):
    async with gst_camera(**options) as camera, person(place.running, "zhang") as caller:
        await place.register(number, camera.url)
        seen = await place.until_state(camera_id(number), "INVALID")
        assert remedy in seen["stateReason"]
        session = await opened(caller, camera_id(number))
        async with await RtspClient.connect(session["rtspUrl"]) as reader:
            refused = await reader.describe()
    assert (refused.status, refused.reason) == (503, "CAMERA_UNREACHABLE")


async def test_a_camera_whose_main_stream_is_mjpeg_is_watched_by_its_sub_stream(place: Site):
    async with (
        gst_camera(codec="jpeg", width=640, height=360) as main,
        gst_camera(width=320, height=180) as sub,
        person(place.running, "zhang") as caller,
    ):
        await place.register(6, main.url, sub=sub.url)
        session = await opened(caller, camera_id(6))
        told = await post_offer(session["whepUrl"], await offer_sdp(), session["ticket"])
        assert told.status_code == 201, told.text
        assert (told.headers["X-Vidhub-Profile"], told.headers["X-Vidhub-Reason"]) == ("sub", "CAMERA_NO_PICTURE")
        async with await RtspClient.connect(session["rtspUrl"]) as reader:
            await reader.watch()
            await reader.until(lambda: reader.pictures >= 3)
        async with whep_viewer(session["whepUrl"], session["ticket"]) as viewer:
            await viewer.until(lambda: viewer.pictures >= 3)
            assert viewer.size == (320, 180)
        alone = await caller.call(
            "SessionService/OpenSession",
            cameraId=camera_id(6),
            purpose={"kind": "patrol"},
            profile="STREAM_PROFILE_MAIN",
        )
        refused = await post_offer(alone["whepUrl"], await offer_sdp(), alone["ticket"])
        assert (refused.status_code, refused.json()["reason"]) == (503, "CAMERA_UNREACHABLE")
        assert "MJPEG" in refused.json()["detail"]


async def test_a_camera_set_to_h265_meanwhile_is_described_anew(place: Site):
    async with person(place.running, "zhang") as caller:
        async with gst_camera(width=320, height=180) as camera:
            await place.register(5, camera.url)
            reader = await RtspClient.connect((await opened(caller, camera_id(5)))["rtspUrl"])
            await reader.watch()
            await reader.until(lambda: reader.pictures >= 3)
        async with gst_camera(codec="h265", width=320, height=180, port=camera.port):
            # A reader that was promised H.264 can't go on.
            await reader.end()
            session = await opened(caller, camera_id(5))
            out, said = await ffmpeg("-i", session["rtspUrl"], "-an", "-frames:v", "10", "-f", "framemd5", "-")
            assert said == ""
            assert sum(not line.startswith(b"#") for line in out.splitlines()) == 10
            async with await RtspClient.connect((await opened(caller, camera_id(5)))["rtspUrl"]) as again:
                assert "H265/90000" in (await again.describe()).body.decode()
