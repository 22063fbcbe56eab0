"""`vidhub demo`: Yingtan's network on real video: city, districts and zone, their units, and an operator at the top."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from vidhub.cli import clips, local
from vidhub.cli.camera_sim import CACHE
from vidhub.cli.demo_places import CITY, HUBS, LOWER, DemoHub, DemoUnit
from vidhub.cli.programs import PATIENCE_S, running, together, vidhub
from vidhub.cli.report import Settings, private_file, settings
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

Step = Callable[[str], contextlib.AbstractContextManager[None]]


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    context: typer.Context,
    port_offset: int = typer.Option(0, min=0, max=10_000, help="Shifts every listener."),
    cache: Path = typer.Option(CACHE, help="Where prepared footage is kept."),
) -> None:
    """Run a network of demo hubs until Ctrl-C. Without --data-dir its data are gone afterwards."""
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
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopped.set)
    progress = Progress(
        SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=Console(stderr=True), disable=as_json,
    )  # fmt: skip

    @contextlib.contextmanager
    def step(name: str) -> Any:
        task = progress.add_task(name, total=1)
        yield
        progress.advance(task)

    network = _Network(home, port_offset)
    async with contextlib.AsyncExitStack() as stack:
        setup = asyncio.create_task(network.set_up(stack, cache, step))
        with progress:
            waiting = asyncio.create_task(stopped.wait())
            await asyncio.wait({setup, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not setup.done():
                setup.cancel()
                await asyncio.wait({setup})
                return
        password = setup.result()
        ready = network.ready[CITY.id]
        urls = {"console": f"http://{ready['http']}", "metrics": f"http://{ready['metrics']}/metrics"}
        if as_json:
            facts = {"ready": ready, **urls, "user": OPERATOR, "password": password, "hubs": network.ready}
            print(json.dumps(facts), flush=True)
        else:
            lines = {"Console": urls["console"], "User": OPERATOR, "Password": password, "Metrics": urls["metrics"]}
            for name, value in lines.items():
                print(f"{name}  {value}", flush=True)
        ended = {asyncio.create_task(process.wait()): hub for hub, process in network.processes.items()}
        done, _ = await asyncio.wait({waiting, *ended}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.is_set():
            hub = next(ended[task] for task in done if task in ended)
            raise Internal("HUB_ENDED", f"the hub {hub} ended by itself: see its log above")


class _Network:
    """Hubs on loopback addresses of their own, each with its data below `home`."""

    def __init__(self, home: Path, port_offset: int) -> None:
        self._home = home
        self._port_offset = port_offset
        self.ready: dict[str, dict[str, Any]] = {}
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def set_up(self, stack: contextlib.AsyncExitStack, cache: Path, step: Step) -> str:
        """The operator's password."""
        shutil.rmtree(self._home / "work", ignore_errors=True)
        # Ended in the other order: the hubs before their cameras.
        camera_stack = await stack.enter_async_context(contextlib.AsyncExitStack())
        hub_stack = await stack.enter_async_context(contextlib.AsyncExitStack())

        async def start_cameras() -> list[str]:
            with step("footage"):
                await asyncio.to_thread(lambda: [clips.prepare(source, cache) for source in clips.packaged()])
            with step("cameras"):
                _, said = await camera_stack.enter_async_context(running("camera-sim", "--cache", str(cache)))
            return list(said["ready"]["urls"])

        async def start_hubs() -> None:
            with step(f"{len(HUBS)} hubs"):
                await together(*(self._start(hub, hub_stack) for hub in HUBS))

        urls, _ = await together(start_cameras(), start_hubs())
        password = secrets.token_urlsafe(12)
        cameras = sum(len(unit.cameras) for hub in HUBS for unit in hub.units)
        with step(f"an operator; units enrol and register {cameras} cameras; districts and zone join the city"):
            await together(self._operator(password), self._connect_all(urls), *(self._join(lower) for lower in LOWER))
        with step("the city knows them all"):
            await self._until_known(cameras)
        with step("console answers"):
            async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
                (await client.get(f"http://{self.ready[CITY.id]['http']}/")).raise_for_status()
        return password

    async def _start(self, hub: DemoHub, stack: contextlib.AsyncExitStack) -> None:
        flags = [
            part for name, port in PORTS.items() for part in (f"--{name}", f"{hub.address}:{port + self._port_offset}")
        ]
        environment = {
            # The cameras are on this machine, where a hub would not dial of itself.
            "VIDHUB_SOURCE__ALLOW": "127.0.0.0/8",
            "VIDHUB_HUB__ID": hub.id,
            "VIDHUB_HUB__NAME": hub.name,
            "VIDHUB_HUB__LEVEL": hub.level,
            "VIDHUB_HUB__REGION": hub.region,
        }
        process, said = await stack.enter_async_context(
            running("serve", *self._at(hub), *flags, environment=environment)
        )
        self.processes[hub.id], self.ready[hub.id] = process, said["ready"]

    def _at(self, hub: DemoHub) -> tuple[str, str]:
        return "--data-dir", str(self._home / hub.id)

    async def _ask(self, at: DemoHub, operation: str, **arguments: object) -> dict[str, Any]:
        """What a command on the hub's data directory does."""
        where = Settings(data_dir=str(self._home / at.id))
        return await asyncio.to_thread(local.call, where, operation, arguments)

    # Units.

    async def _connect_all(self, urls: list[str]) -> None:
        number = 0
        connecting = []
        for hub in HUBS:
            known = {each["name"] for each in (await self._ask(hub, "unit_list"))["units"]}
            for unit in hub.units:
                if unit.name not in known:
                    connecting.append(self._connect(hub, unit, urls, number))
                number += len(unit.cameras)
        await together(*connecting)

    async def _connect(self, hub: DemoHub, unit: DemoUnit, urls: list[str], number: int) -> None:
        """A unit's whole way: token, enrolment, registration through gRPC."""
        folder = self._home / "work" / unit.region
        token = folder / "enrolment.json"
        answer = await self._ask(hub, "unit_token", name=unit.name, region_code=unit.region, industry=unit.industry)
        await asyncio.to_thread(private_file, token, json.dumps(answer["enrolment"]))
        await vidhub("unit", "enrol", str(token), "--out", str(folder))
        table = folder / "cameras.csv"
        await asyncio.to_thread(table.write_text, unit.csv(urls, number), encoding="utf-8")
        await vidhub("camera", "register", str(table), "--identity", str(folder))

    # People.

    async def _operator(self, password: str) -> None:
        users = (await self._ask(CITY, "user_list"))["users"]
        if any(user["name"] == OPERATOR for user in users):
            await self._ask(CITY, "user_passwd", name=OPERATOR, password=password)
            return
        await self._ask(
            CITY,
            "user_add",
            name=OPERATOR,
            roles=["operator"],
            password=password,
            unit_id="",
            department="指挥中心",
            display_name="张警官",
        )
        await self._ask(
            CITY,
            "grant_create",
            username=OPERATOR,
            department="",
            camera_ids=[],
            unit_ids=[],
            region_prefixes=["3606"],
            industries=[],
            actions=["view_live", "snapshot"],
            purposes=["patrol", "incident", "investigation", "emergency"],
            not_before="",
            not_after=(datetime.now(UTC) + timedelta(days=30)).isoformat(timespec="seconds"),
            reason="demo",
        )

    # Links.

    async def _join(self, lower: DemoHub) -> None:
        """What the two administrators do: invite, join, accept on both sides, share all."""
        known = {each["id"] for each in (await self._ask(lower, "hub_list"))["hubs"]}
        if CITY.id in known:
            return
        invited = await self._ask(CITY, "hub_invite", name=lower.name, level=lower.level, region_code=lower.region)
        await self._ask(lower, "hub_join", invitation=invited["invitation"])
        await self._ask(CITY, "hub_accept", hub=lower.id)
        await self._ask(lower, "hub_accept", hub=CITY.id)
        actions = ["list", "view_live", "snapshot"]
        await self._ask(lower, "hub_share", hub=CITY.id, everything=True, actions=actions, purposes=[], fields=[])

    async def _until_known(self, cameras: int) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    found = (await self._ask(CITY, "camera_list", region_prefix="", text=""))["cameras"]
                    if len(found) >= cameras:
                        return
                    await asyncio.sleep(0.2)
        except TimeoutError as cause:
            raise Unavailable(
                "DEMO_STEP_FAILED", "the districts' cameras do not reach the city: see the logs"
            ) from cause
