"""The wall: several cameras at once, for one purpose, as an operator works with it."""

import pytest
from playwright.async_api import Locator, expect
from support.console import OFF, STEADY, Console
from support.hub import person

from .office import OfficePage

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE_MS = 30_000


def place(console: Console, number: int) -> Locator:
    return console.page.locator(f'[data-place="{number}"]')


async def phase(at: Locator, wanted: str) -> None:
    await expect(at.get_by_test_id("tile")).to_have_attribute("data-phase", wanted, timeout=PATIENCE_MS)


async def test_a_wall_is_filled_watched_enlarged_and_there_again(site, office: OfficePage):
    console, page = office.console, office.page
    name, _ = await site.operator()
    await console.log_in(name)
    await page.get_by_test_id("layout-4").click()
    await expect(page.locator("[data-place]")).to_have_count(4)
    # By drag, with the purpose asked once; then by keyboard, into the place that a digit chose.
    await console.camera(STEADY).drag_to(place(console, 2))
    await console.state_purpose()
    await phase(place(console, 2), "live")
    await expect(place(console, 2).get_by_test_id("stream")).to_contain_text("子码流")
    await page.get_by_role("tree").focus()
    await page.keyboard.press("3")
    await expect(place(console, 3)).to_have_attribute("aria-current", "true")
    await page.keyboard.press("End")
    await page.keyboard.press("Enter")
    await phase(place(console, 3), "reconnecting")
    await expect(console.dialog).to_have_count(0)
    await expect(place(console, 3)).to_contain_text("CAMERA_UNREACHABLE")
    await expect(place(console, 3).get_by_test_id("tile")).to_have_attribute("aria-label", f"窗口 3：{OFF}")
    await expect(place(console, 2)).to_contain_text("实时")
    await office.tidy()
    await office.picture("wall")
    # Enlarged it is the main stream, in a session of its own.
    await place(console, 2).dblclick()
    await phase(place(console, 2), "live")
    await expect(place(console, 2).get_by_test_id("tile")).to_have_attribute("data-stream", "main", timeout=PATIENCE_MS)
    await expect(place(console, 3)).to_be_hidden()
    await page.keyboard.press("Escape")
    await expect(place(console, 2).get_by_test_id("tile")).to_have_attribute("data-stream", "sub", timeout=PATIENCE_MS)
    # Moved without a break: the picture keeps its session.
    async with person(site.hub, name) as viewer:
        before = {one["id"] for one in (await viewer.call("SessionService/ListSessions"))["sessions"]}
        await place(console, 2).locator("header strong").drag_to(place(console, 1))
        await phase(place(console, 1), "live")
        assert {one["id"] for one in (await viewer.call("SessionService/ListSessions"))["sessions"]} == before
    # Loaded again, it waits for its purpose; another login finds nothing of it.
    await page.reload()
    await phase(place(console, 1), "held")
    await page.get_by_test_id("open-all").click()
    await console.state_purpose("investigation", "鹰公(刑)字〔2026〕12号")
    await phase(place(console, 1), "live")
    await expect(page.get_by_test_id("wall-purpose")).to_contain_text("鹰公(刑)字〔2026〕12号")
    await page.get_by_test_id("clear-wall").click()
    await expect(page.locator("[data-phase=empty]")).to_have_count(4)
    await office.leave()
    assert "wall" not in page.url
    await console.log_in((await site.operator())[0])
    await expect(page.locator("[data-place]")).to_have_count(1)
