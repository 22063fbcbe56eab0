"""Which way the picture comes to Chromium, what is said of it, and what a person is told where there is none."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect
from support.cameras import gst_camera
from support.console import AXE, Console, violations
from support.hub import HubProcess, camera_message, enrol, hub

from vidhub.cli import clips
from vidhub.cli.camera_sim import CACHE
from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc

from .conftest import SETTINGS, SIZE, Site, camera_sim
from .office import PATIENCE_MS
from .test_picture import PICTURES, PLANES, luma_of, lumas_of, psnr

pytestmark = pytest.mark.asyncio(loop_scope="session")
fixture = pytest_asyncio.fixture(scope="module", loop_scope="session")

# H.264 of the demo; B-frames and AAC; H.265 alone; H.265 with a sub stream of H.264 and G.711.
CLIP, SOUND, MODERN, BOTH = "东门1", "东门2", "东门3", "东门4"


@dataclass
class Cameras:
    urls: list[str]
    sub: str
    clip: clips.Clip

    async def register(self, running: HubProcess) -> None:
        unit = await enrol(running)
        cameras = [camera_message(number, url) for number, url in enumerate(self.urls, start=1)]
        cameras[3].streams.add(profile=camera_pb2.STREAM_PROFILE_SUB, url=self.sub)
        async with unit.channel() as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            answer = await stub.BatchRegisterCameras(
                camera_service_pb2.BatchRegisterCamerasRequest(cameras=cameras), timeout=30
            )
        assert not answer.rejected, answer


@fixture
async def cameras() -> AsyncIterator[Cameras]:
    source = next(path for path in clips.packaged() if path.stem == "bigbuckbunny")
    async with AsyncExitStack() as stack:
        sim = await stack.enter_async_context(camera_sim(source))
        others = [
            await stack.enter_async_context(gst_camera(**options))
            for options in (
                {"codec": "h264", "audio": "aac", "b_frames": 2},
                {"codec": "h265", "width": 320, "height": 180},
                {"codec": "h264", "audio": "pcma", "width": 320, "height": 180},
            )
        ]
        sound, modern, sub = (camera.url for camera in others)
        yield Cameras([sim.url, sound, modern, modern], sub, await asyncio.to_thread(clips.prepare, source, CACHE))


@fixture
async def dark(cameras: Cameras, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A hub without WebRTC."""
    data = tmp_path_factory.mktemp("dark") / "data"
    async with hub(data, "--webrtc", "off", **SETTINGS) as running:
        await cameras.register(running)
        yield Site(running, None, None, cameras.clip)  # type: ignore[arg-type]


