"""fMP4 over WebSocket through a whole hub: ffmpeg reads what viewers are given; refusals and ends have their status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.cameras import gst_camera
from support.hub import person
from support.mse import Closed, mse_viewer
from support.site import Site, camera_id, opened, site

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")


@module
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("mse")
    async with site(folder / "data", VIDHUB_STREAM__LINGER_S="1") as ready:
        await ready.operator("zhang")
        yield ready


async def told(*words: str) -> tuple[str, str]:
    """stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode(), err.decode()


async def probe(path: Path) -> dict[str, Any]:
    out, said = await told("ffprobe", "-v", "warning", "-of", "json", "-show_streams", "-show_packets", str(path))
    assert said == ""
    return dict(json.loads(out))


async def decoded(path: Path) -> tuple[int, int]:
    """How many pictures and frames of sound there are in it; nothing is amiss."""
    out, said = await told(
        "ffmpeg", "-v", "warning", "-i", str(path), "-fps_mode", "passthrough", "-f", "framemd5", "-"
    )
    assert said == ""
    tracks = [line[0] for line in out.splitlines() if not line.startswith("#")]
    return tracks.count("0"), tracks.count("1")


@pytest.mark.parametrize(
    ("number", "camera", "mime", "codec", "depth"),
    [
        (1, {"codec": "h264", "audio": "aac", "b_frames": 2, "key_interval": 50}, "avc1.", "h264", 2),
        (2, {"codec": "h265", "audio": "opus", "key_interval": 50}, "hvc1.", "hevc", 0),
    ],
)
async def test_ffmpeg_reads_what_a_viewer_is_given(
    place: Site, tmp_path: Path, number: int, camera: dict[str, Any], mime: str, codec: str, depth: int
):
    path = tmp_path / "viewer.mp4"
    async with gst_camera(**camera) as source, person(place.running, "zhang") as who:
        await place.register(number, source.url)
        await place.until_state(camera_id(number), "ONLINE")
        session = await opened(who, camera_id(number))
        assert session["mseUrl"] == f"ws://{place.running.ready['http']}/mse/{camera_id(number)}"
        async with mse_viewer(session["mseUrl"], session["ticket"]) as first:
            # Somebody watches already: who comes later joins in the middle, where decoding and showing are in step.
            await first.watch(200)
            session = await opened(who, camera_id(number))
            async with mse_viewer(session["mseUrl"], session["ticket"]) as viewer:
                await viewer.watch(300)
    assert viewer.answer["mime"].startswith(f'video/mp4; codecs="{mime}')
    assert (viewer.answer["profile"], viewer.answer["reason"], viewer.answer["audio"]) == ("main", "", camera["audio"])
    path.write_bytes(viewer.file)
    found = await probe(path)
    video, audio = found["streams"]
    assert (video["codec_name"], video["width"], video["height"]) == (codec, 640, 360)
    assert video["has_b_frames"] == depth
    assert (audio["codec_name"], audio["sample_rate"]) == (camera["audio"], "48000")
    packets = [packet for packet in found["packets"] if packet["stream_index"] == 0]
    assert "K" in packets[0]["flags"]
    # ffprobe gives each picture the usual duration; a source ahead of its clock is steered by a sixteenth at most.
    ends = [int(packet["dts"]) + int(packet["duration"]) for packet in packets]
    gaps = [int(packet["dts"]) - end for packet, end in zip(packets[1:], ends, strict=False)]
    assert all(16 * abs(gap) <= int(packets[0]["duration"]) for gap in gaps), f"gaps: {gaps}"
    shown = sorted(int(packet["pts"]) for packet in packets)
    assert len(set(shown)) == len(shown), "no two pictures at one time"
    pictures, sounds = await decoded(path)
    assert pictures == len(packets)
    assert sounds >= len(found["packets"]) - len(packets) - 1, "a decoder of sound may begin with the second frame"


async def test_refusals_and_ends_are_told_and_on_record(place: Site):
    async with gst_camera() as source, person(place.running, "zhang") as who:
        await place.register(3, source.url)
        await place.register(4, source.url)
        await place.until_state(camera_id(3), "ONLINE")
        session = await opened(who, camera_id(3))
        url = session["mseUrl"]

        async def refused(address: str, ticket: str, *mimes: str) -> Closed:
            async with mse_viewer(address, ticket, mimes or ('video/mp4; codecs="avc1.640034"',)) as viewer:
                return await viewer.end()

        assert await refused(url, "") == Closed(4401, "TICKET_MISSING")
        assert await refused(url, session["ticket"][:-4] + "AAAA") == Closed(4401, "TICKET_INVALID")
        assert await refused(url.replace(camera_id(3), camera_id(4)), session["ticket"]) == Closed(
            4403, "TICKET_OTHER_CAMERA"
        )
        unknown = url.replace(camera_id(3), camera_id(99))
        assert await refused(unknown, session["ticket"]) == Closed(4404, "CAMERA_NOT_FOUND")
        assert await refused(url, session["ticket"], 'video/mp4; codecs="av01.0.05M.08"') == Closed(
            4406, "CODEC_NOT_OFFERED"
        )
        for reason in ("TICKET_MISSING", "TICKET_INVALID", "TICKET_OTHER_CAMERA", "CAMERA_NOT_FOUND"):
            await place.on_record(action="media.refused", result=reason)

        async with mse_viewer(url, session["ticket"]) as older:
            await older.watch(10)
            async with mse_viewer(url, session["ticket"]) as newer:
                await newer.watch(10)
                assert await older.end() == Closed(4409, "CONNECTION_REPLACED")
                await who.call("SessionService/CloseSession", sessionId=session["session"]["id"])
                assert await newer.end() == Closed(4410, "SESSION_CLOSED")


async def test_a_hub_that_stops_says_so(tmp_path: Path):
    async with site(tmp_path / "data") as ready, gst_camera() as source:
        await ready.operator("li")
        await ready.register(1, source.url)
        await ready.until_state(camera_id(1), "ONLINE")
        async with person(ready.running, "li") as who:
            session = await opened(who, camera_id(1))
        async with mse_viewer(session["mseUrl"], session["ticket"]) as viewer:
            await viewer.watch(10)
            ending = asyncio.create_task(ready.running.end())
            assert await viewer.end() == Closed(4503, "HUB_DRAINING")
            assert await ending == 0
