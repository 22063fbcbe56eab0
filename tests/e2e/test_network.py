"""The network page: links as an administrator sees and steers them, in Chromium."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect
from support.console import AXE, Console, violations
from support.hub import PASSWORD, HubProcess, enrol
from support.links import (
    CITY,
    DISTRICT,
    OTHER_DISTRICT,
    PROVINCE,
    camera,
    in_step,
    join,
    link,
    placed,
    register,
    until,
)

from .office import PATIENCE_MS

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def levels(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[HubProcess, HubProcess, HubProcess]]:
    """A province, a city with its people, and a district that has joined the city."""
    folder = tmp_path_factory.mktemp("levels")
    async with placed(folder, PROVINCE) as province, placed(folder, CITY) as city, placed(folder, DISTRICT) as district:
        await link(province, city, CITY)
        await join(city, district, DISTRICT)
        await district.ask("hub_accept", hub=CITY[0])
        name, level, region = OTHER_DISTRICT
        await city.ask("hub_invite", name=name, level=level, region_code=region)
        for person, role in (("guan", "administrator"), ("jian", "supervisor"), ("cao", "operator")):
            await city.ask("user_add", name=person, roles=[role], password=PASSWORD)
        yield province, city, district


@pytest_asyncio.fixture(loop_scope="session")
async def context(chromium: Browser, levels: tuple[HubProcess, ...]) -> AsyncIterator[BrowserContext]:
    """axe is put into the page, which its policy would not let in."""
    fresh = await chromium.new_context(
        base_url=levels[1].url, viewport={"width": 1280, "height": 900}, locale="zh-CN", bypass_csp=True
    )
    fresh.set_default_timeout(PATIENCE_MS)
    await fresh.add_init_script(path=AXE)
    yield fresh
    await fresh.close()


async def logged_in(page: Page, name: str) -> None:
    """No camera is shared here, so there is no tree to wait for."""
    console = Console(page)
    await console.open()
    await console.type_login(name)
    await page.get_by_test_id("logout").wait_for()


async def opened(page: Page, name: str) -> None:
    await logged_in(page, name)
    await page.get_by_test_id("page-network").click()
    await page.get_by_test_id(f"hub-{PROVINCE[0]}").wait_for()


async def test_an_administrator_accepts_and_ends_links(levels: tuple[HubProcess, HubProcess, HubProcess], page: Page):
    _, city, district = levels
    await opened(page, "guan")
    above, below = page.get_by_test_id(f"hub-{PROVINCE[0]}"), page.get_by_test_id(f"hub-{DISTRICT[0]}")
    await expect(above).to_contain_text("已连接")
    await expect(above).to_contain_text("ms")
    await expect(page.get_by_label(OTHER_DISTRICT[0])).to_contain_text("已邀请")
    await expect(below).to_contain_text("待确认")
    assert await violations(page) == []
    await below.get_by_role("button", name="接受").click()
    await expect(below).to_contain_text("已连接")
    await until(district, CITY[0], state="up")
    await page.get_by_test_id("language").click()
    await expect(above).to_contain_text("Connected")
    assert await violations(page) == []
    await page.get_by_test_id("language").click()
    # The other side ends it: shown with what to do, and taken off the list.
    await district.ask("hub_end", hub=CITY[0], reason="reorganised")
    await expect(below).to_contain_text("LINK_ENDED")
    await expect(below).to_contain_text("对方已终止级联")
    await expect(below).to_contain_text("已中断")
    await expect(below).to_contain_text("最近收到消息")
    assert await violations(page) == []
    await below.get_by_role("button", name="终止级联").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_role("textbox").fill("已确认")
    assert await violations(page) == []
    await dialog.get_by_role("button", name="终止级联").click()
    await expect(below).to_have_count(0)
    entries = (await city.ask("audit_list", action="hub.end"))["entries"]
    assert [one["principal"] for one in entries] == ["user/guan"]


async def test_a_supervisor_looks_and_an_operator_does_not(levels: tuple[HubProcess, ...], page: Page):
    await opened(page, "jian")
    await expect(page.get_by_test_id(f"hub-{PROVINCE[0]}")).to_contain_text("已连接")
    await expect(page.get_by_role("button", name="终止级联")).to_have_count(0)
    await page.get_by_test_id("logout").click()
    await logged_in(page, "cao")
    await expect(page.get_by_test_id("page-network")).to_have_count(0)


async def test_what_the_other_hub_would_see_is_shown_before_it_is_shared(levels: tuple[HubProcess, ...], page: Page):
    province, city, _ = levels
    ids = await register(await enrol(city), camera(1), camera(2))
    await opened(page, "guan")
    above = page.get_by_test_id(f"hub-{PROVINCE[0]}")
    await above.get_by_role("button", name="共享预览").click()
    dialog = page.get_by_role("dialog")
    give = dialog.get_by_role("button", name="按此共享")
    await dialog.get_by_role("button", name="预览").click()
    await expect(dialog.locator("#share-scope-fault")).not_to_be_empty()
    await expect(give).to_be_disabled()
    await dialog.get_by_label("行政区划").fill("3606")
    await dialog.get_by_role("button", name="预览").click()
    seen = dialog.get_by_test_id("share-preview")
    await expect(seen).to_contain_text("共 2 个摄像机，其中 2 个")
    for camera_id in ids:
        await expect(seen).to_contain_text(camera_id)
    assert await violations(page) == []
    assert (await city.ask("hub_shares", hub=PROVINCE[0]))["shares"] == []
    # Another rule is another preview.
    await dialog.get_by_label("依法登记信息").check()
    await expect(seen).to_have_count(0)
    await expect(give).to_be_disabled()
    await dialog.get_by_role("button", name="预览").click()
    await give.click()
    await expect(dialog).to_have_count(0)
    await expect(above).to_contain_text("出 2")
    (share,) = (await city.ask("hub_shares", hub=PROVINCE[0]))["shares"]
    assert (share["scope"], share["fields"]) == ({"region_prefixes": ["3606"]}, ["legal"])
    await in_step(city, province, 2)
    # A supervisor looks, and shares nothing.
    await page.get_by_test_id("logout").click()
    await opened(page, "jian")
    await above.get_by_role("button", name="共享预览").click()
    await dialog.get_by_label("全部摄像机").check()
    await dialog.get_by_role("button", name="预览").click()
    await expect(seen).to_contain_text("共 2 个摄像机，其中 0 个")
    await expect(give).to_have_count(0)


async def test_a_rule_of_the_same_scope_is_changed_from_what_it_has(levels: tuple[HubProcess, ...], page: Page):
    """It may be watched for patrols, not live: to add the legal record to it widens nothing else."""
    _, city, _ = levels
    where = {"hub": PROVINCE[0], "region_prefixes": ["3606", "3601"]}
    await city.ask("hub_share", **where, actions=["list"], purposes=["patrol"], fields=["device"])
    await opened(page, "guan")
    await page.get_by_test_id(f"hub-{PROVINCE[0]}").get_by_role("button", name="共享预览").click()
    dialog = page.get_by_role("dialog")
    live, legal = dialog.get_by_label("实时视频"), dialog.get_by_label("依法登记信息")
    standing = dialog.get_by_test_id("share-standing")
    await expect(live).to_be_checked()
    await expect(standing).to_have_count(0)
    await dialog.get_by_label("行政区划").fill("3601 3606")
    await expect(standing).to_contain_text("已有共享规则")
    await expect(live).not_to_be_checked()
    await expect(dialog.get_by_label("设备信息")).to_be_checked()
    await legal.check()
    await expect(standing).to_contain_text("将增加：依法登记信息")
    assert await violations(page) == []
    await dialog.get_by_role("button", name="预览").click()
    await dialog.get_by_role("button", name="修改该规则").click()
    await expect(dialog).to_have_count(0)
    rules = (await city.ask("hub_shares", hub=PROVINCE[0]))["shares"]
    (rule,) = [one for one in rules if len(one["scope"].get("region_prefixes", ())) == 2]
    assert (rule["actions"], rule["purposes"], sorted(rule["fields"])) == (["list"], ["patrol"], ["device", "legal"])
    await city.ask("hub_unshare", **where)


async def test_a_supervisor_asks_who_sees_a_camera_and_whose_its_id_is(levels: tuple[HubProcess, ...], page: Page):
    province, city, _ = levels
    # The province's first: what the city shares with it must not come before.
    (camera_id,) = await register(await enrol(province), camera(9))
    await register(await enrol(city), camera(9))
    await province.ask("hub_share", hub=CITY[0], camera_ids=[camera_id])

    async def offered() -> bool:
        found = (await city.ask("hub_explain", camera_id=camera_id))["reasons"]
        return any(one["hub"] == "" and one["reason"] == "CONFLICT" for one in found)

    async with asyncio.timeout(30):
        while not await offered():  # noqa: ASYNC110 - what is not taken is told by no event
            await asyncio.sleep(0.05)
    await opened(page, "jian")
    await page.get_by_role("button", name="查询摄像机").click()
    dialog = page.get_by_role("dialog")
    assign = dialog.get_by_role("button", name="裁定归属")
    await expect(assign).to_have_count(0)
    await dialog.get_by_label("摄像机编码").fill(camera_id)
    await dialog.get_by_role("button", name="查询").click()
    findings = dialog.get_by_test_id("findings")
    await expect(findings).to_contain_text("未被接受")
    # In the console's language, and of the hubs that claim it: the district has nothing to do with it.
    await expect(findings).to_contain_text(f"该编码已由“{CITY[0]}”的摄像机使用")
    assert not re.search(r"camera|offers|taken", await findings.inner_text())
    assert await dialog.get_by_label("归属平台").locator("option").all_inner_texts() == [PROVINCE[0], CITY[0]]
    await expect(assign).to_be_disabled()
    await dialog.get_by_label("归属平台").select_option(PROVINCE[0])
    await dialog.get_by_label("原因").fill("编码在先")
    assert await violations(page) == []
    await assign.click()
    # The city's own unit has it: that is for the unit to retire.
    await expect(dialog.get_by_role("alert")).to_contain_text("该编码属于（或曾属于）本平台")
    assert (await city.ask("audit_list", action="catalogue.assign"))["entries"] == []


async def test_rules_are_listed_and_taken_back_once_the_loss_was_shown(levels: tuple[HubProcess, ...], page: Page):
    _, city, _ = levels
    for rule in (await city.ask("hub_shares", hub=PROVINCE[0]))["shares"]:
        await city.ask("hub_unshare", hub=PROVINCE[0], **rule["scope"])
    ids = await register(await enrol(city), camera(21), camera(22))
    for shared in (ids, ids[:1]):
        await city.ask("hub_share", hub=PROVINCE[0], camera_ids=shared, actions=["list"], purposes=["patrol"])
    await opened(page, "jian")
    above = page.get_by_test_id(f"hub-{PROVINCE[0]}")
    await above.get_by_role("button", name="共享规则").click()
    dialog = page.get_by_role("dialog")
    item = dialog.get_by_test_id("rules-to").get_by_role("listitem").filter(has_text=ids[1])
    await expect(item).to_contain_text("日常巡查")
    await expect(item.get_by_role("button")).to_have_count(0)
    assert await violations(page) == []
    await dialog.get_by_role("button", name="关闭").click()
    await page.get_by_test_id("logout").click()
    await opened(page, "guan")
    await above.get_by_role("button", name="共享规则").click()
    await item.get_by_role("button", name="撤回").click()
    await expect(item.get_by_test_id("rule-loss")).to_contain_text("失去 1 个摄像机")
    await expect(item.get_by_test_id("rule-loss")).to_contain_text("另有 1 个仍由其他规则共享")
    assert await violations(page) == []
    await item.get_by_role("button", name="确认撤回").click()
    await expect(item).to_have_count(0)
    left = (await city.ask("hub_shares", hub=PROVINCE[0]))["shares"]
    assert [one["scope"] for one in left if "camera_ids" in one["scope"]] == [{"camera_ids": ids[:1]}]
    await city.ask("hub_unshare", hub=PROVINCE[0], camera_ids=ids[:1])


async def test_cameras_that_are_not_taken_are_listed_with_whose_they_are(levels: tuple[HubProcess, ...], page: Page):
    province, city, _ = levels
    (camera_id,) = await register(await enrol(province), camera(31))
    await register(await enrol(city), camera(31))
    await province.ask("hub_share", hub=CITY[0], camera_ids=[camera_id])
    await opened(page, "jian")
    above = page.get_by_test_id(f"hub-{PROVINCE[0]}")
    await above.get_by_role("button", name="未被接受的摄像机").click(timeout=30_000)
    dialog = page.get_by_role("dialog")
    row = dialog.get_by_role("row").filter(has_text=camera_id)
    await expect(row).to_contain_text(f"“{PROVINCE[0]}”提供给“{CITY[0]}”")
    await expect(row).to_contain_text(f"该编码已由“{CITY[0]}”的摄像机使用")
    # The city's own unit has it: nothing is to be decided here.
    await expect(row.get_by_role("button")).to_have_count(0)
    assert await violations(page) == []
