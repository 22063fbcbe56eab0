"""`vidhub demo`: a hub for Yingtan on real video: units that enrolled, cameras they registered, and an operator."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from vidhub.cli import clips
from vidhub.cli.camera_sim import CACHE
from vidhub.cli.report import settings
from vidhub.errors import Internal, Unavailable

PORTS = {
    "http": 8080,
    "grpc": 50051,
    "rtsp": 8554,
    "rtsp-udp": 8556,
    "rtsps": 8322,
    "webrtc": 8555,
    "metrics": 9464,
}
OPERATOR = "zhang"
HUB_NAME = "鹰潭市"
# Time a program of ours may take to say that it is ready, and to end.
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class DemoUnit:
    name: str
    region: str
    industry: str
    place: str
    purpose: str
    # (name, latitude, longitude); places and coordinates are invented near the real ones.
    cameras: tuple[tuple[str, float, float], ...]


UNITS = (
    DemoUnit(
        "鹰潭市公安局月湖分局", "360602", "00", "road", "治安防控",
        (
            ("胜利西路与站江路口", 28.2402, 117.0213),
            ("鹰潭站前广场东", 28.2391, 117.0285),
            ("沿江路江滨公园", 28.2467, 117.0302),
        ),
    ),
    DemoUnit(
        "余江区第一中学", "360603", "11", "school", "校园安全",
        (("东校门", 28.2101, 116.8186), ("西校门", 28.2099, 116.8151), ("校前路公交站", 28.2094, 116.8190)),
    ),
    DemoUnit(
        "贵溪市人民医院", "360681", "09", "hospital", "医院公共区域安全",
        (("门诊楼入口", 28.2925, 117.2411), ("急诊通道", 28.2931, 117.2420)),
    ),
)  # fmt: skip


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    context: typer.Context,
    port_offset: int = typer.Option(0, min=0, max=10_000, help="Shifts every listener."),
    cache: Path = typer.Option(CACHE, help="Where prepared footage is kept."),
) -> None:
    """Run a demo hub until Ctrl-C. Without --data-dir its data are gone afterwards."""
    chosen = settings(context)
    with contextlib.ExitStack() as stack:
        if chosen.data_dir is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidhub-demo-")))
        else:
            home = Path(chosen.data_dir)
        try:
            asyncio.run(_demo(home, port_offset, cache, as_json=chosen.as_json))
        except asyncio.CancelledError:
            return


async def _demo(home: Path, port_offset: int, cache: Path, *, as_json: bool) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    data = home / "hub"
    work = home / "units"
    shutil.rmtree(work, ignore_errors=True)
    progress = Progress(
        SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=Console(stderr=True), disable=as_json,
    )  # fmt: skip

    @contextlib.contextmanager
    def step(name: str) -> Any:
        task = progress.add_task(name, total=1)
        yield
        progress.advance(task)

    async with contextlib.AsyncExitStack() as stack:
        setup = asyncio.create_task(_set_up(stack, data, work, port_offset, cache, step))
        with progress:
            waiting = asyncio.create_task(stopped.wait())
            await asyncio.wait({setup, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not setup.done():
                setup.cancel()
                await asyncio.wait({setup})
                return
        ready, password, hub = setup.result()
        urls = {"console": f"http://{ready['http']}", "metrics": f"http://{ready['metrics']}/metrics"}
        if as_json:
            print(json.dumps({"ready": ready, **urls, "user": OPERATOR, "password": password}), flush=True)
        else:
            lines = {"Console": urls["console"], "User": OPERATOR, "Password": password, "Metrics": urls["metrics"]}
            for name, value in lines.items():
                print(f"{name}  {value}", flush=True)
        ended = asyncio.create_task(hub.wait())
        await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and not stopped.is_set():
            raise Internal("HUB_ENDED", f"the hub ended by itself with status {hub.returncode}: see its log above")


async def _set_up(
    stack: contextlib.AsyncExitStack, data: Path, work: Path, port_offset: int, cache: Path, step: Any
) -> tuple[dict[str, Any], str, asyncio.subprocess.Process]:
    # Ended in the other order: the hub before its cameras.
    camera_stack = await stack.enter_async_context(contextlib.AsyncExitStack())
    hub_stack = await stack.enter_async_context(contextlib.AsyncExitStack())

    async def start_cameras() -> list[str]:
        with step("footage"):
            await asyncio.to_thread(lambda: [clips.prepare(source, cache) for source in clips.packaged()])
        with step("cameras"):
            _, said = await camera_stack.enter_async_context(_running("camera-sim", "--cache", str(cache)))
        return list(said["ready"]["urls"])

    async def start_hub() -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
        flags = [part for name, port in PORTS.items() for part in (f"--{name}", f"127.0.0.1:{port + port_offset}")]
        # The cameras are on this machine, where the hub would not dial of itself.
        environment = {"VIDHUB_SOURCE__ALLOW": "127.0.0.0/8", "VIDHUB_HUB__NAME": HUB_NAME}
        with step("hub"):
            return await hub_stack.enter_async_context(
                _running("serve", "--data-dir", str(data), *flags, environment=environment)
            )

    urls, (hub, ready) = await _together(start_cameras(), start_hub())
    password = secrets.token_urlsafe(12)
    with step(f"an operator; {len(UNITS)} units enrol and register {sum(len(unit.cameras) for unit in UNITS)} cameras"):
        await _together(_operator(data, password), _connect_all(data, work, urls))
    with step("console answers"):
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            (await client.get(f"http://{ready['ready']['http']}/")).raise_for_status()
    return ready["ready"], password, hub


async def _together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """All at the same time. What fails first is raised as it is, and the others are given up."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _connect_all(data: Path, work: Path, urls: list[str]) -> None:
    known = {each["name"] for each in (await _vidhub("unit", "list", "--data-dir", str(data)))["units"]}
    connecting = []
    number = 0
    for unit in UNITS:
        if unit.name not in known:
            connecting.append(_connect(unit, data, work, urls, number))
        number += len(unit.cameras)
    await _together(*connecting)


