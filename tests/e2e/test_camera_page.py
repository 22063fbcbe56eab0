"""A camera's own page: its record, what is missing in it, who watched it, a picture of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect
from support.console import STEADY

from .office import OfficePage

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE_MS = 30_000


async def test_an_operator_reads_the_record_and_takes_a_picture(site, office: OfficePage):
    page, console = office.page, office.console
    name, _ = await site.operator()
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await site.hub.ask(
        "grant_create", username=name, region_prefixes=["3606"], actions=["snapshot"], purposes=["patrol"],
        not_after=until,
    )  # fmt: skip
    await console.log_in(name)
    await page.get_by_role("tree").focus()
    await page.keyboard.press("Home")
    for key in ("ArrowDown", "ArrowDown", "i"):
        await page.keyboard.press(key)
    record = page.get_by_test_id("camera-page")
    await expect(record.get_by_role("heading", name=STEADY)).to_be_visible(timeout=PATIENCE_MS)
    await expect(record.get_by_test_id("camera-state")).to_have_text("在线")
    await expect(record).to_contain_text("月湖区 360602")
    await expect(record).to_contain_text("799/7")
    await expect(record.get_by_test_id("lacks")).to_contain_text("缺：提示标识文字")
    assert "rtsp://" not in await record.inner_text()
    await record.get_by_test_id("take-snapshot").click()
    await console.state_purpose()
    picture = record.get_by_test_id("snapshot").get_by_role("img")
    await expect(picture).to_be_visible(timeout=PATIENCE_MS)
    width = "(image) => image.decode().then(() => image.naturalWidth)"
    assert await picture.evaluate(width) == 1280
    await expect(record.get_by_test_id("camera-views")).to_contain_text("日常巡查", timeout=PATIENCE_MS)
    await office.tidy()
    await office.picture("camera")
    await record.get_by_test_id("camera-to-wall").click()
    await expect(page.locator("[data-phase=held]")).to_have_count(1)
    entries = (await site.hub.ask("audit_list", action="camera.snapshot"))["entries"]
    assert any(one["principal"] == f"user/{name}" for one in entries)


async def test_who_sees_no_video_reads_the_record_in_its_place(site, office: OfficePage):
    await office.enter("supervisor", "live")
    await office.console.camera(STEADY).click()
    record = office.page.get_by_test_id("camera-page")
    await expect(record.get_by_role("heading", name=STEADY)).to_be_visible(timeout=PATIENCE_MS)
    await expect(record.get_by_test_id("take-snapshot")).to_have_count(0)
    await office.tidy()
    await office.page.keyboard.press("Escape")
    await expect(record).to_have_count(0)
