"""What holds for every state of the page: the policy, one origin, and access for everybody."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from support.console import AXE, OFF, STEADY, Console, violations
from support.hub import PASSWORD

from .conftest import SIZE
from .office import PATIENCE_MS

pytestmark = pytest.mark.asyncio(loop_scope="session")

_REPORT = """addEventListener('securitypolicyviolation', (event) =>
  console.error(event.violatedDirective, event.blockedURI))"""


async def test_the_page_keeps_to_its_policy_and_to_its_origin(site, console: Console):
    page = console.page
    said: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    await page.add_init_script(_REPORT)
    name, _ = await site.operator()
    answer = await page.goto("/")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    await console.type_login(name)
    await console.watch(STEADY)
    await page.get_by_test_id("language").click()
    await page.set_viewport_size({"width": 700, "height": 700})
    await page.get_by_role("button", name="Close").click()
    await page.get_by_test_id("logout").click()
    await page.get_by_label("Username").wait_for()
    assert said == []
    assert {url for url in requests if not url.startswith(f"{site.hub.url}/")} == set()


@pytest.mark.parametrize("role", ["supervisor", "unit"])
async def test_every_page_of_a_role_keeps_to_the_policy(site, console: Console, role: str):
    page = console.page
    said: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    await page.add_init_script(_REPORT)
    units = (await site.hub.ask("unit_list"))["units"]
    unit_id = next(one["id"] for one in units if one["name"] == "第一中学")
    name = f"{role}_looks"
    await site.hub.ask("user_add", name=name, roles=[role], password=PASSWORD, unit_id=unit_id)
    await console.open()
    await console.type_login(name)
    pages = page.locator("[data-testid^=page-]")
    await pages.first.wait_for()
    for one in await pages.all():
        await one.click()
        await expect(one).to_have_attribute("aria-current", "page")
        await page.locator("main").first.wait_for()
    if role == "unit":
        await page.get_by_test_id("page-unit").click()
        async with page.expect_download():
            await page.get_by_role("button", name="下载模板").click()
    # Drawing a map without a GPU is slow, as Chromium itself remarks now and then.
    assert [words for words in said if "GL Driver Message" not in words] == []
    assert {url for url in requests if not url.startswith((f"{site.hub.url}/", f"blob:{site.hub.url}/"))} == set()


async def test_on_a_phone_no_page_is_wider_than_it_and_the_map_is_there(site, console: Console):
    page = console.page
    await page.set_viewport_size({"width": 390, "height": 844})
    await site.hub.ask("user_add", name="phone_looks", roles=["supervisor"], password=PASSWORD)
    await console.open()
    await console.type_login("phone_looks")
    pages = page.locator("[data-testid^=page-]")
    await pages.first.wait_for()
    for one in await pages.all():
        await one.click()
        await expect(one).to_have_attribute("aria-current", "page")
        await expect(one).to_be_in_viewport(ratio=0.95)
        await page.locator("main").first.wait_for()
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= 390, page.url
    # Also by its address, which nobody has pushed the line for.
    await page.get_by_test_id("page-network").click()
    await page.reload()
    await expect(page.get_by_test_id("page-network")).to_be_in_viewport(ratio=0.95)
    await page.get_by_test_id("page-map").click()
    map_box = await page.get_by_test_id("map").bounding_box()
    assert map_box is not None
    assert map_box["height"] > 250


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium: Browser, site) -> AsyncIterator[Page]:
    """axe is put into the page, which its policy would not let in."""
    context = await chromium.new_context(base_url=site.hub.url, viewport=SIZE, locale="zh-CN", bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    await context.add_init_script(path=AXE)
    yield await context.new_page()
    await context.close()


@pytest.mark.parametrize("language", ["zh-CN", "en"])
async def test_axe_finds_nothing_in_any_state(site, open_page: Page, language: str):
    console = Console(open_page)
    name, _ = await site.operator()
    found: dict[str, list[str]] = {}

    async def look(state: str) -> None:
        found[state] = await violations(open_page)

    await console.open()
    if language == "en":
        await open_page.get_by_test_id("language").click()
    await look("login")
    await console.type_login("nobody", "not-the-password-1")
    await console.alert.wait_for()
    await look("login refused")
    await console.log_in(name)
    await expect(console.camera(OFF)).to_have_attribute("data-state", "offline")
    await look("tree")
    await console.choose(STEADY)
    await open_page.get_by_test_id("open-live").click()
    await console.alert.wait_for()
    await look("dialog")
    await console.state_purpose()
    await console.phase("live")
    await look("live")
    await console.choose(OFF)
    await console.state_purpose()
    await console.alert.wait_for()
    await look("camera off")
    await open_page.set_viewport_size({"width": 600, "height": 700})
    await look("narrow")
    assert {state: problems for state, problems in found.items() if problems} == {}
    assert await open_page.evaluate("() => document.documentElement.lang") == language
