"""The console in Chromium against a whole hub: what a person sees, and what they are told when they see nothing."""

import asyncio
import re
import time

import pytest
from playwright.async_api import expect
from support.console import FRAIL, OFF, STEADY, Console

pytestmark = pytest.mark.asyncio(loop_scope="session")
# What the tile says from now on, for one who may look too late to see it.
_NOTE_STATES = """() => {
  window.states = [];
  const note = () => states.push(document.querySelector('[data-testid=tile-state]')?.textContent.trim() ?? '');
  new MutationObserver(note).observe(document.body, { childList: true, characterData: true, subtree: true });
}"""


async def test_a_person_logs_in_finds_a_camera_states_a_purpose_and_sees_it_move(site, console: Console):
    name, _ = await site.operator()
    await console.log_in(name)
    await expect(console.state).to_have_text("请选择摄像机")
    tree = console.page.get_by_role("tree")
    await expect(tree.get_by_role("treeitem")).to_have_count(5)
    await expect(tree.get_by_role("treeitem").nth(0)).to_contain_text("月湖区")
    await expect(tree.get_by_role("treeitem").nth(1)).to_contain_text("第一中学")
    await console.page.get_by_test_id("camera-search").fill("dm1")
    await expect(tree.get_by_role("treeitem")).to_have_count(3)
    await expect(console.camera(STEADY)).to_contain_text("在线")
    await console.choose(STEADY)
    await console.state_purpose("investigation", "鹰公(刑)字〔2026〕12号")
    await console.phase("live")
    await expect(console.tile).to_contain_text("用途：案件侦查 · 鹰公(刑)字〔2026〕12号")
    await expect(console.page.get_by_test_id("watermark")).to_contain_text(re.compile(r"张警官 .*127\.0\.0\.1"))
    begun, before = time.monotonic(), await console.shown()
    await console.frames(50)
    after, took = await console.shown(), time.monotonic() - begun
    assert after[0] - before[0] >= 45
    assert 1.5 < after[1] - before[1] < took + 1
    await expect(console.state).to_have_text("实时")
    await expect(console.tile).to_contain_text(re.compile("1280×720.*H264"))
    await expect(console.alert).to_have_count(0)


async def test_a_wrong_login_is_refused_and_says_so(site, console: Console):
    await console.open()
    await console.type_login("nobody", "not-the-password-1")
    await expect(console.alert).to_have_text("用户名或密码不正确。")
    await expect(console.page.get_by_label("密码")).to_be_focused()


async def test_who_comes_back_is_still_logged_in_until_they_log_out(site, console: Console):
    name, _ = await site.operator()
    await console.log_in(name)
    await console.page.reload()
    await console.page.get_by_role("tree").wait_for()
    await console.page.get_by_test_id("logout").click()
    await console.page.get_by_label("用户名").wait_for()
    await console.page.reload()
    await console.page.get_by_label("用户名").wait_for()
    await expect(console.alert).to_have_count(0)


async def test_who_clicks_twice_to_open_a_picture_fills_no_screen_with_it(site, console: Console):
    name, _ = await site.operator()
    await console.log_in(name)
    await console.choose(STEADY)
    await console.page.get_by_test_id("purpose-kind").select_option("patrol")
    await console.page.get_by_test_id("open-live").dblclick()
    await console.phase("live")
    await console.frames(5)
    assert await console.page.evaluate("document.fullscreenElement === null")
    # Twice on the picture itself does.
    await console.tile.locator("video").dblclick()
    await console.page.wait_for_function("document.fullscreenElement !== null")


async def test_logging_out_ends_the_view_on_record(site, console: Console):
    name, _ = await site.operator()
    await console.log_in(name)
    await console.watch(STEADY)
    await console.page.get_by_test_id("logout").click()
    await console.page.get_by_label("用户名").wait_for()
    asked = {"principal": f"user/{name}", "camera_id": "", "action": "session.close", "limit": 10}
    entries: dict[str, object] = {}
    try:
        async with asyncio.timeout(30):
            while "SESSION_CLOSED" not in str(entries):
                entries = await site.hub.ask("audit_list", **asked)
    except TimeoutError:
        pytest.fail(f"the view's end is not on record: {entries}")


async def test_no_purpose_or_a_missing_reference_is_said_in_the_dialog(site, console: Console):
    name, _ = await site.operator()
    await console.log_in(name)
    await console.choose(STEADY)
    await console.page.get_by_test_id("open-live").click()
    await expect(console.alert).to_have_text("请选择用途。")
    await expect(console.page.get_by_test_id("purpose-kind")).to_be_focused()
    await console.state_purpose("investigation")
    await expect(console.alert).to_have_text("该用途必须填写案件或文书编号。")
    await expect(console.page.get_by_test_id("purpose-reference")).to_be_focused()
    await console.page.keyboard.press("Escape")
    await expect(console.dialog).to_have_count(0)


async def test_a_purpose_that_was_not_granted_is_refused_and_another_can_be_stated(site, console: Console):
    name, _ = await site.operator("patrol")
    await console.log_in(name)
    await console.choose(STEADY)
    await console.state_purpose("traffic")
    await expect(console.alert).to_contain_text("您的授权不包含该用途。")
    await expect(console.state).to_have_text("无法打开")
    await console.page.get_by_role("button", name="更换用途").click()
    await console.state_purpose("patrol")
    await console.phase("live")


