#!/usr/bin/env python
"""Takes the README's pictures of the console from a demo hub: docs/images/console.png and console-en.png.

Starts a demo of its own (ports shifted), or takes the one whose `vidhub demo --json` line is given on standard input
with `--running`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SIZE = {"width": 1280, "height": 760}
PORT_OFFSET = 900
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-features=WebRtcHideLocalIpsWithMdns"]
CAMERA = "胜利西路与站江路口"
MAX_BYTES = 300_000
COLOURS = 160
_AFTER_FRAMES = """(count) => new Promise((resolve) => {
  const video = document.querySelector('video');
  let seen = 0;
  const shown = () => (seen += 1) >= count ? resolve(seen) : video.requestVideoFrameCallback(shown);
  video.requestVideoFrameCallback(shown);
})"""


def main() -> None:
    if sys.argv[1:] == ["--running"]:
        take(json.loads(sys.stdin.readline()))
        return
    demo = subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-m", "vidhub.cli", "demo", "--json", "--port-offset", str(PORT_OFFSET)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TZ": "Asia/Shanghai"},
    )
    try:
        assert demo.stdout is not None
        take(json.loads(demo.stdout.readline()))
    finally:
        demo.terminate()
        demo.wait()


def take(demo: dict[str, Any]) -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for language, name in (("zh-CN", "console.png"), ("en", "console-en.png")):
            shoot(browser, demo, language, IMAGES / name)
        browser.close()


def shoot(browser: Browser, demo: dict[str, Any], language: str, path: Path) -> None:
    context = browser.new_context(viewport=SIZE, locale=language, timezone_id="Asia/Shanghai")
    page = context.new_page()
    page.goto(demo["console"])
    if language == "en":
        page.get_by_test_id("language").click()
    page.locator("#username").fill(demo["user"])
    page.locator("#password").fill(demo["password"])
    page.get_by_test_id("login").click()
    page.locator("[role=treeitem][data-state=online]").nth(7).wait_for()
    page.get_by_role("treeitem", name=CAMERA).click()
    page.get_by_test_id("purpose-kind").select_option("patrol")
    page.get_by_test_id("open-live").click()
    page.locator("[data-testid=tile][data-phase=live]").wait_for()
    page.evaluate(_AFTER_FRAMES, 75)
    page.screenshot(path=path)
    context.close()
    shrink(path)
    size = path.stat().st_size
    print(f"{path}  {size} bytes")
    assert size < MAX_BYTES, f"{path} is larger than {MAX_BYTES} bytes"


def shrink(path: Path) -> None:
    """The same picture with a palette: a third of the bytes."""
    small = path.with_suffix(".small.png")
    graph = (
        f"split[all][picture];[all]palettegen=max_colors={COLOURS}[palette];[picture][palette]paletteuse=dither=none"
    )
    ffmpeg = ("ffmpeg", "-loglevel", "error", "-y", "-i", str(path), "-vf", graph, str(small))
    subprocess.run(ffmpeg, check=True)  # noqa: S603  our own files
    small.replace(path)


if __name__ == "__main__":
    main()
