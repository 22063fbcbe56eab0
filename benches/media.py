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
from benches.figures import Figures
from benches.measure import Reading, Use
from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

READERS = 200
VIEWERS = 30
CAMERAS = 100
# Cameras that nobody has watched before: the first picture of each is a cold one.
COLD = 9

RTSP = "RTSP over TCP, 1 camera to {} readers"
WHEP = "WHEP (WebRTC), 1 camera to {} viewers"
FAN_IN = "RTSP over TCP, {} cameras, a reader each"
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
    camera = {"clip": str(plan.clip), "core": plan.load_core}
    async with programs.running(plan.load, "camera", configuration=camera) as stream:
        address = (await programs.said(stream))["ready"]

        # A hub of its own for each measurement: what the last one left in memory is not counted as this one's.
        @contextlib.asynccontextmanager
        async def fresh() -> AsyncIterator[_Media]:
            async with hub_on(plan.hub_core, VIDHUB_SOURCE__ALLOW="127.0.0.0/8") as running:
                await _connect(running, address)
                yield _Media(plan, figures, running)

        for number in range(1, plan.rounds + 1):
            of = f"round {number} of {plan.rounds}"
            step(f"at rest, and first pictures of cameras that nobody watches, {of}")
            async with fresh() as bench:
                await bench.idle()
                await bench.cold()
            step(f"RTSP to {READERS}, {of}")
            async with fresh() as bench:
                await bench.rtsp()
            step(f"WHEP to {VIEWERS}, {of}")
            async with fresh() as bench:
                await bench.whep()
            step(f"{CAMERAS} cameras, {of}")
            async with fresh() as bench:
                await bench.fan_in()


async def _connect(running: HubProcess, address: str) -> None:
    unit = await enrol(running)
    cameras = [camera_message(number, f"rtsp://{address}/{number}") for number in range(CAMERAS)]
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        await stub.BatchRegisterCameras(camera_service_pb2.BatchRegisterCamerasRequest(cameras=cameras))


