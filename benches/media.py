"""The data plane: one hub on one core, everything else on another, and the floor in between."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from support.hub import HubProcess, camera_message, enrol, hub

from benches import programs
from benches.figures import Figures, Mark
from benches.measure import PROC, Reading, Use
from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

VIEWERS = 30
CAMERAS = 100

WHEP = "WHEP (WebRTC), 1 camera to {} viewers"
COST = "CPU seconds for a million packets"
IDLE = "At rest"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything. hub_core: of the hub and of the floor's sender; load_core: of all else."""

    load: Path
    clip: Path
    hub_core: int
    load_core: int
    rounds: int
    window_s: float
    floor_s: float


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started meanwhile stays on this core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.asynccontextmanager
async def hub_on(core: int, **environment: str) -> AsyncIterator[HubProcess]:
    """A hub on a data directory of its own, gone afterwards."""
    async with contextlib.AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidhub-bench-")))
        settings = {"VIDHUB_BENCH": "1", "VIDHUB_PROBE__INTERVAL_S": "86400", **environment}
        with on_core(core):
            running = await stack.enter_async_context(hub(data, **settings))
        yield running
        try:
            await running.end()
        except TimeoutError as cause:
            raise programs.Failed("a hub did not end when it was told to") from cause


async def measure(plan: Plan, figures: Figures, step: Callable[[str], None]) -> None:
    """Runs the media benches. Raises programs.Failed when a program does not play along."""
    async with cameras(plan, plan.clip) as address:
        for number in range(1, plan.rounds + 1):
            of = f"round {number} of {plan.rounds}"
            step(f"at rest, {of}")
            async with fresh(plan, figures, address) as bench:
                await bench.idle()
            step(f"WHEP to {VIEWERS}, {of}")
            async with fresh(plan, figures, address) as bench:
                await bench.whep()


@contextlib.asynccontextmanager
async def cameras(plan: Plan, clip: Path, **configuration: int) -> AsyncIterator[str]:
    """Cameras that show the clip; where they are. configuration: more of `load/camera.rs`."""
    configured = {"clip": str(clip), "core": plan.load_core, **configuration}
    async with programs.running(plan.load, "camera", configuration=configured) as stream:
        yield str((await programs.said(stream))["ready"])


@contextlib.asynccontextmanager
async def fresh(plan: Plan, figures: Figures, camera: str) -> AsyncIterator[Bench]:
    """A hub for one measurement: what the last one left in memory is not counted as this one's."""
    async with hub_on(plan.hub_core, VIDHUB_SOURCE__ALLOW="127.0.0.0/8") as running:
        await _connect(running, camera)
        yield Bench(plan, figures, running, camera)


async def _connect(running: HubProcess, address: str) -> None:
    unit = await enrol(running)
    cameras = [camera_message(number, f"rtsp://{address}/{number}") for number in range(CAMERAS)]
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        await stub.BatchRegisterCameras(camera_service_pb2.BatchRegisterCamerasRequest(cameras=cameras))


