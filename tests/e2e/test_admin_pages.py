"""The administrator's pages: people, units, purposes."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect
from support.hub import PASSWORD

from .office import OfficePage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_people_are_made_changed_kept_out_and_let_in(site, office: OfficePage):
    page, dialog = office.page, office.page.get_by_role("dialog")
    await office.enter("administrator", "people")
    await page.get_by_test_id("new-user").click()
    await dialog.get_by_label("登录名（之后不能修改）").fill("zhaoliu")
    await dialog.get_by_label("姓名").fill("赵六")
    await dialog.get_by_label("部门").fill("月湖分局")
    await dialog.get_by_label("操作员").check()
    # Roles that exclude each other are said to do so beforehand.
    await expect(dialog.get_by_label("管理员")).to_be_disabled()
    await expect(dialog).to_contain_text("不能与“操作员”兼任")
    await office.picture("user-form")
    await office.tidy()
    await page.get_by_test_id("save-user").click()
    password = (await page.get_by_test_id("one-time").inner_text()).strip()
    await office.tidy()
    await dialog.get_by_role("button", name="已记下，关闭").click()
    row = office.row("zhaoliu")
    await expect(row).to_contain_text("待首次登录")
    await office.picture("people")
    await office.tidy()
    # A name that is taken is refused with what to do.
    await page.get_by_test_id("new-user").click()
    await dialog.get_by_label("登录名（之后不能修改）").fill("zhaoliu")
    await dialog.get_by_label("审计员").check()
    await page.get_by_test_id("save-user").click()
    await expect(dialog.get_by_role("alert")).to_have_text("该登录名已被使用。")
    await dialog.get_by_role("button", name="取消").click()
    await row.get_by_role("button", name="停用").click()
    await dialog.get_by_label("原因").fill("调离")
    await dialog.get_by_role("button", name="停用").click()
    await expect(row).to_contain_text("已停用")
    await row.get_by_role("button", name="恢复").click()
    await expect(row).to_contain_text("待首次登录")
    await row.get_by_role("button", name="重置密码").click()
    await dialog.get_by_role("button", name="重置密码").click()
    second = (await page.get_by_test_id("one-time").inner_text()).strip()
    assert second != password
    await dialog.get_by_role("button", name="已记下，关闭").click()
    await page.get_by_label("登录名或姓名").fill("赵六")
    await page.get_by_test_id("search").click()
    await expect(page.locator("[data-row]")).to_have_count(1)
    # The one-time password is good for setting one's own, and for nothing else.
    await office.leave()
    await office.console.type_login("zhaoliu", second)
    await page.get_by_label("原密码").fill(second)
    await page.get_by_label("新密码").fill(PASSWORD)
    await page.get_by_role("button", name="修改密码").click()
    await page.get_by_test_id("page-sessions").click()
    await expect(page.get_by_text("本次登录")).to_be_visible()


async def test_a_unit_gets_its_file_once_and_is_cut_off(site, office: OfficePage):
    page, dialog = office.page, office.page.get_by_role("dialog")
    await office.enter("administrator", "units")
    await page.get_by_test_id("invite-unit").click()
    await dialog.get_by_label("单位名称").fill("第九小学")
    await dialog.get_by_label("行政区划（6 位）").fill("360103")
    await dialog.get_by_label("行业").select_option("11")
    await page.get_by_test_id("issue").click()
    await expect(dialog).to_contain_text("vidhub unit enrol")
    await office.tidy()
    await office.picture("unit-token")
    async with page.expect_download() as started:
        await page.get_by_test_id("save-file").click()
    enrolment = json.loads((await (await started.value).path()).read_text())
    assert {"hub", "ca_pem", "claim_certificate_pem", "claim_key_pem"} <= set(enrolment)
    await dialog.get_by_role("button", name="关闭").click()
    await page.get_by_label("名称或编号").fill("第九小学")
    await page.get_by_test_id("search").click()
    row = page.locator("[data-row]")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("已邀请")
    await row.get_by_role("button", name="证书").click()
    await expect(dialog.get_by_role("row").filter(has_text="接入凭证")).to_contain_text("有效")
    await office.tidy()
    await dialog.get_by_role("button", name="关闭").click()
    await row.get_by_role("button", name="吊销").click()
    await dialog.get_by_label("原因").fill("误签")
    await dialog.get_by_role("button", name="吊销").click()
    await expect(row).to_contain_text("已吊销")
    await page.get_by_label("名称或编号").fill("")
    await page.get_by_test_id("search").click()
    await expect(page.locator("[data-row]").filter(has_text="第一中学")).to_contain_text("已接入")
    await office.picture("units")
    await office.tidy()


async def test_purposes_are_added_changed_and_retired(office: OfficePage):
    page, dialog = office.page, office.page.get_by_role("dialog")
    await office.enter("supervisor", "purposes")
    await page.get_by_test_id("new-purpose").click()
    await dialog.get_by_label("代码").fill("flood")
    await dialog.get_by_label("名称（中文）").fill("防汛")
    await dialog.get_by_label("名称（英文）").fill("Flood control")
    await office.tidy()
    await page.get_by_test_id("save-purpose").click()
    row = office.row("flood")
    await expect(row).to_contain_text("选填")
    await row.get_by_role("button", name="修改").click()
    await dialog.get_by_label("必须填写案件或文书编号").check()
    await page.get_by_test_id("save-purpose").click()
    await expect(row).to_contain_text("必填")
    await office.picture("purposes")
    await office.tidy()
    await row.get_by_role("button", name="停用").click()
    await dialog.get_by_label("原因").fill("汛期结束")
    await dialog.get_by_role("button", name="停用").click()
    await expect(row).to_have_count(0)
    await page.get_by_label("包括已停用").check()
    await expect(row).to_contain_text("停用")
