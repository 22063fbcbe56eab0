"""The auditor's page: the register of use is searched, followed, proved and taken out."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from playwright.async_api import expect
from support.hub import person

from .office import OfficePage

pytestmark = pytest.mark.asyncio(loop_scope="session")
CAMERA = "36060200111322000002"


async def test_an_auditor_searches_follows_proves_and_exports(site, office: OfficePage, tmp_path: Path):
    name, _ = await site.operator()
    page = office.page
    async with person(site.hub, name) as operator:
        purpose = {"kind": "investigation", "reference": "鹰公(刑)字〔2026〕7号"}
        opened = await operator.call("SessionService/OpenSession", cameraId=CAMERA, purpose=purpose)
        refused = await operator.call("SessionService/OpenSession", cameraId=CAMERA, purpose={"kind": "traffic"})
        assert refused["reason"] == "PURPOSE_NOT_GRANTED"
        await operator.call("SessionService/CloseSession", sessionId=opened["session"]["id"])
    await office.enter("auditor", "audit")
    rows = page.locator("[data-row]")
    await page.get_by_label("主体（用户名或 unit/编号）").fill(name)
    await page.get_by_label("行为").select_option("session.refused")
    await page.get_by_test_id("search").click()
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("您的授权不包含该用途。")
    # By who, by camera and by result alone: each finds what the others leave out.
    await page.get_by_role("button", name="清除条件").click()
    await page.get_by_label("主体（用户名或 unit/编号）").fill(name)
    await page.get_by_label("摄像机编码（20 位）").fill(CAMERA)
    await page.get_by_label("结果").select_option("ok")
    await page.get_by_test_id("search").click()
    await expect(rows).to_have_count(2)
    await expect(rows.filter(has_text="打开视频")).to_contain_text("案件侦查 · 鹰公(刑)字〔2026〕7号")
    await office.picture("register")
    await office.tidy()
    # From one entry on to all of its session, and to the request that made it.
    await rows.filter(has_text="打开视频").get_by_role("button", name="详情").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text(opened["session"]["id"])
    await office.picture("register-entry")
    await office.tidy()
    await dialog.get_by_role("button", name="同一会话").click()
    await expect(rows).to_have_count(2)
    await rows.filter(has_text="结束会话").get_by_role("button", name="详情").click()
    await dialog.get_by_role("button", name="跟踪同一请求").click()
    # A session keeps the trace that it was opened with.
    await expect(page.get_by_label("追踪号")).not_to_have_value("")
    await expect(rows).to_have_count(2)
    async with page.expect_download() as started:
        await page.get_by_test_id("export").click()
    await (await started.value).save_as(tmp_path / "register.csv")
    head, *lines = csv.reader((tmp_path / "register.csv").read_text(encoding="utf-8-sig").splitlines())
    entries = [dict(zip(head, line, strict=True)) for line in lines]
    assert [(one["action"], one["result"]) for one in entries] == [("session.close", "ok"), ("session.open", "ok")]
    assert {(one["principal"], one["session_id"]) for one in entries} == {(f"user/{name}", opened["session"]["id"])}
    await page.get_by_test_id("verify").click()
    await expect(page.get_by_test_id("verdict")).to_contain_text("登记完整")
    await office.tidy()


async def test_what_is_no_time_is_refused_and_not_left_out(office: OfficePage):
    """Else the answer, and the file, would be those of a wider question."""
    await office.enter("auditor", "audit")
    page = office.page
    await expect(page.locator("[data-row]").first).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "ListEntries" in request.url else None)
    begin = page.locator("#audit-from")
    await begin.fill("2026-13-01")
    for button in ("export", "search"):
        await page.get_by_test_id(button).click()
        assert "2026-01-31" in await begin.evaluate("field => field.validationMessage")
    assert asked == []
    # An address that was written by hand.
    await page.goto(f"{page.url.split('?')[0]}?from=yesterday")
    await expect(page.get_by_role("alert")).to_contain_text("时间不符合要求")
    await expect(page.locator("[data-row]")).to_have_count(0)
    assert asked == []


async def test_who_administers_proves_the_register_and_does_not_read_it(office: OfficePage):
    await office.enter("administrator", "audit")
    await office.page.get_by_test_id("verify").click()
    await expect(office.page.get_by_test_id("verdict")).to_contain_text("登记完整")
    await expect(office.page.get_by_test_id("search")).to_have_count(0)