class _Media:
    def __init__(self, plan: Plan, figures: Figures, running: HubProcess) -> None:
        self._plan = plan
        self._figures = figures
        self._hub = running
        self._pid = int(running.ready["pid"])

    async def idle(self) -> None:
        # What the registration left to do is done by then.
        await asyncio.sleep(2)
        first = self._read()
        await asyncio.sleep(5)
        last = self._read()
        use = Use.between(first, last)
        self._figures.add(IDLE, "CPU of the whole hub", "% of a core", 100 * use.cpu_s / use.wall_s)
        note = f"{CAMERAS} cameras registered, nobody watches; Python, gRPC and console included"
        self._figures.add(IDLE, "private memory of the whole hub", "MiB", last.memory_kib / 1024, note=note)

    async def cold(self) -> None:
        targets = [await self._target(number, 1) for number in range(CAMERAS - COLD, CAMERAS)]
        answer, _ = await self._readers(targets, COLD, rate=10, warmup_s=3.0, seconds=0.2)
        spread = answer["first_key_ms"]
        note = "dial, DESCRIBE, PLAY, and the wait for the camera's next keyframe, which comes every 2 s"
        group = RTSP.format(READERS)
        self._figures.add(group, "first keyframe, camera not yet pulled, p50", "ms", spread["p50"], note=note)
        self._figures.add(group, "first keyframe, camera not yet pulled, slowest", "ms", spread["max"])

    async def rtsp(self) -> None:
        group = RTSP.format(READERS)
        floor = await self._floor("tcp", READERS)
        targets = [await self._target(0, READERS + 1)]
        # The camera is being pulled when the readers come.
        await self._readers(targets, 1, rate=1, warmup_s=2.5, seconds=0.1)
        answer, use = await self._readers(targets, READERS, rate=READERS / 4, warmup_s=2, seconds=self._plan.window_s)
        self._cost(group, answer, use, floor)
        self._delays(group, answer, "first keyframe, camera pulled already")

    async def whep(self) -> None:
        group = WHEP.format(VIEWERS)
        floor = await self._floor("udp", VIEWERS)
        target = await self._target(0, VIEWERS + 1)
        await self._readers([target], 1, rate=1, warmup_s=2.5, seconds=0.1)
        configuration = {
            "server": self._hub.ready["http"],
            "camera": camera_message(0).id,
            "ticket": target["ticket"],
            "viewers": VIEWERS,
            "rate": 15,
            "warmup_s": 2,
            "seconds": self._plan.window_s,
            "core": self._plan.load_core,
        }
        answer, use = await self._window("viewers", configuration)
        _check(answer, VIEWERS)
        self._cost(group, answer, use, floor)
        self._delays(group, answer, "first keyframe from the offer on, camera pulled already")

    async def fan_in(self) -> None:
        targets = [await self._target(number, 1) for number in range(CAMERAS)]
        answer, use = await self._readers(targets, CAMERAS, rate=50, warmup_s=4, seconds=self._plan.window_s)
        self._cost(FAN_IN.format(CAMERAS), answer, use, None)
        self._figures.add(FAN_IN.format(CAMERAS), "relay delay, p50", "ms", answer["relay_ms"]["p50"])

    # One run.

    def _cost(self, group: str, answer: dict[str, Any], use: Use, floor: float | None) -> None:
        count = answer["playing"]
        each = answer["bytes"] * 8 / 1e6 / answer["window_s"] / count
        packets = answer["packets"]
        add = self._figures.add
        add(group, COST, "s", use.cpu_s / packets * 1e6, floor=floor or 0.0,
            note="all threads of the hub, Python and the camera's pull included")  # fmt: skip
        add(group, "CPU of the whole hub", "% of a core", 100 * use.cpu_s / use.wall_s)
        add(group, "delivered to each", "Mbit/s", each, note=f"{packets / answer['window_s'] / 1000:.0f} k packets/s")
        add(group, "packets lost", "", answer["lost"])
        add(group, "private memory for each", "KiB", use.memory_kib / count)
        add(group, "the hub's core, busy with others", "%", 100 * use.foreign_share, note="high: a noisy run")

    def _delays(self, group: str, answer: dict[str, Any], joining: str) -> None:
        for name, spread in ((joining, answer["first_key_ms"]), ("relay delay", answer["relay_ms"])):
            self._figures.add(group, f"{name}, p50", "ms", spread["p50"])
            self._figures.add(group, f"{name}, p99", "ms", spread["p99"])

    async def _target(self, number: int, viewers: int) -> dict[str, str]:
        given = await self._hub.ask("bench_ticket", camera_id=camera_message(number).id, viewers=viewers)
        return {"url": given["rtsp_url"].partition("?")[0], "ticket": given["ticket"]}

    async def _readers(
        self, targets: list[dict[str, str]], readers: int, *, rate: float, warmup_s: float, seconds: float
    ) -> tuple[dict[str, Any], Use]:
        configuration = {
            "targets": targets,
            "readers": readers,
            "rate": rate,
            "warmup_s": warmup_s,
            "seconds": seconds,
            "core": self._plan.load_core,
        }
        answer, use = await self._window("readers", configuration)
        _check(answer, readers)
        return answer, use

    async def _window(self, program: str, configuration: dict[str, Any]) -> tuple[dict[str, Any], Use]:
        """Runs a load program; what the hub used in its window, and what its memory grew by from before it."""
        before = self._read()
        readings: list[Reading] = []
        answer = await programs.result(
            self._plan.load, program, configuration=configuration, on_event=lambda _: readings.append(self._read())
        )
        use = Use.between(*readings)
        return answer, replace(use, memory_kib=readings[-1].memory_kib - before.memory_kib)

    async def _floor(self, transport: str, receivers: int) -> float:
        configuration = {
            "clip": str(self._plan.clip),
            "receivers": receivers,
            "seconds": self._plan.floor_s,
            "transport": transport,
            "send_core": self._plan.hub_core,
            "receive_core": self._plan.load_core,
        }
        answer = await programs.result(self._plan.load, "floor", configuration=configuration)
        if answer["delivered"] < 0.99:
            raise programs.Failed(f"the floor's receivers got {answer['delivered']:.1%} of what was sent")
        return float(answer["cpu_s_per_1m"])

    def _read(self) -> Reading:
        return Reading.take(self._pid, self._plan.hub_core)


def _check(answer: dict[str, Any], wanted: int) -> None:
    if answer["playing"] != wanted:
        raise programs.Failed(f"{answer['playing']} of {wanted} play: {answer['error'] or 'no reason given'}")
