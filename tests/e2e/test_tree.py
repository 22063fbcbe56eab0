"""A catalogue that is too large to be held: counts by the hub, cameras by branch and page."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from support.console import Console
from support.hub import PASSWORD, HubProcess, UnitIdentity, camera_message, enrol, hub

from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc

from .conftest import SETTINGS, SIZE

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE_MS = 30_000
# Two pages of one unit in a region, and a few in another.
MANY, FEW = 1_300, 3


def of_guixi(number: int) -> camera_pb2.Camera:
    message = camera_message(number)
    message.id, message.region_code, message.name = f"360681001113220{number:05d}", "360681", f"龙虎山{number}"
    return message


async def register(unit: UnitIdentity, cameras: list[camera_pb2.Camera]) -> None:
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        for start in range(0, len(cameras), 1_000):
            request = camera_service_pb2.BatchRegisterCamerasRequest(cameras=cameras[start : start + 1_000])
            assert not (await stub.BatchRegisterCameras(request, timeout=60)).rejected


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def large(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[HubProcess, UnitIdentity]]:
    async with hub(tmp_path_factory.mktemp("large") / "data", **SETTINGS) as running:
        unit = await enrol(running)
        cameras = [camera_message(number) for number in range(1, MANY + 1)]
        await register(unit, [*cameras, *(of_guixi(number) for number in range(1, FEW + 1))])
        await running.ask("user_add", name="li", roles=["approver"], password=PASSWORD, display_name="李主任")
        yield running, unit


async def test_many_cameras_are_counted_opened_by_page_and_found(
    large: tuple[HubProcess, UnitIdentity], chromium: Browser
):
    running, unit = large
    context = await chromium.new_context(base_url=running.url, viewport=SIZE, locale="zh-CN")
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    console = Console(page)
    await console.open()
    await console.type_login("li")
    await page.get_by_test_id("page-live").click(timeout=PATIENCE_MS)
    tree = page.get_by_role("tree")
    await expect(tree.get_by_role("treeitem")).to_have_count(2, timeout=PATIENCE_MS)
    await expect(tree).to_contain_text(f"/ {MANY}")
    await tree.get_by_role("treeitem", name="贵溪").click()
    await tree.get_by_role("treeitem", level=2).click()
    await expect(tree.get_by_role("treeitem", level=3)).to_have_count(FEW, timeout=PATIENCE_MS)
    # A camera more is there, and counted, by itself.
    await register(unit, [of_guixi(FEW + 1)])
    await expect(tree.get_by_role("treeitem", level=3)).to_have_count(FEW + 1, timeout=PATIENCE_MS)
    await expect(tree.get_by_role("treeitem", name="贵溪")).to_contain_text(f"/ {FEW + 1}", timeout=PATIENCE_MS)
    # Two pages, of which the second is read when it comes into sight; few rows are in the page.
    await tree.get_by_role("treeitem", name="月湖").click()
    await expect(tree.get_by_role("treeitem", level=2)).to_have_count(2, timeout=PATIENCE_MS)
    await tree.get_by_role("treeitem", level=2).first.click()
    await expect(tree.get_by_role("treeitem", level=3).first).to_contain_text("东门1", timeout=PATIENCE_MS)
    last = tree.get_by_role("treeitem", name=f"东门{MANY}")
    await tree.evaluate("(box) => box.scrollTo(0, 30 * 1005)")
    await expect(tree.get_by_role("treeitem", name="东门1001")).to_be_visible(timeout=PATIENCE_MS)
    await tree.evaluate(f"(box) => box.scrollTo(0, 30 * {MANY - 5})")
    await expect(last).to_be_visible(timeout=PATIENCE_MS)
    assert await tree.get_by_role("treeitem").count() < 60
    # The hub searches all of them, by pinyin initials too.
    await page.get_by_test_id("camera-search").fill("lhs")
    await expect(tree.get_by_role("treeitem", level=3)).to_have_count(FEW + 1, timeout=PATIENCE_MS)
    await expect(tree).to_contain_text("龙虎山1")
    await context.close()
