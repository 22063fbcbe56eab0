"""What a person does at the console, by what the contract gives them to hold on to."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import Locator, Page
from support.hub import PASSWORD

# The camera that plays its clip, one that can be held still, and one that nobody can reach.
STEADY, FRAIL, OFF = "东门1", "东门2", "东门3"
# No GPU, no sandbox (containers), nothing that Chromium fetches of itself, addresses of WebRTC as they are.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
]
# Put into a page by a context that bypasses the policy, which would not let it in.
AXE = Path(__file__).parents[2] / "console/node_modules/axe-core/axe.min.js"
_VIOLATIONS = """async () => (await axe.run({ resultTypes: ['violations'] })).violations.map(
  (found) => `${found.id}: ${found.nodes.map((node) => node.html).join(' | ')}`)"""
# Chromium's own count of pictures shown, and the clock of the video.
_SHOWN = """() => {
  const video = document.querySelector('video');
  return [video.getVideoPlaybackQuality().totalVideoFrames, video.currentTime];
}"""
_AFTER_FRAMES = """(count) => new Promise((resolve) => {
  const video = document.querySelector('video');
  let seen = 0;
  const shown = () => (seen += 1) >= count ? resolve(seen) : video.requestVideoFrameCallback(shown);
  video.requestVideoFrameCallback(shown);
})"""


async def violations(page: Page) -> list[str]:
    """What axe finds in the page as it is, each with where."""
    found: list[str] = await page.evaluate(_VIOLATIONS)
    return found


class Console:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.tile = page.get_by_test_id("tile")
        self.state = page.get_by_test_id("tile-state")
        self.alert = page.get_by_role("alert")
        self.dialog = page.get_by_role("dialog")

    async def open(self) -> None:
        await self.page.goto("/")

    async def type_login(self, name: str, password: str = PASSWORD) -> None:
        await self.page.get_by_label(re.compile("^(用户名|Username)$")).fill(name)
        await self.page.get_by_label(re.compile("^(密码|Password)$")).fill(password)
        await self.page.get_by_test_id("login").click()

    async def log_in(self, name: str) -> None:
        await self.open()
        await self.type_login(name)
        await self.page.get_by_role("tree").wait_for()

    def camera(self, name: str) -> Locator:
        return self.page.get_by_role("treeitem", name=name)

    async def choose(self, name: str) -> None:
        await self.camera(name).click()
        await self.dialog.wait_for()

    async def state_purpose(self, kind: str = "patrol", reference: str = "") -> None:
        await self.page.get_by_test_id("purpose-kind").select_option(kind)
        await self.page.get_by_test_id("purpose-reference").fill(reference)
        await self.page.get_by_test_id("open-live").click()

    async def watch(self, name: str, kind: str = "patrol") -> None:
        """As far as the first second of a moving picture."""
        await self.choose(name)
        await self.state_purpose(kind)
        await self.phase("live")
        await self.frames(25)

    async def phase(self, wanted: str, timeout_s: float = 60) -> None:
        await self.page.locator(f"[data-testid=tile][data-phase={wanted}]").wait_for(timeout=timeout_s * 1000)

    async def frames(self, count: int) -> None:
        """Until so many more pictures were shown."""
        await self.page.evaluate(_AFTER_FRAMES, count)

    async def shown(self) -> tuple[int, float]:
        """Pictures shown so far, and the video's clock in seconds."""
        frames, seconds = await self.page.evaluate(_SHOWN)
        return frames, seconds
