"""The shared catalogue at size: a province on one core, four cities with 100,000 cameras on another."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from benches import ROOT, programs
from benches.figures import Figures, Mark
from benches.measure import Reading, Use, percentile
from benches.media import on_core
from vidhub import config
from vidhub.app import App
from vidhub.model import CameraFilter, CameraState, CoreEvent, HubLevel

CITIES = 4
RATE = 1_000
DARK = 20_000
UPPER = "jiangxi"
PATIENCE_S = 600.0
_ONLINE = CameraFilter(states=(CameraState.ONLINE,))
SIZE = "The catalogue over links, {:,} cameras of 4 cities at one province"


class Cities:
    """The program that the cities run in."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise programs.Failed("the cities ended")
        return dict(json.loads(line))


async def measure(
    figures: Figures, step: Callable[[str], None], *, cores: tuple[int, int], cameras: int, rounds: int
) -> None:
    """cores: of the province, of the cities. cameras: in all."""
    group = SIZE.format(cameras)
    # The province runs in this process: what it has to say would run into the progress that is shown.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    each = cameras // CITIES
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidhub-bench-")))
        ports = {"listen.grpc": _free_port(), "listen.rtsps": _free_port()}
        before = os.sched_getaffinity(0)
        stack.callback(os.sched_setaffinity, 0, before)
        async with _cities(folder, each, cores[1]) as cities:
            os.sched_setaffinity(0, {cores[0]})
            async with _province(folder, ports) as province:
                step("filling the cities")
                await cities.do("fill", version=0)
                bare = _memory_kib()
                step("the first time: everything")
                await cities.do("join", invitations=await _invitations(province))
                begun, first = time.perf_counter(), Reading.take(os.getpid(), cores[0])
                await _accept(province)
                await _until(lambda: province._parts.core.counts()["cameras"] == cameras)
                spent, use = time.perf_counter() - begun, Use.between(first, Reading.take(os.getpid(), cores[0]))
                figures.add(group, "everything, the first time", "s", spent)
                figures.add(group, "CPU of the province for it", "ms/1,000 cameras", 1e6 * use.cpu_s / cameras)
                figures.add(group, "memory of the province", "bytes/camera", 1024 * (_memory_kib() - bare) / cameras)
                await cities.do("mark")
                # What each city knew at the beginning goes first.
                await _until(lambda: _marked(province) == CITIES)
                for number in range(rounds):
                    await _moving(province, cities, figures, group, step, f"{number + 1} of {rounds}", min(DARK, each))
            for number in range(rounds):
                for changes, label in ((2, "by deltas"), (4, "past the end of the log: by comparing")):
                    step(f"catching up {label}, {number + 1} of {rounds}")
                    for version in range(changes):
                        await cities.do("fill", version=1 + version + 10 * changes + 100 * number, cities=1)
                    wanted = await cities.do("digest", hub=UPPER)
                    async with _province(folder, ports) as province:
                        await _until(lambda: _is_up(province, "city-0"))
                        begun = time.perf_counter()
                        first = [Reading.take(pid, cores[0]) for pid in (os.getpid(), cities.pid)]
                        await _is_at(province, wanted)
                        spent = time.perf_counter() - begun
                        last = [Reading.take(pid, cores[0]) for pid in (os.getpid(), cities.pid)]
                        name = f"{changes * each:,} changes of {each:,} cameras, {label}"
                        mark = Mark(10) if changes == 4 else None
                        figures.add(group, f"catching up with {name}", "s", spent, mark=mark)
                        for side, before_, after in zip(("province", "city"), first, last, strict=True):
                            figures.add(group, f"CPU of the {side} for it, {label}", "s", after.cpu_s - before_.cpu_s)