async def test_a_grant_revoked_before_the_view_opens_refuses_it(site, console: Console):
    name, grant = await site.operator()
    await console.log_in(name)
    await console.choose(STEADY)
    await site.hub.ask("grant_revoke", id=grant, reason="test")
    await console.state_purpose()
    await expect(console.alert).to_contain_text("您没有查看该摄像机的授权")
    await expect(console.page.get_by_role("treeitem")).to_have_count(0)


async def test_a_grant_revoked_while_watching_ends_the_picture_and_says_why(site, console: Console):
    name, grant = await site.operator()
    await console.log_in(name)
    await console.watch(STEADY)
    await site.hub.ask("grant_revoke", id=grant, reason="test")
    await expect(console.alert).to_contain_text("授权已被撤销。")
    await expect(console.state).to_have_text("已结束")
    assert await console.page.evaluate("() => document.querySelector('video').srcObject") is None


async def test_who_is_suspended_while_watching_is_led_out_and_told(site, console: Console):
    name, _ = await site.operator()
    await console.log_in(name)
    await console.watch(STEADY)
    await site.hub.ask("user_suspend", name=name)
    await expect(console.alert).to_contain_text("该账号已停用")
    await expect(console.page.get_by_label("用户名")).to_be_visible()


async def test_a_camera_that_is_off_is_said_to_be(site, console: Console):
    name, _ = await site.operator()
    await console.log_in(name)
    await expect(console.camera(OFF)).to_contain_text("离线")
    await console.choose(OFF)
    await expect(console.dialog).to_contain_text("摄像机没有应答")
    await console.state_purpose()
    await expect(console.alert).to_contain_text("无法连接摄像机")
    await console.page.get_by_role("button", name="关闭").click()
    await expect(console.state).to_have_text("请选择摄像机")


async def test_a_picture_that_stands_still_is_called_so_and_no_more_when_it_moves(site, console: Console):
    name, _ = await site.operator()
    await console.log_in(name)
    await console.watch(FRAIL)
    await console.page.evaluate(_NOTE_STATES)
    site.frail.hold()
    try:
        await expect(console.state).to_have_text(re.compile(r"^画面已停止 \d+ 秒$"))
        await expect(console.alert).to_contain_text("所见为旧画面")
        # Warned within a second of the third, by what the page showed first.
        first = next(text for text in await console.page.evaluate("states") if text.startswith("画面已停止"))
        assert first in ("画面已停止 3 秒", "画面已停止 4 秒")
        # Seconds are counted, also past the keyframe that the browser asks for after three of them.
        await expect(console.state).to_have_text(re.compile(r"^画面已停止 ([5-9]|\d\d) 秒$"))
    finally:
        site.frail.go_on()
    await console.phase("live", 20)
    await console.frames(25)
    await expect(console.alert).to_have_count(0)


async def test_it_is_used_without_a_mouse(site, console: Console):
    name, _ = await site.operator()
    await console.log_in(name)
    keyboard = console.page.keyboard
    await console.page.locator("body").focus()
    await keyboard.press("/")
    await expect(console.page.get_by_test_id("camera-search")).to_be_focused()
    await keyboard.press("Tab")
    tree = console.page.get_by_role("tree")
    await expect(tree).to_be_focused()
    await keyboard.press("Home")
    await keyboard.press("ArrowLeft")
    await expect(tree.get_by_role("treeitem")).to_have_count(1)
    await keyboard.press("ArrowRight")
    await expect(tree.get_by_role("treeitem")).to_have_count(5)
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        await keyboard.press(key)
    await expect(console.dialog).to_contain_text(STEADY)
    await keyboard.press("Escape")
    await expect(console.dialog).to_have_count(0)
    await expect(tree).to_be_focused()
    await keyboard.press("Enter")
    await expect(console.page.get_by_test_id("purpose-kind")).to_be_focused()
    await keyboard.press("ArrowDown")
    await keyboard.press("Tab")
    await expect(console.page.get_by_test_id("purpose-reference")).to_be_focused()
    await keyboard.press("Enter")
    await console.phase("live")
    await expect(tree).to_be_focused()
    await expect(console.camera(STEADY)).to_have_attribute("aria-selected", "true")


async def test_every_word_changes_with_the_language(site, console: Console):
    name, _ = await site.operator()
    await console.open()
    await console.page.get_by_test_id("language").click()
    await expect(console.page.locator("html")).to_have_attribute("lang", "en")
    await expect(console.page).to_have_title("vidhub · Public-safety video sharing")
    await console.type_login(name)
    await console.watch(STEADY)
    await expect(console.state).to_have_text("Live")
    await expect(console.camera(STEADY)).to_contain_text("online")
    await expect(console.tile).to_contain_text("Purpose: Routine patrol")
    await console.page.get_by_test_id("language").click()
    await expect(console.page.locator("html")).to_have_attribute("lang", "zh-CN")
    await expect(console.state).to_have_text("实时")
    await expect(console.tile).to_contain_text("用途：日常巡查")