class Bench:
    """A hub of its own, and who loads it. camera: where its cameras are, "ADDRESS:PORT"."""

    def __init__(self, plan: Plan, figures: Figures, running: HubProcess, camera: str) -> None:
        self.plan = plan
        self.figures = figures
        self.hub = running
        self.camera = camera
        self.pid = int(running.ready["pid"])

    async def idle(self) -> None:
        # What the registration left to do is done by then.
        await asyncio.sleep(2)
        first = self.read()
        await asyncio.sleep(5)
        last = self.read()
        use = Use.between(first, last)
        self.figures.add(IDLE, "CPU of the whole hub", "% of a core", 100 * use.cpu_s / use.wall_s)
        note = f"{CAMERAS} cameras registered, nobody watches; Python, gRPC and console included"
        self.figures.add(IDLE, "private memory of the whole hub", "MiB", last.memory_kib / 1024, note=note)

    async def whep(self) -> None:
        group = WHEP.format(VIEWERS)
        floor = (await self.floor("sealed", VIEWERS))["cpu_s_per_1m"]
        target = await self.target(0, VIEWERS + 1)
        await self.readers([target], 1, rate=1, warmup_s=2.5, seconds=0.1)
        configuration = {
            "server": self.hub.ready["http"],
            "camera": camera_message(0).id,
            "ticket": target["ticket"],
            "viewers": VIEWERS,
            "rate": 15,
            "warmup_s": 2,
            "seconds": self.plan.window_s,
            "core": self.plan.load_core,
        }
        answer, use = await self.window("viewers", configuration)
        _check(answer, VIEWERS)
        self.cost(group, answer, use, floor, Mark(2, of_ratio=True))
        self.figures.add(group, "private memory for each", "KiB", use.memory_kib / VIEWERS)
        self.delays(group, answer, "first keyframe from the offer on, camera pulled already")

    # One run.

    def cost(self, group: str, answer: dict[str, Any], use: Use, floor: float | None, mark: Mark | None = None) -> None:
        count = answer["playing"]
        each = answer["bytes"] * 8 / 1e6 / answer["window_s"] / count
        packets = answer["packets"]
        add = self.figures.add
        add(group, COST, "s", use.cpu_s / packets * 1e6, floor=floor or 0.0, mark=mark,
            note="all threads of the hub, Python and the camera's pull included")  # fmt: skip
        add(group, "CPU of the whole hub", "% of a core", 100 * use.cpu_s / use.wall_s)
        add(group, "delivered to each", "Mbit/s", each, note=f"{packets / answer['window_s'] / 1000:.0f} k packets/s")
        add(group, "packets lost", "", answer["lost"])
        add(group, "the hub's core, busy with others", "%", 100 * use.foreign_share, note="high: a noisy run")

    def delays(self, group: str, answer: dict[str, Any], joining: str) -> None:
        for name, spread in ((joining, answer["first_key_ms"]), ("relay delay", answer["relay_ms"])):
            self.figures.add(group, f"{name}, p50", "ms", spread["p50"])
            self.figures.add(group, f"{name}, p99", "ms", spread["p99"])

    async def target(self, number: int, viewers: int) -> dict[str, str]:
        given = await self.hub.ask("bench_ticket", camera_id=camera_message(number).id, viewers=viewers)
        return {"url": given["rtsp_url"].partition("?")[0], "ticket": given["ticket"]}

    async def readers(
        self,
        targets: list[dict[str, str]],
        readers: int,
        *,
        rate: float,
        warmup_s: float,
        seconds: float,
        by_udp: bool = False,
        ca: Path | None = None,
        stalled: int = 0,
    ) -> tuple[dict[str, Any], Use]:
        """ca: whose certificates are believed, for targets behind TLS. stalled: the first so many, not counted."""
        configuration = {
            "by_udp": by_udp,
            "ca": None if ca is None else str(ca),
            "stalled": stalled,
            "targets": targets,
            "readers": readers,
            "rate": rate,
            "warmup_s": warmup_s,
            "seconds": seconds,
            "core": self.plan.load_core,
        }
        answer, use = await self.window("readers", configuration)
        _check(answer, readers - stalled)
        return answer, use

    async def window(self, program: str, configuration: dict[str, Any]) -> tuple[dict[str, Any], Use]:
        """Runs a load program; what the hub used in its window, and what its memory grew by from before it."""
        before = self.read()
        readings: list[Reading] = []
        answer = await programs.result(
            self.plan.load, program, configuration=configuration, on_event=lambda _: readings.append(self.read())
        )
        use = Use.between(*readings)
        return answer, replace(use, memory_kib=readings[-1].memory_kib - before.memory_kib)

    async def floor(self, transport: str, receivers: int) -> dict[str, Any]:
        configuration = {
            "clip": str(self.plan.clip),
            "receivers": receivers,
            "seconds": self.plan.floor_s,
            "transport": transport,
            "send_core": self.plan.hub_core,
            "receive_core": self.plan.load_core,
        }
        answer = await programs.result(self.plan.load, "floor", configuration=configuration)
        if answer["delivered"] < 0.99:
            raise programs.Failed(f"the floor's receivers got {answer['delivered']:.1%} of what was sent")
        return answer

    def connections_to(self, port: int) -> int:
        """Connections of the hub that stand to that port of this machine."""
        own = set()
        for place in (PROC / str(self.pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                own.add(str(place.readlink()))
        rows = [line.split() for line in (PROC / "net" / "tcp").read_text().splitlines()[1:]]
        return sum(
            1 for row in rows
            if row[2].endswith(f":{port:04X}") and row[3] == "01" and f"socket:[{row[9]}]" in own
        )  # fmt: skip

    def read(self) -> Reading:
        return Reading.take(self.pid, self.plan.hub_core)


def _check(answer: dict[str, Any], wanted: int) -> None:
    if answer["playing"] != wanted:
        raise programs.Failed(f"{answer['playing']} of {wanted} play: {answer['error'] or 'no reason given'}")