async def _moving(
    province: App, cities: Cities, figures: Figures, group: str, step: Callable[[str], None], of: str, dark: int
) -> None:
    seen: list[float] = []
    core, system = province._parts.core, province._parts.system

    def note(events: Sequence[CoreEvent]) -> None:
        now = time.time()
        for event in events:
            if event.kind == "camera_state":
                camera = core.get_camera(system, event.subject)
                if camera.state_time is not None:
                    seen.append(now - camera.state_time.timestamp())

    core.listen(note)
    try:
        step(f"{RATE:,} states a second, {of}")
        pid, at = os.getpid(), min(os.sched_getaffinity(0))
        first = Reading.take(pid, at)
        await cities.do("states", rate=RATE, seconds=10, of=of)
        await asyncio.sleep(1)
        use = Use.between(first, Reading.take(pid, at))
        if len(seen) < 9 * RATE:
            raise programs.Failed(f"only {len(seen)} states came to the top")
        label = f"a state, from the city's core to the province's, at {RATE:,}/s"
        figures.add(group, f"{label}, p50", "ms", 1e3 * percentile(seen, 0.5))
        figures.add(group, f"{label}, p99", "ms", 1e3 * percentile(seen, 0.99), mark=Mark(1_000))
        figures.add(group, "CPU of the province meanwhile", "% of a core", 100 * use.cpu_s / use.wall_s)
        step(f"{dark:,} cameras go dark, {of}")
        for word in ("light", "dark"):  # that the second is news for all
            seen.clear()
            await cities.do(word, cameras=dark)
            await _until(lambda: len(seen) >= dark)
        figures.add(group, f"{dark:,} cameras go dark at once: all known at the top", "s", max(seen))
    finally:
        core._listeners.remove(note)


@contextlib.asynccontextmanager
async def _cities(folder: Path, each: int, core: int) -> AsyncIterator[Cities]:
    with on_core(core):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benches.cities", str(folder), str(CITIES), str(each)),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))},
        )  # fmt: skip
    try:
        cities = Cities(process)
        await cities.answer()
        yield cities
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def _province(folder: Path, ports: dict[str, str]) -> AsyncIterator[App]:
    flags = {f"listen.{name}": "127.0.0.1:0" for name in ("http", "rtsp", "rtsp_udp", "webrtc", "metrics")}
    names = {"HUB__ID": UPPER, "HUB__NAME": UPPER, "HUB__LEVEL": "province", "HUB__REGION": "360000"}
    options = config.load(
        environment={f"VIDHUB_{key}": value for key, value in names.items()},
        flags={"data_dir": folder / UPPER, **flags, **ports},
    )
    app = await App.open(options, online=True)
    try:
        await app.start()
        yield app
    finally:
        await app.close()


async def _invitations(province: App) -> list[dict[str, str]]:
    grpc, rtsps = (str(province.addresses[name]) for name in ("grpc", "rtsps"))
    found = []
    for number in range(CITIES):
        _, invitation = await province._parts.links.linking.invite(
            province._parts.system, f"city-{number}", HubLevel.CITY, f"360{number + 1}00", hub=grpc, media=rtsps
        )
        found.append(invitation)
    return found


async def _accept(province: App) -> None:
    for number in range(CITIES):
        await province._parts.links.linking.accept(province._parts.system, f"city-{number}")


def _is_up(province: App, city: str) -> bool:
    return province._parts.links.links.get(city) is not None


def _marked(province: App) -> int:
    page = province._parts.core.list_cameras(province._parts.system, _ONLINE, limit=CITIES)
    return len(page.cameras)


async def _is_at(province: App, wanted: dict[str, Any]) -> None:
    """Until the province is where the first city is; then both have to tell the same digest."""
    parts = province._parts

    def is_there() -> bool:
        hub = parts.links.peers.get("city-0")
        return hub is not None and hub.have is not None and hub.have.number >= wanted["revision"]

    await _until(is_there)
    found = await parts.links.desk.digest(parts.system, "city-0")
    if (found.up[0], found.up[1].hex()) != (wanted["cameras"], wanted["sha256"]):
        raise programs.Failed("the catalogues differ")


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - there is nothing to wait on in a foreign process
            await asyncio.sleep(0.05)


def _memory_kib() -> int:
    gc.collect()
    return Reading.take(os.getpid(), min(os.sched_getaffinity(0))).memory_kib


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"
