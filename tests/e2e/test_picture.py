"""What Chromium shows is what the camera sent."""

import asyncio
import base64

import av
import numpy as np
import pytest
from support.console import STEADY, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")

PICTURES = 5
# The decoder's own planes, before any colour conversion: Y, U and V of the picture on the screen.
PLANES = """async () => {
  const video = document.querySelector('video');
  await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
  const frame = new VideoFrame(video);
  const bytes = new Uint8Array(frame.allocationSize());
  const layout = await frame.copyTo(bytes);
  const { format, visibleRect: { width, height } } = frame;
  frame.close();
  let text = '';
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return { format, width, height, layout, data: btoa(text) };
}"""


def luma_of(picture: dict) -> np.ndarray:
    assert picture["format"] in {"I420", "NV12"}
    data = np.frombuffer(base64.b64decode(picture["data"]), np.uint8)
    plane = picture["layout"][0]
    rows = data[plane["offset"] : plane["offset"] + plane["stride"] * picture["height"]]
    return rows.reshape(picture["height"], plane["stride"])[:, : picture["width"]]


def lumas_of(path: str) -> list[np.ndarray]:
    with av.open(path) as container:
        return [luma(frame) for frame in container.decode(video=0)]


def luma(frame: av.VideoFrame) -> np.ndarray:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = np.mean((one.astype(np.float64) - other) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


async def test_the_picture_in_the_browser_is_the_camera_s(site, console: Console):
    name, _ = await site.operator()
    await console.log_in(name)
    await console.watch(STEADY)
    source = asyncio.create_task(asyncio.to_thread(lumas_of, str(site.clip.path)))
    pictures = [luma_of(await console.page.evaluate(PLANES)) for _ in range(PICTURES)]
    frames = await source
    best = [max(psnr(picture, frame) for frame in frames) for picture in pictures]
    assert pictures[0].shape == (720, 1280)
    assert min(best) >= 35, best
