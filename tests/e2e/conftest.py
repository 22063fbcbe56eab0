"""One hub with cameras for all tests of the console, and Chromium."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Playwright, ViewportSize, async_playwright
from support.console import AXE, FLAGS, Console
from support.hub import PASSWORD, HubProcess, camera_message, enrol, hub

from vidhub.cli import clips
from vidhub.cli.camera_sim import CACHE
from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc

from .office import PATIENCE_MS, OfficePage

LOGIN = {"username": "admin", "password": "hunter22"}
SETTINGS = {"VIDHUB_SOURCE__ALLOW": "127.0.0.0/8", "VIDHUB_STREAM__LINGER_S": "1"}
SIZE: ViewportSize = {"width": 1280, "height": 760}


class SimProcess:
    """`vidhub camera-sim` in a process of its own, which can be held still and killed."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url

    def hold(self) -> None:
        """Sends nothing any more, its connections stay open: a camera that hangs."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def camera_sim(source: Path) -> AsyncIterator[SimProcess]:
    words = ("camera-sim", str(source), "--username", LOGIN["username"], "--password-stdin")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vidhub.cli", "--json", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{LOGIN['password']}\n".encode())
    try:
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        yield SimProcess(process, json.loads(line)["ready"]["urls"][0])
    finally:
        process.kill()
        await process.wait()


@dataclass
class Site:
    """The hub, its cameras, and the people who may watch them."""

    hub: HubProcess
    steady: SimProcess
    frail: SimProcess
    clip: clips.Clip
    _people: int = field(default=0, init=False)

    async def operator(self, *purposes: str) -> tuple[str, str]:
        """An account of its own and the id of its grant, so that what is done to one test touches no other."""
        self._people += 1
        name = f"operator{self._people}"
        await self.hub.ask(
            "user_add", name=name, roles=["operator"], password=PASSWORD, department="指挥中心", display_name="张警官"
        )
        given = await self.hub.ask(
            "grant_create",
            username=name,
            region_prefixes=["3606"],
            actions=["view_live"],
            purposes=list(purposes or ("patrol", "investigation")),
            not_after=(datetime.now(UTC) + timedelta(days=1)).isoformat(),
        )
        return name, given["id"]


async def register(running: HubProcess, *urls: str, sub: str = "") -> None:
    """sub: address of the first camera's sub stream."""
    unit = await enrol(running)
    cameras = [camera_message(number, url) for number, url in enumerate(urls, start=1)]
    if sub:
        stream = cameras[0].streams.add()
        stream.CopyFrom(cameras[0].streams[0])
        stream.profile, stream.url = camera_pb2.STREAM_PROFILE_SUB, sub
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        answer = await stub.BatchRegisterCameras(
            camera_service_pb2.BatchRegisterCamerasRequest(cameras=cameras), timeout=30
        )
    assert not answer.rejected, answer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    source = next(path for path in clips.packaged() if path.stem == "bigbuckbunny")
    clip = await asyncio.to_thread(clips.prepare, source, CACHE)
    data = tmp_path_factory.mktemp("hub") / "data"
    async with (
        camera_sim(source) as steady,
        camera_sim(source) as frail,
        hub(data, **SETTINGS) as running,
    ):
        # Port 9 discards; nothing listens there.
        await register(running, steady.url, frail.url, "rtsp://127.0.0.1:9/off", sub=steady.url)
        yield Site(running, steady, frail, clip)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(playwright: Playwright) -> AsyncIterator[Browser]:
    path = shutil.which("chromium")
    assert path, "chromium is not installed: make setup"
    browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
    yield browser
    await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def context(chromium: Browser, site: Site) -> AsyncIterator[BrowserContext]:
    """A browser without a past."""
    fresh = await chromium.new_context(base_url=site.hub.url, viewport=SIZE, locale="zh-CN")
    fresh.set_default_timeout(PATIENCE_MS)
    yield fresh
    await fresh.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> Page:
    return await context.new_page()


@pytest.fixture
def console(page: Page) -> Console:
    return Console(page)


@pytest_asyncio.fixture(loop_scope="session")
async def office(chromium: Browser, site: Site) -> AsyncIterator[OfficePage]:
    """A browser without a past, with axe, that must not break the page's policy but for that."""
    fresh = await chromium.new_context(
        base_url=site.hub.url, viewport={"width": 1366, "height": 768}, locale="zh-CN", bypass_csp=True
    )
    fresh.set_default_timeout(PATIENCE_MS)
    await fresh.add_init_script(path=AXE)
    yield OfficePage(await fresh.new_page(), site.hub)
    await fresh.close()