@fixture
async def walled(cameras: Cameras, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """A hub whose media port nobody reaches: its address leads nowhere (RFC 5737)."""
    data = tmp_path_factory.mktemp("walled") / "data"
    async with hub(data, "--advertise", "localhost,192.0.2.1", **SETTINGS) as running:
        await cameras.register(running)
        yield Site(running, None, None, cameras.clip)  # type: ignore[arg-type]


async def browse(
    chromium: Browser, site: Site, *, url: str = "", with_axe: bool = False
) -> tuple[BrowserContext, Console]:
    context = await chromium.new_context(
        base_url=url or site.hub.url, viewport=SIZE, locale="zh-CN", bypass_csp=with_axe
    )
    context.set_default_timeout(PATIENCE_MS)
    if with_axe:
        await context.add_init_script(path=AXE)
    console = Console(await context.new_page())
    name, _ = await site.operator()
    await console.log_in(name)
    return context, console


def way(page: Page):
    return page.get_by_test_id("way")


async def test_without_webrtc_the_picture_comes_by_websocket_and_is_the_camera_s(dark: Site, chromium: Browser):
    context, console = await browse(chromium, dark)
    said: list[str] = []
    console.page.on("console", lambda message: said.append(message.text))
    console.page.on("pageerror", lambda error: said.append(str(error)))
    await console.watch(CLIP)
    await expect(way(console.page)).to_contain_text("WebSocket · 主码流")
    await expect(way(console.page)).to_contain_text("平台未开启 WebRTC")
    await expect(console.tile).to_contain_text(re.compile("1280×720.*H264"))
    source = asyncio.create_task(asyncio.to_thread(lumas_of, str(dark.clip.path)))
    pictures = [luma_of(await console.page.evaluate(PLANES)) for _ in range(PICTURES)]
    frames = await source
    best = [max(psnr(picture, frame) for frame in frames) for picture in pictures]
    assert pictures[0].shape == (720, 1280)
    assert min(best) >= 35, best
    await console.frames(50)
    # Close behind what has come, and what was shown is let go; a busy machine gets there a little later.
    await console.page.wait_for_function(
        "() => { const { buffered, currentTime } = document.querySelector('video');"
        " return buffered.end(buffered.length - 1) - currentTime < 2 && currentTime - buffered.start(0) < 15; }"
    )
    assert [line for line in said if "501" not in line] == [], "501: the question by WebRTC"
    await context.close()


async def test_sound_plays_and_b_frames_are_in_order(dark: Site, chromium: Browser):
    context, console = await browse(chromium, dark)
    await console.watch(SOUND)
    before = await console.shown()
    await console.frames(50)
    after = await console.shown()
    assert after[0] - before[0] >= 45
    heard = "() => document.querySelector('video').webkitAudioDecodedByteCount"
    assert await console.page.evaluate(heard) > 0
    listen = console.page.get_by_test_id("sound")
    await expect(listen).to_have_text("打开声音")
    await listen.click()
    await expect(listen).to_have_text("静音")
    assert not await console.page.evaluate("() => document.querySelector('video').muted")
    await console.frames(25)
    await context.close()


async def test_h265_is_replaced_by_the_sub_stream_and_the_tile_says_so(dark: Site, chromium: Browser):
    context, console = await browse(chromium, dark, with_axe=True)
    await console.watch(BOTH)
    await expect(way(console.page)).to_contain_text("WebSocket · 子码流")
    await expect(way(console.page)).to_contain_text("未用主码流：浏览器不支持其编码")
    await expect(way(console.page)).to_contain_text("无声音：WebSocket 播放不支持 G.711")
    await expect(console.page.get_by_test_id("sound")).to_have_count(0)
    assert await violations(console.page) == []
    await context.close()


async def test_h265_that_the_browser_does_not_play_is_told_with_what_to_do(dark: Site, chromium: Browser):
    context, console = await browse(chromium, dark)
    await console.choose(MODERN)
    await console.state_purpose()
    await expect(console.state).to_have_text("无法打开")
    await expect(console.alert).to_contain_text("请接入单位配置 H.264 子码流")
    await expect(console.alert).to_contain_text("CODEC_NOT_OFFERED")
    await context.close()


async def test_an_end_by_websocket_tells_its_reason(dark: Site, chromium: Browser):
    context = await chromium.new_context(base_url=dark.hub.url, viewport=SIZE, locale="zh-CN")
    context.set_default_timeout(PATIENCE_MS)
    console = Console(await context.new_page())
    name, grant = await dark.operator()
    await console.log_in(name)
    await console.watch(CLIP)
    await dark.hub.ask("grant_revoke", id=grant, reason="test")
    await expect(console.alert).to_contain_text("授权已被撤销。")
    await expect(console.state).to_have_text("已结束")
    assert await console.page.evaluate("() => document.querySelector('video').src") == ""
    await context.close()


async def test_where_no_media_port_is_reached_the_websocket_takes_over(walled: Site, chromium: Browser):
    # The name it goes by, or the page would be of another origin than its media.
    context, console = await browse(chromium, walled, url=walled.hub.url.replace("127.0.0.1", "localhost"))
    await console.choose(CLIP)
    await console.state_purpose()
    await console.phase("live")
    await console.frames(25)
    await expect(way(console.page)).to_contain_text("WebSocket · 主码流")
    await expect(way(console.page)).to_contain_text("WebRTC 端口不通")
    # The next view does not wait for it again.
    asked: list[str] = []
    console.page.on("request", lambda request: asked.append(request.url))
    await console.page.get_by_role("button", name="关闭").click()
    await console.watch(SOUND)
    assert not [url for url in asked if "/whep/" in url]
    await context.close()
