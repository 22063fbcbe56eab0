"""Cameras that push: encoders that are not ours bring pictures by RTSP, over TCP and UDP, to whoever may watch."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
import pytest_asyncio
from support.hub import enrol
from support.push import ffmpeg, make_movie, open_to_push, register_pushed, rtspclientsink, with_login
from support.rtsp import RtspClient, gaps
from support.site import Site, opened, person, site
from support.whep import whep_viewer

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")


@module
async def movies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("movies")
    return {
        codec: await asyncio.to_thread(make_movie, folder / f"{codec}.mp4", codec=codec)
        for codec in ("libx264", "libx265")
    }


@module
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    data = tmp_path_factory.mktemp("push") / "data"
    async with site(data, "--rtsps", "127.0.0.1:0", VIDHUB_STREAM__LINGER_S="1") as ready:
        await ready.operator("zhang")
        yield ready


async def figures(place: Site) -> dict[str, float]:
    """The hub's metrics, by name and labels."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{place.running.ready['metrics']}/metrics")).text
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def watched(place: Site, camera_id: str) -> RtspClient:
    """A viewer that plays the picture by RTSP over TCP."""
    async with person(place.running, "zhang") as zhang:
        session = await opened(zhang, camera_id)
    return await (await RtspClient.connect(session["rtspUrl"])).watch()


@pytest.mark.parametrize(
    ("number", "transport", "codec"), [(1, "tcp", "libx264"), (2, "udp", "libx264"), (3, "tcp", "libx265")]
)
async def test_ffmpeg_pushes_and_viewers_see_it(
    place: Site, movies: dict[str, Path], number: int, transport: str, codec: str
):
    camera_id = await register_pushed(place, number)
    push = await open_to_push(place.unit, camera_id)
    assert (push.whep_url, push.whip_url) == ("", f"{place.running.url}/whip/{camera_id}")
    before = await figures(place)
    async with ffmpeg(push.rtsp_url, movies[codec], transport=transport):
        await place.until_state(camera_id, "ONLINE")
        async with await watched(place, camera_id) as viewer:
            await viewer.until(lambda: viewer.pictures >= 30)
            assert gaps([packet for packet in viewer.packets if packet.channel == 0]) == 0
        during = await figures(place)
    assert during['vidhub_streams{source="rtsp_push"}'] - before['vidhub_streams{source="rtsp_push"}'] == 1
    flow = f'vidhub_media_packets_total{{direction="in",protocol="rtsp_{transport}"}}'
    assert during[flow] > before.get(flow, 0)
    camera = await place.until_state(camera_id, "OFFLINE")
    assert camera["stateReason"] == "its unit has stopped pushing it"


async def test_ffmpeg_pushes_over_tls(place: Site, movies: dict[str, Path]):
    camera_id = await register_pushed(place, 10)
    push = await open_to_push(place.unit, camera_id)
    before = await figures(place)
    secure = f"rtsps://{place.running.ready['rtsps']}/{push.rtsp_url.rpartition('/')[2]}"
    async with ffmpeg(secure, movies["libx264"]):
        await place.until_state(camera_id, "ONLINE")
        async with await watched(place, camera_id) as viewer:
            await viewer.until(lambda: viewer.pictures >= 30)
        during = await figures(place)
    flow = 'vidhub_media_packets_total{direction="in",protocol="rtsps"}'
    assert during[flow] > before.get(flow, 0)


@pytest.mark.parametrize(("number", "protocols"), [(4, "tcp"), (5, "udp")])
async def test_gstreamer_pushes_with_the_sessions_login(place: Site, number: int, protocols: str):
    camera_id = await register_pushed(place, number)
    push = await open_to_push(place.unit, camera_id)
    async with rtspclientsink(push, protocols):
        await place.until_state(camera_id, "ONLINE")
        async with person(place.running, "zhang") as zhang:
            session = await opened(zhang, camera_id)
        async with whep_viewer(session["whepUrl"], session["ticket"]) as viewer:
            await viewer.until(lambda: viewer.pictures >= 15)
        assert viewer.size == (320, 180)


async def test_viewers_wait_for_a_publisher_that_was_killed_and_go_on_when_it_returns(
    place: Site, movies: dict[str, Path]
):
    camera_id = await register_pushed(place, 6)
    push = await open_to_push(place.unit, camera_id)
    # The login outlives the ticket's time to first use: an encoder needs no new address to come back.
    async with ffmpeg(with_login(push), movies["libx264"]) as encoder:
        await place.until_state(camera_id, "ONLINE")
        viewer = await watched(place, camera_id)
        await viewer.until(lambda: viewer.pictures >= 10)
        encoder.send_signal(signal.SIGKILL)
        await encoder.wait()
        await place.until_state(camera_id, "OFFLINE")
    async with viewer:
        seen = viewer.pictures
        async with ffmpeg(with_login(push), movies["libx264"]):
            await viewer.until(lambda: viewer.pictures >= seen + 10)
        video = [packet for packet in viewer.packets if packet.channel == 0]
        assert gaps(video) == 0
        stamps = [packet.timestamp for packet in video]
        assert stamps == sorted(stamps), "the stream's time goes on"
        assert not viewer.closed.done()


async def test_the_newer_of_two_publishers_wins(place: Site, movies: dict[str, Path]):
    camera_id = await register_pushed(place, 7)
    first, second = [await open_to_push(place.unit, camera_id) for _ in range(2)]
    async with ffmpeg(first.rtsp_url, movies["libx264"]) as older:
        await place.until_state(camera_id, "ONLINE")
        async with await watched(place, camera_id) as viewer, ffmpeg(second.rtsp_url, movies["libx264"]) as newer:
            async with asyncio.timeout(20):
                await older.wait()
            seen = viewer.pictures
            await viewer.until(lambda: viewer.pictures >= seen + 30)
            assert newer.returncode is None


async def test_a_session_that_ends_ends_the_push(place: Site, movies: dict[str, Path]):
    unit = await enrol(place.running, "第二中学")
    camera_id = await register_pushed(Site(place.running, unit), 8)
    push = await open_to_push(unit, camera_id)
    async with ffmpeg(push.rtsp_url, movies["libx264"]) as encoder:
        await place.until_state(camera_id, "ONLINE")
        await place.running.ask("unit_revoke", unit_id=unit.id, reason="钥匙丢失")
        async with asyncio.timeout(20):
            await encoder.wait()
    closed = await place.on_record(action="session.close", sessionId=push.session.id)
    assert "CERTIFICATE_REVOKED" in closed["detailJson"]
    assert closed["principal"] == f"unit/{unit.id}"


async def test_tickets_are_good_for_their_operation_only(place: Site):
    camera_id = await register_pushed(place, 9)
    push = await open_to_push(place.unit, camera_id)
    async with person(place.running, "zhang") as zhang:
        watch = await opened(zhang, camera_id)
        refused = await zhang.call("SessionService/OpenSession", cameraId=camera_id, purpose={"kind": "publish"})
    assert refused["reason"] == "PURPOSE_UNKNOWN"
    async with await RtspClient.connect(push.rtsp_url) as client:
        answer = await client.describe()
        assert (answer.status, answer.reason) == (403, "TICKET_OTHER_OPERATION")
    async with await RtspClient.connect(watch["rtspUrl"]) as client:
        answer = await client.ask("ANNOUNCE", Content_Type="application/sdp")
        assert (answer.status, answer.reason) == (403, "TICKET_OTHER_OPERATION")
    other = await enrol(place.running, "农商银行")
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await open_to_push(other, camera_id)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
