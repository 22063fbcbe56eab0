"""The map: outlines, clusters by the worst state, a box of cameras onto the wall."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect
from support.console import STEADY, Console

from .office import OfficePage

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE_MS = 30_000
NO_WEBGL = """HTMLCanvasElement.prototype.getContext = new Proxy(HTMLCanvasElement.prototype.getContext, {
  apply: (inner, canvas, words) => /webgl/.test(words[0]) ? null : Reflect.apply(inner, canvas, words),
})"""


async def test_cameras_on_the_map_go_onto_the_wall_by_a_box(site, console: Console):
    page: Page = console.page
    said: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: said.append(message.text) if "Content Security" in message.text else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda one: foreign.append(one.url) if not one.url.startswith((site.hub.url, "blob:")) else None)
    await console.log_in((await site.operator())[0])
    await page.get_by_test_id("page-map").click()
    await expect(page.get_by_test_id("map-counts")).to_have_text("视野内 3 个 / 共 3 个", timeout=PATIENCE_MS)
    await expect(page.get_by_role("list", name="图例")).to_contain_text("在线")
    await expect(page.get_by_role("button", name=STEADY)).to_be_visible(timeout=PATIENCE_MS)
    await page.get_by_test_id("map-box").click()
    box = await page.get_by_test_id("map").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + 5, box["y"] + 5)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] - 5, steps=4)
    await page.mouse.up()
    await expect(page.get_by_test_id("map-chosen")).to_have_text("框选 3 个")
    await page.get_by_test_id("to-wall").click()
    await expect(page.locator("[data-phase=held]")).to_have_count(3)
    assert "?wall=4:3606" in page.url
    await page.get_by_test_id("open-all").click()
    await console.state_purpose()
    await expect(page.locator("[data-testid=tile][data-phase=live]").first).to_be_visible(timeout=PATIENCE_MS)
    assert (said, foreign) == ([], [])


async def test_the_map_is_for_everybody_and_without_webgl_a_list(site, office: OfficePage):
    page = office.page
    name, _ = await site.operator()
    await office.console.log_in(name)
    await page.get_by_test_id("page-map").click()
    await expect(page.get_by_role("button", name=STEADY)).to_be_visible(timeout=PATIENCE_MS)
    await office.tidy()
    await office.leave()
    await page.add_init_script(NO_WEBGL)
    await office.console.log_in(name)
    await page.get_by_test_id("page-map").click()
    await expect(page.get_by_text("本机不支持 WebGL")).to_be_visible(timeout=PATIENCE_MS)
    await expect(page.get_by_role("button", name=STEADY)).to_be_visible(timeout=PATIENCE_MS)
    await office.tidy()
