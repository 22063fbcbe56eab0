"""The page of views: who watches what, and how it is ended."""

from __future__ import annotations

import pytest
from playwright.async_api import expect
from support.hub import person

from .office import OfficePage

pytestmark = pytest.mark.asyncio(loop_scope="session")
CAMERA = "36060200111322000001"


async def test_views_are_listed_with_their_purpose_and_ended(site, office: OfficePage):
    name, _ = await site.operator()
    page = office.page
    purpose = {"kind": "investigation", "reference": "鹰公(刑)字〔2026〕12号", "note": "校门外纠纷"}
    async with person(site.hub, name) as operator:
        opened = [
            (await operator.call("SessionService/OpenSession", cameraId=CAMERA, purpose=purpose))["session"]["id"]
            for _ in range(2)
        ]
    # Somebody who oversees sees whose it is and why, and ends it with a reason.
    await office.enter("supervisor", "sessions")
    row = office.row(opened[0])
    await expect(row).to_contain_text("张警官")
    await expect(row).to_contain_text("东门1")
    await expect(row).to_contain_text("案件侦查 · 鹰公(刑)字〔2026〕12号")
    await office.picture("views")
    await row.get_by_role("button", name="终止").click()
    await page.get_by_role("dialog").get_by_label("原因").fill("演练结束")
    await office.tidy()
    await page.get_by_role("dialog").get_by_role("button", name="终止").click()
    await expect(row).to_have_count(0)
    await page.get_by_test_id("all-views").check()
    await expect(row).to_contain_text("会话被管理方终止")
    await office.tidy()
    # Its owner reads the same, and ends the other.
    await office.leave()
    await office.console.log_in(name)
    await page.get_by_test_id("page-sessions").click()
    await office.row(opened[1]).get_by_role("button", name="结束").click()
    await expect(office.row(opened[1])).to_have_count(0)
    await page.get_by_test_id("all-views").check()
    await expect(office.row(opened[0])).to_contain_text("会话被管理方终止")
    await expect(office.row(opened[1])).to_contain_text("会话已关闭")
    entries = (await site.hub.ask("audit_list", action="session.terminate"))["entries"]
    assert any(one.get("sessionId") == opened[0] and "演练结束" in one["detailJson"] for one in entries)
