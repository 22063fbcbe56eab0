"""A unit's own page: its cameras are registered by form and by file, completed, and taken out of service."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import openpyxl
import pytest
from playwright.async_api import FilePayload, expect
from support.console import Console
from support.hub import PASSWORD, enrol

from .office import OfficePage

pytestmark = pytest.mark.asyncio(loop_scope="session")
# Where no operator of the other tests may look.
REGION = "360103"
HEADER = (
    "name,region_code,industry,place_category,location.latitude,location.longitude,main.url,"
    "legal.place_basis,legal.purpose,legal.scope,legal.retention_days"
)
ROW = "{name},360103,11,{place},28.66,115.89,rtsp://192.0.2.7/{name},799/7,校园安全,校门外,{days}"


async def test_a_unit_registers_by_form_and_by_file(site, office: OfficePage, tmp_path):
    unit = await enrol(site.hub, "实验小学", REGION, "11")
    page = office.page
    await office.enter("unit", "unit", unit.id)
    await expect(page.get_by_role("heading", name="实验小学")).to_be_visible()
    await expect(page.get_by_test_id("certificate")).to_contain_text("有效期至")
    await expect(page.get_by_text("还没有登记摄像机")).to_be_visible()
    # What lacks is told at its field; the region and the industry are the unit's.
    await page.get_by_test_id("new-camera").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("行政区划（6 位）")).to_have_value(REGION)
    await dialog.get_by_label("名称").fill("东门1号")
    main_url = dialog.get_by_label("地址（rtsp://…，推流时留空）")
    await main_url.fill("http://192.0.2.7/1")
    await page.get_by_test_id("submit-camera").click()
    await expect(main_url).to_have_attribute("aria-invalid", "true")
    await expect(main_url).to_be_focused()
    await expect(dialog.get_by_text("地址须以 rtsp:// 或 rtsps:// 开头。")).to_be_visible()
    await main_url.fill("rtsp://192.0.2.7/1")
    await page.get_by_test_id("submit-camera").click()
    await expect(dialog.get_by_text("请选择摄像机所见的公共场所类别。")).to_be_visible()
    await expect(dialog.get_by_text("请填写录像保存天数。")).to_be_visible()
    await expect(main_url).not_to_have_attribute("aria-invalid", "true")
    await office.picture("unit-form")
    await office.tidy()
    await dialog.get_by_label("场所类别").select_option("school")
    await dialog.get_by_label("纬度（WGS-84）").fill("28.66")
    await dialog.get_by_label("经度（WGS-84）").fill("115.89")
    await dialog.get_by_label("建设依据及文号").fill("799/7")
    await dialog.get_by_label("使用目的").fill("校园安全")
    await dialog.get_by_label("采集范围").fill("校门外")
    await dialog.get_by_label("保存天数（不少于 30）").fill("30")
    await page.get_by_test_id("submit-camera").click()
    await expect(dialog).to_have_count(0)
    row = page.locator("[data-row]").filter(has_text="东门1号")
    await expect(row).to_contain_text("缺：地址、")
    # A file: first judged, then registered, with the row that breaks a rule told by its line.
    lines = [
        HEADER,
        *(ROW.format(name=name, place="school", days=30) for name in ("西门1号", "西门2号")),
        ROW.format(name="宿舍", place="forbidden_dormitory", days=30),
        ROW.format(name="北门", place="school", days=7),
    ]
    file = FilePayload(name="cameras.csv", mimeType="text/csv", buffer="\r\n".join(lines).encode("gb18030"))
    await page.get_by_test_id("from-file").click()
    await dialog.get_by_label("CSV 或 Excel").set_input_files(file)
    await dialog.get_by_label("只检查，不登记").check()
    await page.get_by_test_id("import-start").click()
    outcome = page.get_by_test_id("import-outcome")
    await expect(outcome).to_contain_text("可登记 2 台，未通过 2 行")
    await dialog.get_by_label("只检查，不登记").uncheck()
    await page.get_by_test_id("import-start").click()
    await expect(outcome).to_contain_text("已登记 2 台")
    await expect(dialog.get_by_role("row").filter(has_text="PLACE_FORBIDDEN")).to_contain_text("第八条")
    await office.picture("unit-import")
    await office.tidy()
    async with page.expect_download() as started:
        await page.get_by_test_id("import-report").click()
    report = (await (await started.value).path()).read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(report)))
    assert {(one["line"], one["field"], one["rule"]) for one in rows if one["rule"] != "SIGN_MISSING"} >= {
        ("4", "place_category", "PLACE_FORBIDDEN"),
        ("5", "legal.retention_days", "RETENTION_TOO_SHORT"),
    }
    await dialog.get_by_role("button", name="关闭").click()
    await expect(page.locator("[data-row]")).to_have_count(3)
    await office.picture("unit")
    await office.tidy()
    # The record is completed, and keeps what was said before.
    await row.get_by_role("button", name="修改").click()
    await expect(dialog.get_by_label("采集范围")).to_have_value("校门外")
    await dialog.get_by_label("厂商").fill("海康")
    await page.get_by_test_id("submit-camera").click()
    await expect(dialog).to_have_count(0)
    await expect(row).not_to_contain_text("厂商")
    await row.get_by_role("button", name="停用").click()
    await dialog.get_by_label("原因").fill("拆除")
    await dialog.get_by_role("button", name="停用").click()
    await expect(page.locator("[data-row]")).to_have_count(2)


async def test_a_workbook_is_judged_and_registered_within_the_policy(site, console: Console, tmp_path: Path):
    unit = await enrol(site.hub, "第三中学", REGION, "11")
    await site.hub.ask("user_add", name="workbook1", roles=["unit"], password=PASSWORD, unit_id=unit.id)
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    sheet.append(["id", *HEADER.split(","), "legal.signage_date"])
    sheet.append([])
    for number, (name, days) in enumerate((("东门", 30), ("西门", 7), ("南门", 30)), start=1):
        cells = [name, 360103, "11", "school", 28.66 + number / 1000, 115.89, f"rtsp://192.0.2.8/{number}"]
        sheet.append(["", *cells, "799/7", "校园安全", "校门外", days, date(2026, 1, 31)])
    # Typed into a column of numbers: the spreadsheet keeps 15 digits of 20.
    sheet["A5"] = 36010300111322000099
    workbook.create_sheet("说明").append(["不是摄像机"])
    # A template's own lists, which people do not see.
    lists = workbook.create_sheet("选项", index=0)
    lists.append(["street", "school"])
    lists.sheet_state = "hidden"
    workbook.save(tmp_path / "cameras.xlsx")
    sheet["XFD900"] = " x"
    workbook.save(tmp_path / "far.xlsx")
    page, dialog = console.page, console.dialog
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if "Content Security" in message.text else None)
    await page.goto("/unit")
    await console.type_login("workbook1")
    await page.get_by_test_id("from-file").click()
    field = dialog.get_by_label("CSV 或 Excel")
    await field.set_input_files(tmp_path / "cameras.xlsx")
    await expect(dialog).to_contain_text("cameras.xlsx")
    await dialog.get_by_label("只检查，不登记").check()
    await page.get_by_test_id("import-start").click()
    outcome = page.get_by_test_id("import-outcome")
    await expect(outcome).to_contain_text("可登记 1 台，未通过 2 行", timeout=30_000)
    rounded = dialog.get_by_role("row").filter(has_text="XLSX_NUMBER_ROUNDED")
    await expect(rounded.get_by_role("cell").first).to_have_text("5")
    await expect(rounded).to_contain_text("请先把该列设为“文本”格式")
    short = dialog.get_by_role("row").filter(has_text="RETENTION_TOO_SHORT")
    await expect(short.get_by_role("cell").first).to_have_text("4")
    await dialog.get_by_label("只检查，不登记").uncheck()
    await page.get_by_test_id("import-start").click()
    await expect(outcome).to_contain_text("已登记 1 台")
    await field.set_input_files(FilePayload(name="broken.xlsx", mimeType="", buffer=b"PK\x03\x04" + bytes(99)))
    await page.get_by_test_id("import-start").click()
    await expect(console.alert).to_contain_text("无法读取该工作簿")
    await field.set_input_files(tmp_path / "far.xlsx")
    await page.get_by_test_id("import-start").click()
    await expect(console.alert).to_contain_text("单元格 XFD900 有内容")
    assert said == []
