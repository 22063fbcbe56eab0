"""The hub dies and comes back, and nobody at the console does anything."""

import signal
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from support.console import STEADY, Console
from support.hub import hub
from support.ports import standing

from .conftest import SETTINGS, SIZE, Site, register

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_picture_comes_back_with_the_hub(site: Site, chromium: Browser, tmp_path: Path):
    listeners = standing("http", "webrtc")
    async with hub(tmp_path / "data", *listeners, **SETTINGS) as first:
        await register(first, site.steady.url)
        name, _ = await Site(first, site.steady, site.frail, site.clip).operator()
        context = await chromium.new_context(base_url=first.url, viewport=SIZE, locale="zh-CN")
        console = Console(await context.new_page())
        await console.log_in(name)
        await console.watch(STEADY)
        await first.end(signal.SIGTERM)
    # Its sessions outlive a clean stop; a crash ends them, and the console opens new ones.
    for _ in range(2):
        await console.phase("reconnecting")
        async with hub(tmp_path / "data", *listeners, **SETTINGS) as running:
            await console.phase("live")
            await console.frames(25)
            await expect(console.alert).to_have_count(0)
            await running.end(signal.SIGKILL)
    await context.close()
