"""Every page has an address: it can be loaded again, gone back to, bookmarked, handed on."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect
from support.console import STEADY, Console
from support.hub import PASSWORD

from .office import PATIENCE_MS, OfficePage

pytestmark = pytest.mark.asyncio(loop_scope="session")
CAMERA = "36060200111322000001"


async def test_pages_are_loaded_again_and_gone_back_to(site, office: OfficePage):
    page = office.page
    await office.enter("supervisor", "events")
    await expect(page).to_have_url(f"{site.hub.url}/events")
    await page.get_by_label("级别不低于").select_option("2")
    await page.get_by_test_id("events-waiting").uncheck()
    await expect(page).to_have_url(f"{site.hub.url}/events?severity=2&waiting=false")
    await page.reload()
    await expect(page.get_by_role("heading", name="事件", level=2)).to_be_visible()
    await expect(page.get_by_label("级别不低于")).to_have_value("2")
    await expect(page.get_by_test_id("events-waiting")).not_to_be_checked()
    # By keyboard from page to page: it stays on the line at the top.
    await page.get_by_test_id("page-map").focus()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{site.hub.url}/map")
    await expect(page.get_by_test_id("page-map")).to_be_focused()
    await expect(page).to_have_title("vidhub · 地图")
    await page.go_back()
    await expect(page.get_by_label("级别不低于")).to_have_value("2")
    await page.go_forward()
    await expect(page.get_by_test_id("page-map")).to_have_attribute("aria-current", "page")


async def test_a_camera_has_an_address_over_the_page_it_was_opened_from(site, console: Console):
    page = console.page
    await console.log_in((await site.operator())[0])
    await page.get_by_test_id("camera-search").fill("dm1")
    await expect(page).to_have_url(f"{site.hub.url}/live?q=dm1")
    await expect(page.get_by_role("treeitem")).to_have_count(3)
    await page.get_by_role("tree").focus()
    for key in ("End", "i"):
        await page.keyboard.press(key)
    record = page.get_by_test_id("camera-page")
    await expect(record.get_by_role("heading", name=STEADY)).to_be_visible()
    await expect(page).to_have_url(f"{site.hub.url}/cameras/{CAMERA}")
    await page.go_back()
    await expect(record).to_have_count(0)
    await expect(page).to_have_url(f"{site.hub.url}/live?q=dm1")
    await expect(page.get_by_test_id("camera-search")).to_have_value("dm1")
    await page.go_forward()
    await expect(record.get_by_role("heading", name=STEADY)).to_be_visible()
    await page.reload()
    await expect(record.get_by_role("heading", name=STEADY)).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(record).to_have_count(0)
    await expect(page).to_have_url(f"{site.hub.url}/live?q=dm1")
    await expect(page.get_by_role("treeitem")).to_have_count(3)


async def test_the_address_that_was_wanted_is_there_after_the_login(site, office: OfficePage):
    page = office.page
    await site.hub.ask("user_add", name="linked1", roles=["auditor"], password=PASSWORD)
    await page.goto("/audit?action=session.open&result=refused&lang=en")
    await expect(page.get_by_label("Username")).to_be_visible()
    await office.console.type_login("linked1")
    await expect(page.get_by_role("heading", name="Register of use")).to_be_visible()
    await expect(page.locator("#audit-action")).to_have_value("session.open")
    await expect(page.locator("#audit-result")).to_have_value("refused")
    await expect(page).to_have_url(f"{site.hub.url}/audit?action=session.open&result=refused&lang=en")
    # The language is the address's alone, until somebody chooses.
    await page.goto("/audit")
    await expect(page.get_by_role("heading", name="使用登记")).to_be_visible()
    # A wall, handed on before pages had addresses.
    await page.goto(f"/?wall=4:{CAMERA}")
    await expect(page).to_have_url(f"{site.hub.url}/live?wall=4:{CAMERA}")
    # Whoever comes next begins anew.
    await page.get_by_test_id("page-audit").click()
    await page.locator("#audit-reason").fill("NO_GRANT")
    await page.get_by_test_id("search").click()
    await expect(page).to_have_url(re.compile("reason=NO_GRANT$"))
    await page.get_by_test_id("page-live").click()
    await office.leave()
    await expect(page).to_have_url(f"{site.hub.url}/")
    await office.enter("supervisor", "events")
    seen = []
    for _ in range(3):
        await page.go_back()
        await page.get_by_test_id("logout").wait_for()
        seen.append(page.url)
    assert {url for url in seen if "?" in url} == set()


async def test_a_page_that_is_not_for_ones_role_says_so(site, office: OfficePage):
    page = office.page
    name, _ = await site.operator()
    await page.goto("/people")
    await office.console.type_login(name)
    said = page.get_by_test_id("nowhere")
    await expect(said).to_contain_text("您的角色不能查看“用户”页", timeout=PATIENCE_MS)
    await office.tidy()
    await page.get_by_role("button", name="前往“实时视频”").click()
    await expect(page).to_have_url(f"{site.hub.url}/live")
    await page.goto("/persons")
    await expect(said).to_contain_text("该地址没有对应的页面")
    await page.goto("/cameras/36060200111322009999")
    record = page.get_by_test_id("camera-page")
    await expect(record.get_by_role("alert")).to_contain_text("没有该摄像机，或您无权知晓。")


async def test_a_page_opens_in_a_tab_of_its_own(site, console: Console):
    await console.log_in((await site.operator())[0])
    async with console.page.context.expect_page() as opened:
        await console.page.get_by_test_id("page-map").click(modifiers=["Control"])
    other = await opened.value
    await expect(other.get_by_test_id("page-map")).to_have_attribute("aria-current", "page")
    await expect(console.page).to_have_url(f"{site.hub.url}/live")
