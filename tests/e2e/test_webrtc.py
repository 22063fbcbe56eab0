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

BOTH, MAIN_ALONE, WITH_AAC, WITH_OPUS = 1, 2, 3, 4
PICTURES = 25
# Answers when so many pictures are decoded. only: the candidates of one protocol, as if no other came through; restart:
# ICE, after the first pictures.
_WATCH = """async ({ url, ticket, only, pictures, restart }) => {
  const peer = new RTCPeerConnection();
  peer.addTransceiver('audio', { direction: 'recvonly' });
  peer.addTransceiver('video', { direction: 'recvonly' });
  const bearer = { Authorization: `Bearer ${ticket}` };
  const lines = (text) => text.split('\\r\\n');
  const value = (text, name) => lines(text).find((line) => line.startsWith(name));
  const shown = async (count) => {
    for (const end = Date.now() + 60000; Date.now() < end; await new Promise((done) => setTimeout(done, 100))) {
      const stats = [...(await peer.getStats()).values()];
      const [video, audio] = ['video', 'audio'].map((kind) =>
        stats.find((one) => one.type === 'inbound-rtp' && one.kind === kind));
      if (!video || video.framesDecoded < count) continue;
      const transport = stats.find((one) => one.type === 'transport');
      const pair = stats.find((one) => one.id === transport.selectedCandidatePairId);
      const mime = (one) => one && one.packetsReceived && stats.find((codec) => codec.id === one.codecId).mimeType;
      return {
        protocol: stats.find((one) => one.id === pair.remoteCandidateId).protocol,
        codec: mime(video), sound: mime(audio) || null, width: video.frameWidth, lost: video.packetsLost,
        decoded: video.framesDecoded, ufrag: transport.iceLocalUsernameFragment,
      };
    }
    return { state: peer.iceConnectionState };
  };

  await peer.setLocalDescription(await peer.createOffer());
  const offered = { method: 'POST', headers: { ...bearer, 'Content-Type': 'application/sdp' } };
  const answer = await fetch(url, { ...offered, body: peer.localDescription.sdp });
  const told = Object.fromEntries([...answer.headers].filter(([name]) => name.startsWith('x-vidhub-')));
  if (answer.status !== 201) return { status: answer.status, problem: await answer.json() };
  const keeps = (line) => !only || !line.startsWith('a=candidate:') || line.split(' ')[2] === only;
  const sdp = lines(await answer.text()).filter(keeps).join('\\r\\n');
  await peer.setRemoteDescription({ type: 'answer', sdp });
  let seen = await shown(pictures);
  if (restart) {
    const first = seen;
    await peer.setLocalDescription(await peer.createOffer({ iceRestart: true }));
    const mine = ['a=ice-ufrag:', 'a=ice-pwd:'].map((name) => value(peer.localDescription.sdp, name));
    const resource = new URL(answer.headers.get('location'), url);
    const kind = { 'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '*' };
    const patched = await fetch(resource, {
      method: 'PATCH', headers: { ...bearer, ...kind }, body: [...mine, ''].join('\\r\\n'),
    });
    const fragment = await patched.text();
    const theirs = (line) => ['a=ice-ufrag:', 'a=ice-pwd:'].filter((name) => line.startsWith(name))
      .map((name) => value(fragment, name))[0] || line;
    await peer.setRemoteDescription({ type: 'answer', sdp: lines(sdp).map(theirs).join('\\r\\n') });
    // Long enough for the old path to be given up, had the new one not been checked.
    seen = await shown(first.decoded + 25 * 12);
    Object.assign(seen, { patched: patched.status, moved: seen.ufrag !== first.ufrag });
  }
  peer.close();
  return { status: 201, told, ...seen };
}"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("webrtc")
    clip = await asyncio.to_thread(make_clip, folder / "clip.h265", codec="h265")
    async with (
        gst_camera(codec="h265", clip=clip, fps=25) as main,
        gst_camera(audio="pcma") as sub,
        gst_camera(audio="aac") as with_aac,
        gst_camera(audio="opus") as with_opus,
        hub_site(folder / "data") as ready,
    ):
        await ready.operator("zhang")
        cameras = {
            BOTH: (main.url, sub.url),
            MAIN_ALONE: (main.url,),
            WITH_AAC: (with_aac.url,),
            WITH_OPUS: (with_opus.url,),
        }
        for number, urls in cameras.items():
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


async def watch(
    place: Site, page: Page, number: int, *, only: str = "", profile: str = "AUTO", restart: bool = False
) -> dict[str, Any]:
    async with person(place.running, "zhang") as who:
        session = await who.call(
            "SessionService/OpenSession",
            cameraId=camera_message(number).id,
            purpose=PATROL,
            profile=f"STREAM_PROFILE_{profile}",
        )
        asked = {"url": session["whepUrl"], "ticket": session["ticket"], "only": only}
        return await page.evaluate(_WATCH, {**asked, "pictures": PICTURES, "restart": restart})


async def test_chromium_sees_the_sub_stream_of_an_h265_camera_and_is_told_why(place: Site, page: Page):
    seen = await watch(place, page, BOTH)
    assert seen["told"] == {
        "x-vidhub-profile": "sub",
        "x-vidhub-reason": "CODEC_NOT_OFFERED",
        "x-vidhub-audio": "pcma",
    }
    assert (seen["codec"], seen["width"], seen["lost"], seen["protocol"]) == ("video/H264", 640, 0, "udp")
    assert seen["sound"] == "audio/PCMA"


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
    assert (seen["codec"], seen["lost"], seen["sound"]) == ("video/H264", 0, None)


async def test_opus_of_a_camera_is_heard_as_it_is(place: Site, page: Page):
    seen = await watch(place, page, WITH_OPUS)
    assert (seen["told"]["x-vidhub-audio"], seen["sound"]) == ("opus", "audio/opus")


async def test_chromium_restarts_ice_and_goes_on_without_a_new_offer(place: Site, page: Page):
    seen = await watch(place, page, WITH_OPUS, restart=True)
    assert (seen["patched"], seen.get("moved"), seen.get("lost")) == (200, True, 0), seen
