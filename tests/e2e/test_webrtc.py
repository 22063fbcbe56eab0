"""Chromium at the WebRTC port, without the console between: which stream, by which protocol, and what is told."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page
from support.cameras import gst_camera, make_clip
from support.hub import camera_message, person
from support.site import PATROL, Site
from support.site import site as hub_site

from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="session")

BOTH, MAIN_ALONE, WITH_AAC = 1, 2, 3
PICTURES = 25
# Answers when so many pictures are decoded. only: the candidates of one protocol, as if no other came through.
_WATCH = """async ({ url, ticket, only, pictures }) => {
  const peer = new RTCPeerConnection();
  peer.addTransceiver('audio', { direction: 'recvonly' });
  peer.addTransceiver('video', { direction: 'recvonly' });
  await peer.setLocalDescription(await peer.createOffer());
  const headers = { Authorization: `Bearer ${ticket}`, 'Content-Type': 'application/sdp' };
  const answer = await fetch(url, { method: 'POST', headers, body: peer.localDescription.sdp });
  const told = Object.fromEntries([...answer.headers].filter(([name]) => name.startsWith('x-vidhub-')));
  if (answer.status !== 201) return { status: answer.status, problem: await answer.json() };
  const keeps = (line) => !only || !line.startsWith('a=candidate:') || line.split(' ')[2] === only;
  const sdp = (await answer.text()).split('\\r\\n').filter(keeps).join('\\r\\n');
  await peer.setRemoteDescription({ type: 'answer', sdp });
  for (const end = Date.now() + 15000; Date.now() < end; await new Promise((done) => setTimeout(done, 100))) {
    const stats = [...(await peer.getStats()).values()];
    const video = stats.find((one) => one.type === 'inbound-rtp' && one.kind === 'video');
    if (!video || video.framesDecoded < pictures) continue;
    const transport = stats.find((one) => one.type === 'transport');
    const pair = stats.find((one) => one.id === transport.selectedCandidatePairId);
    const protocol = stats.find((one) => one.id === pair.remoteCandidateId).protocol;
    const codec = stats.find((one) => one.id === video.codecId).mimeType;
    const { frameWidth: width, packetsLost: lost } = video;
    peer.close();
    return { status: 201, told, protocol, codec, width, lost };
  }
  peer.close();
  return { status: 201, told, state: peer.iceConnectionState };
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("webrtc")
    clip = await asyncio.to_thread(make_clip, folder / "clip.h265", codec="h265")
    async with (
        gst_camera(codec="h265", clip=clip, fps=25) as main,
        gst_camera(audio="pcma") as sub,
        gst_camera(audio="aac") as with_aac,
        hub_site(folder / "data") as ready,
    ):
        await ready.operator("zhang")
        for number, urls in ((BOTH, (main.url, sub.url)), (MAIN_ALONE, (main.url,)), (WITH_AAC, (with_aac.url,))):
            await register(ready, number, *urls)
        yield ready


async def register(place: Site, number: int, *urls: str) -> None:
    """A camera whose first address is its main stream, the second its sub stream."""
    message = camera_message(number)
    del message.streams[:]
    profiles = (camera_pb2.STREAM_PROFILE_MAIN, camera_pb2.STREAM_PROFILE_SUB)
    message.streams.extend(
        camera_pb2.CameraStream(profile=profile, url=url) for profile, url in zip(profiles, urls, strict=False)
    )
    async with place.unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        await stub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=message), timeout=20)


@pytest_asyncio.fixture(loop_scope="session")
async def page(chromium: Browser, place: Site) -> AsyncIterator[Page]:
    context = await chromium.new_context(base_url=place.running.url)
    fresh = await context.new_page()
    await fresh.goto("/")
    yield fresh
    await context.close()


async def watch(place: Site, page: Page, number: int, *, only: str = "", profile: str = "AUTO") -> dict[str, Any]:
    async with person(place.running, "zhang") as who:
        session = await who.call(
            "SessionService/OpenSession",
            cameraId=camera_message(number).id,
            purpose=PATROL,
            profile=f"STREAM_PROFILE_{profile}",
        )
        asked = {"url": session["whepUrl"], "ticket": session["ticket"], "only": only, "pictures": PICTURES}
        return await page.evaluate(_WATCH, asked)


async def test_chromium_sees_the_sub_stream_of_an_h265_camera_and_is_told_why(place: Site, page: Page):
    seen = await watch(place, page, BOTH)
    assert seen["told"] == {
        "x-vidhub-profile": "sub",
        "x-vidhub-reason": "CODEC_NOT_OFFERED",
        "x-vidhub-audio": "pcma",
    }
    assert (seen["codec"], seen["width"], seen["lost"], seen["protocol"]) == ("video/H264", 640, 0, "udp")


async def test_where_there_is_no_sub_stream_the_answer_says_so(place: Site, page: Page):
    seen = await watch(place, page, MAIN_ALONE)
    assert (seen["status"], seen["problem"]["reason"]) == (406, "CODEC_NOT_OFFERED")
    assert "H.265" in seen["problem"]["detail"]
    assert "No other stream of this camera is registered" in seen["problem"]["detail"]
    asked = await watch(place, page, BOTH, profile="MAIN")
    assert (asked["status"], asked["problem"]["reason"]) == (406, "CODEC_NOT_OFFERED")
    assert "profile AUTO" in asked["problem"]["detail"], "who asked for the main stream is not given the other"
    missing = await watch(place, page, MAIN_ALONE, profile="SUB")
    assert (missing["status"], missing["problem"]["reason"]) == (404, "CAMERA_PROFILE_MISSING")


async def test_chromium_without_udp_sees_pictures_by_tcp(place: Site, page: Page):
    seen = await watch(place, page, BOTH, only="tcp")
    assert (seen.get("protocol"), seen.get("codec"), seen.get("lost")) == ("tcp", "video/H264", 0), seen


async def test_sound_in_aac_is_silent_and_said_to_be(place: Site, page: Page):
    seen = await watch(place, page, WITH_AAC)
    assert seen["told"] == {"x-vidhub-profile": "main", "x-vidhub-audio": "none; reason=AAC_NOT_IN_WEBRTC"}
    assert (seen["codec"], seen["lost"]) == ("video/H264", 0)
