"""Events at the console: counted in the head, shown as they come, listed, acknowledged."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from .conftest import Site
from .office import PATIENCE_MS, OfficePage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_event_is_shown_as_it_comes_and_seen_to_once(site: Site, office: OfficePage):
    page = office.page
    await office.enter("supervisor", "live")
    count = page.get_by_test_id("events-count")
    # The camera that nobody can reach.
    await expect(count).to_be_visible(timeout=PATIENCE_MS)
    # A severe one comes over whatever page there is, and takes no focus.
    await page.get_by_test_id("page-live").focus()
    sockets = site.hub.data / "run" / "app.sock"
    sockets.unlink()
    alarm = page.get_by_test_id("alarm").filter(has_text="内部套接字被删除")
    await expect(alarm).to_be_visible(timeout=PATIENCE_MS)
    assert await page.evaluate("document.activeElement.dataset.testid") == "page-live"
    await expect(page.get_by_role("log")).to_contain_text("严重")
    await office.tidy()
    await alarm.get_by_role("button", name="查看事件").click()
    await expect(alarm).to_have_count(0)
    # Others may have gone dark by now and be one event with it, or have been dark for a moment.
    dark = page.get_by_role("row").filter(has_text="摄像机离线").filter(has_text="持续中")
    dark = dark.filter(has=page.get_by_role("button", name="确认"))
    key = await dark.first.get_attribute("data-row", timeout=PATIENCE_MS)
    assert key
    row = office.row(key)
    await expect(row).to_contain_text(re.compile("警告|严重"))
    await expect(row).to_contain_text("持续中")
    await office.tidy()
    await office.picture("events")
    await row.get_by_role("button", name="确认").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("textbox").fill("已通知学校检修")
    await office.tidy()
    await dialog.get_by_role("button", name="确认").click()
    await expect(dialog).to_have_count(0)
    await expect(row).to_have_count(0, timeout=PATIENCE_MS)
    await page.get_by_test_id("events-waiting").uncheck()
    await expect(row).to_contain_text("已通知学校检修", timeout=PATIENCE_MS)
    await expect(row.get_by_role("button", name="确认")).to_have_count(0)
    entry = (await site.hub.ask("audit_list", action="event.acknowledge"))["entries"][0]
    assert "已通知学校检修" in entry["detailJson"]