async def _connect(unit: DemoUnit, data: Path, work: Path, urls: list[str], number: int) -> None:
    """A unit's whole way: token, enrolment, registration through gRPC."""
    folder = work / unit.region
    token = folder / "enrolment.json"
    await _vidhub(
        "unit", "token", unit.name, "--region", unit.region, "--industry", unit.industry,
        "--out", str(token), "--data-dir", str(data),
    )  # fmt: skip
    await _vidhub("unit", "enrol", str(token), "--out", str(folder))
    table = folder / "cameras.csv"
    await asyncio.to_thread(table.write_text, _csv(unit, urls, number), encoding="utf-8")
    await _vidhub("camera", "register", str(table), "--identity", str(folder))


def _csv(unit: DemoUnit, urls: list[str], number: int) -> str:
    header = (
        "name,region_code,industry,place_category,location.latitude,location.longitude,main.url,main.transport,"
        "legal.place_basis,legal.purpose,legal.scope,legal.retention_days,legal.signage_text,legal.signage_date"
    )
    lines = [header]
    for place, (name, latitude, longitude) in enumerate(unit.cameras):
        url = urls[(number + place) % len(urls)]
        lines.append(
            f"{name},{unit.region},{unit.industry},{unit.place},{latitude},{longitude},{url},tcp,"
            f"公共安全视频图像信息系统管理条例第七条,{unit.purpose},出入口及公共区域,30,"
            f"您已进入公共视频采集区域,2025-04-01"
        )
    return "\n".join(lines) + "\n"


async def _operator(data: Path, password: str) -> None:
    where = ("--data-dir", str(data))
    users = (await _vidhub("user", "list", *where))["users"]
    if any(user["name"] == OPERATOR for user in users):
        await _vidhub("user", "passwd", OPERATOR, "--password-stdin", *where, stdin=password)
        return
    await _vidhub(
        "user", "add", OPERATOR, "--role", "operator", "--department", "指挥中心", "--display-name", "张警官",
        "--password-stdin", *where, stdin=password,
    )  # fmt: skip
    until = (datetime.now(UTC) + timedelta(days=30)).isoformat(timespec="seconds")
    await _vidhub(
        "grant", "create", "--user", OPERATOR, "--region", "3606", "--action", "view_live,snapshot",
        "--purpose", "patrol,incident,investigation,emergency", "--until", until, "--reason", "demo", *where,
    )  # fmt: skip


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "vidhub.cli", "--json", *words]


async def _vidhub(*words: str, stdin: str | None = None) -> dict[str, Any]:
    """One command, as a person would give it. Raises Internal with what it said."""
    process = await asyncio.create_subprocess_exec(
        *_command(*words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, said = await process.communicate(f"{stdin}\n".encode() if stdin is not None else b"")
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise Internal(
            "DEMO_STEP_FAILED", f"vidhub {words[0]} {words[1]}: {said.decode().strip() or out.decode().strip()}"
        )
    return dict(json.loads(out))


@contextlib.asynccontextmanager
async def _running(
    *words: str, environment: dict[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A program of ours that says when it is ready and is ended with the demo. In a session of its own, so that
    Ctrl-C reaches us alone and everything ends in order."""
    process = await asyncio.create_subprocess_exec(
        *_command(*words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await process.stdout.readline()
        if not line:
            raise Unavailable("DEMO_STEP_FAILED", f"vidhub {words[0]} did not start: see its log above")
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
