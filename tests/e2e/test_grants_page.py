"""The page of grants: given, explained and taken back."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect
from support.hub import PASSWORD

from .office import OfficePage

pytestmark = pytest.mark.asyncio(loop_scope="session")
CAMERA = "36060200111322000001"


async def test_a_grant_is_given_explained_and_revoked(site, office: OfficePage):
    page, dialog = office.page, office.page.get_by_role("dialog")
    name = "explained1"
    await site.hub.ask("user_add", name=name, roles=["operator"], password=PASSWORD, department="情指中心")
    await office.enter("approver", "grants")
    await page.get_by_test_id("new-grant").click()
    # As the guide shows it, before anything is wrong in it.
    subject, begin = dialog.get_by_label("用户（登录名）"), dialog.get_by_label("开始时间（留空为立即）")
    regions = dialog.get_by_label("行政区划（前缀，如 3606）")
    await subject.fill(name)
    await regions.fill("3606")
    await dialog.get_by_label("日常巡查").check()
    await dialog.get_by_role("button", name="增加时段").click()
    await dialog.get_by_label("六").check()
    await dialog.get_by_label("日", exact=True).check()
    await dialog.get_by_label("从").fill("00:00")
    await dialog.get_by_label("到", exact=True).fill("00:00")
    await dialog.get_by_label("理由（记入登记）").fill("日常巡查授权")
    usual = page.viewport_size
    await page.set_viewport_size({"width": 1366, "height": 1080})
    await office.picture("grant-form")
    assert usual is not None
    await page.set_viewport_size(usual)
    await office.tidy()
    # Each rule that is broken is told at its field, and the first of them has the keyboard.
    await subject.fill("nobody9")
    await regions.fill("3606，99")
    await dialog.get_by_label("摄像机编码").fill("36060200111322009999")
    await begin.fill("2026-02-30 08:00")
    await page.get_by_test_id("save-grant").click()
    assert await begin.evaluate("(field) => field.validationMessage") == "请按 2026-01-31 08:00 的形式填写日期和时间。"
    await begin.fill("")
    await page.get_by_test_id("save-grant").click()
    await expect(dialog.get_by_role("alert")).to_have_text("有 3 处不符合要求，见各栏下的说明。")
    await expect(subject).to_be_focused()
    await expect(subject).to_have_accessible_description("没有该用户：请核对登录名。（nobody9）")
    await expect(regions).to_have_accessible_description("没有该行政区划。（99）")
    await expect(dialog.get_by_label("摄像机编码")).to_have_accessible_description(
        "没有该摄像机：请核对编码。（36060200111322009999）"
    )
    await office.tidy()
    await regions.fill("3606")
    await dialog.get_by_label("摄像机编码").fill("")
    # A day is chosen by keyboard, in our words.
    await begin.fill("2026-01-30 08:00")
    await dialog.get_by_role("button", name="打开日历").first.click()
    await expect(dialog.get_by_role("group", name="2026年1月")).to_be_visible()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("ArrowRight")
    await expect(dialog.get_by_role("group", name="2026年2月")).to_be_visible()
    await office.picture("calendar")
    await office.tidy()
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Enter")
    await expect(begin).to_have_value("2026-01-31 08:00")
    await dialog.get_by_role("button", name="打开日历").first.click()
    await page.keyboard.press("Escape")
    await expect(dialog.get_by_role("button", name="打开日历").first).to_be_focused()
    await begin.fill("")
    await subject.fill(name)
    await page.get_by_test_id("save-grant").click()
    await expect(dialog).to_have_count(0)
    await page.get_by_label("用户（登录名）").fill(name)
    await page.get_by_test_id("search").click()
    row = page.locator("[data-row]")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("每周一 二 三 四 五 六 日 00:00–24:00")
    await office.picture("grants")
    await office.tidy()
    # Why it holds, and why it does not for another purpose.
    await page.get_by_test_id("explain").click()
    await dialog.get_by_label("摄像机编码（20 位）").fill(CAMERA)
    await dialog.get_by_label("用途").select_option("patrol")
    await page.get_by_test_id("ask-explain").click()
    answer = page.get_by_test_id("explained")
    await expect(answer.locator(".verdict")).to_have_text(re.compile("^允许"))
    await dialog.get_by_label("用途").select_option("traffic")
    await page.get_by_test_id("ask-explain").click()
    await expect(answer).to_contain_text("不含该用途")
    await expect(answer.locator(".verdict")).to_have_text(re.compile("^不允许"))
    await office.picture("grant-explained")
    await office.tidy()
    await dialog.get_by_role("button", name="关闭").click()
    await row.get_by_role("button", name="撤销").click()
    await dialog.get_by_label("原因").fill("任务结束")
    await dialog.get_by_role("button", name="撤销").click()
    await expect(row).to_have_count(0)
    await page.get_by_label("包括已结束").check()
    await page.get_by_test_id("search").click()
    await expect(row).to_contain_text("已撤销：任务结束")
