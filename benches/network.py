"""WHEP viewers behind a bad network, many joins at once, and joins and leaves: `python -m benches.network`.

Hub and camera stand in one network namespace, viewers in another, and `load network` carries packets between them.
Wants root, `ip` and, for the viewers, `go`: they are pion's, as a foreign client; see `whep_viewers/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from support.hub import HubProcess, camera_message, enrol, hub

from benches import ROOT, footage, programs
from benches.figures import Figures, Mark, table
from benches.measure import Reading
from benches.media import on_core
from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

HUB, VIEWERS_ADDRESS = "10.77.0.1", "10.77.0.2"
VIEWERS = 10
WARMUP_S = 3.0
WINDOW_S = 17.5
# On a narrow link: what it takes is asked 20 seconds after it was found to be too narrow, which is to be in the window.
NARROW_WINDOW_S = 27.5
GOP_NS = 2_000_000_000
# Of the clip: what the link is narrowed to 60 % of.
NARROW_BPS = 0.6 * footage.BITS_PER_S
GROUP = "WHEP, {} viewers behind a bad network: {}"
JOINS = "WHEP, joins and leaves"
# Of a plan.
PATHS = ("load", "viewers", "clip", "still")


@dataclass(frozen=True, slots=True)
class Case:
    """loss: share of UDP packets, both ways. flags: of the viewers."""

    name: str
    loss: float = 0.0
    delay_ms: float = 20.0
    rate_bps: float = 0.0
    outage_ms: int = 0
    deadline_ms: int = 500
    nack_ms: int = 50
    flags: tuple[str, ...] = ()

    def conditions(self) -> dict[str, float]:
        return {"loss_down": self.loss, "loss_up": self.loss, "delay_ms": self.delay_ms, "rate_bps": self.rate_bps}


QUIET = Case("nothing lost, 40 ms")
CASES = (
    Case("3 % lost, 40 ms", loss=0.03),
    Case("3 % lost, 40 ms, as browsers tell and ask", loss=0.03, flags=("-twcc", "-rtx")),
    Case("3 % lost, 100 ms", loss=0.03, delay_ms=50, nack_ms=110),
    Case("gone for 2 s", outage_ms=2000),
    Case("60 % of the bitrate", rate_bps=NARROW_BPS, nack_ms=550, deadline_ms=1000),
    Case("60 % of the bitrate, as browsers tell", rate_bps=NARROW_BPS, nack_ms=550, deadline_ms=1000, flags=("-twcc",)),
)


@dataclass(slots=True)
class Plan:
    """What runs where."""

    load: Path
    viewers: Path
    clip: Path
    still: Path
    hub_core: int
    load_core: int
    rounds: int = 2
    namespaces: tuple[str, str] = ("", "")
    cycles: int = 2000
    # Datagrams a second and viewer when nothing is lost.
    calm: list[float] = field(default_factory=list)


def build_viewers(cache: Path) -> Path:
    """Builds the viewers. Raises programs.Failed without Go."""
    target = cache / "whep_viewers"
    try:
        place = ROOT / "benches" / "whep_viewers"
        done = subprocess.run(["go", "build", "-o", str(target), "."], cwd=place, check=False)
    except FileNotFoundError as cause:
        raise programs.Failed("the viewers of benches/whep_viewers want go (https://go.dev) to be built") from cause
    if done.returncode != 0:
        raise programs.Failed("go could not build the viewers: see above")
    return target


@contextlib.contextmanager
def namespaces() -> Any:
    names = (f"vhb-a-{os.getpid()}", f"vhb-b-{os.getpid()}")
    try:
        for name in names:
            if subprocess.run(["ip", "netns", "add", name], check=False).returncode != 0:
                raise programs.Failed("network namespaces want root and `ip`")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


async def measure(plan: Plan, figures: Figures, step: Callable[[str], None]) -> None:
    """Runs the rows from a process of its own, which lives in the hub's namespace. Raises programs.Failed."""
    with namespaces() as names:
        inside = {
            **{name: str(getattr(plan, name)) for name in PATHS},
            **{name: getattr(plan, name) for name in ("hub_core", "load_core", "rounds", "cycles")},
            "namespaces": names,
        }
        process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", names[0], sys.executable, "-m", "benches.network", "--inside", json.dumps(inside)),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                said = json.loads(line)
                if "step" in said:
                    step(said["step"])
                else:
                    mark = said.pop("mark")
                    figures.add(**said, mark=mark and Mark(**mark))
            if await process.wait() != 0:
                raise programs.Failed("the rows behind a bad network broke off: see above")
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


# In the hub's namespace.


class _Network:
    """The program that carries packets."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tell(self, command: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        await self._process.stdin.drain()

    async def ask(self, command: object) -> dict[str, Any]:
        await self.tell(command)
        assert self._process.stdout is not None
        return await programs.said(self._process.stdout)


@contextlib.asynccontextmanager
async def _network(plan: Plan) -> AsyncIterator[_Network]:
    process = await asyncio.create_subprocess_exec(
        str(plan.load), "network", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    network = _Network(process)
    try:
        await network.ask({"namespaces": plan.namespaces, "addresses": (HUB, VIEWERS_ADDRESS), "core": plan.load_core})
        yield network
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


@contextlib.asynccontextmanager
async def _hub(plan: Plan) -> AsyncIterator[HubProcess]:
    async with contextlib.AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vidhub-bench-")))
        flags = ("--http", f"{HUB}:0", "--allow-cleartext", "--webrtc", f"{HUB}:0")
        settings = {"VIDHUB_BENCH": "1", "VIDHUB_PROBE__INTERVAL_S": "86400", "VIDHUB_SOURCE__ALLOW": "127.0.0.0/8"}
        with on_core(plan.hub_core):
            running = await stack.enter_async_context(hub(data, *flags, **settings))
        cameras = []
        for number, clip in enumerate((plan.clip, plan.still)):
            shown = {"clip": str(clip), "core": plan.load_core}
            stream = await stack.enter_async_context(programs.running(plan.load, "camera", configuration=shown))
            cameras.append(camera_message(number, f"rtsp://{(await programs.said(stream))['ready']}/{number}"))
        unit = await enrol(running)
        async with unit.channel() as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            await stub.BatchRegisterCameras(camera_service_pb2.BatchRegisterCamerasRequest(cameras=cameras))
        yield running
        await running.end()


async def _viewers(
    plan: Plan,
    running: HubProcess,
    *flags: str,
    number: int = 0,
    apart: bool = True,
    on_line: Callable[[str], Any] | None = None,
) -> dict[str, Any]:
    """Runs the Go viewers of a camera, in their namespace if `apart`; the one line of JSON that they say."""
    camera = camera_message(number).id
    # The first keeps the camera pulled; more than there are viewers, as each may come anew.
    given = await running.ask("bench_ticket", camera_id=camera, viewers=250)
    where = ("ip", "netns", "exec", plan.namespaces[1]) if apart else ()
    with on_core(plan.load_core):
        process = await asyncio.create_subprocess_exec(
            *where, str(plan.viewers), "-url", f"{running.url}/whep/{camera}", "-bearer", given["ticket"],
            *(() if not apart else ("-all-interfaces",)), *flags, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
    assert process.stdout is not None
    answer: dict[str, Any] | None = None
    try:
        async for line in process.stdout:
            text = line.decode().strip()
            if text.startswith("{"):
                answer = json.loads(text)
            elif on_line is not None:
                await on_line(text)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
    if answer is None:
        raise programs.Failed("the viewers gave no answer: see above")
    return answer


async def _case(plan: Plan, running: HubProcess, network: _Network, case: Case) -> None:
    counts: dict[str, Any] = {}
    window_ns: list[int] = []
    gone: dict[str, Any] = {}
    late: dict[str, Any] = {}

    async def on_line(text: str) -> None:
        if text.startswith(("WINDOW_START", "WINDOW_END")):
            window_ns.append(time.monotonic_ns())
        if text.startswith("WINDOW_START"):
            await network.ask("counts")
            if case.outage_ms:
                await asyncio.sleep(5)
                gone.update(await network.ask({"outage_ms": case.outage_ms}))
        elif text.startswith("WINDOW_END"):
            counts.update(await network.ask("counts"))

    async def spoil() -> None:
        await asyncio.sleep(VIEWERS / 10 + 1.5)
        await network.tell({"set": case.conditions()})
        if case.rate_bps:
            # What was sent in the first two seconds is not judged.
            await asyncio.sleep(2)
            await network.ask("counts")
            await asyncio.sleep(2)
            late.update((await network.ask("counts"))["down"])

    await network.tell({"set": Case("", delay_ms=case.delay_ms).conditions()})
    spoiling = asyncio.create_task(spoil())
    with tempfile.NamedTemporaryFile(suffix=".csv") as frames:
        warmup, length = (WARMUP_S + 6, NARROW_WINDOW_S) if case.rate_bps else (WARMUP_S, WINDOW_S)
        flags = ("-viewers", VIEWERS, "-rate", 10, "-warmup", warmup, "-seconds", length, "-frames", "-deadline",
                 case.deadline_ms, "-nack-rtt", case.nack_ms, "-frames-out", frames.name)  # fmt: skip
        answer = await _viewers(plan, running, *map(str, flags), *case.flags, on_line=on_line)
        await spoiling
        await network.tell({"set": Case("", delay_ms=case.delay_ms).conditions()})
        if answer["playing"] != VIEWERS:
            raise programs.Failed(f"{answer['playing']} of {VIEWERS} play: {answer['err']}")
        down, window = counts["down"], answer["window_s"]
        each = down["udp_packets"] / window / VIEWERS
        seen = answer["frames"]
        if case is QUIET:
            plan.calm.append(each)
        group = GROUP.format(VIEWERS, case.name)
        if case.loss:
            soon = 99.9 if case.delay_ms < 50 else 91
            _figure(group, "pictures playable within 200 ms", "%", seen["in_200ms_pct"], soon, at_least=True)
            _figure(group, "pictures playable within 500 ms", "%", seen["in_time_pct"], 99.9, at_least=True)
            again = down["repeated"] / max(1, down["lost"])
            _figure(group, "packets more than the stream has, for each lost", "", again, 1.2)
        if case.outage_ms:
            live = _live_again(Path(frames.name), gone["outage_end_ns"], case.deadline_ms)
            for after in live:
                _figure(group, "live again after its end", "ms", after, 350)
            extra = (each - statistics.mean(plan.calm)) * window * VIEWERS
            _figure(group, "packets more than the stream has, for each missed", "",
                    extra / max(1, down["outage_dropped"]), 1.5)  # fmt: skip
        if case.rate_bps:
            share = late["octets"] * 8 / 2 / VIEWERS / case.rate_bps
            _figure(group, "sent after 2 s, in shares of what the link takes", "", share, 1.1)
            bps = down["octets"] * 8 / window / VIEWERS
            _figure(group, "sent later, in shares of what the link takes", "", bps / case.rate_bps, 1.1)
            _figure(group, "delay of what can be shown, p99", "ms", seen["playable_ms_p99"], 1000)
            share = _keyframes_shown(Path(frames.name), window_ns[0], window_ns[1] - 2 * 10**9)
            _figure(group, "of the keyframes shown", "%", 100 * share, 100, at_least=True)
        _figure(group, "longest time without a picture, of the worst viewer", "ms", seen["longest_freeze_ms_max"], None)


def _live_again(frames: Path, end_ns: int, deadline_ms: int) -> list[float]:
    """For each viewer: milliseconds from the outage's end to the first picture that is shown in time."""
    first: dict[str, float] = {}
    with frames.open(encoding="utf-8") as rows:
        for viewer, clock, _, available, *_, decodable in csv.reader(rows):
            taken, at = int(available) - int(clock), int(available)
            if decodable == "true" and at > end_ns and taken <= deadline_ms * 1e6:
                first[viewer] = min(first.get(viewer, 1e9), (at - end_ns) / 1e6)
    return [first.get(str(viewer), 1e9) for viewer in range(VIEWERS)]


def _keyframes_shown(frames: Path, from_ns: int, to_ns: int) -> float:
    """The share of the camera's keyframes between two moments that could be shown, of all viewers."""
    with frames.open(encoding="utf-8") as rows:
        seen = [(viewer, int(clock), dec) for viewer, clock, *_, key, _, dec in csv.reader(rows) if key == "true"]
    if not seen:
        return 0.0
    # They come on the dot: also those that nobody got a packet of have a number.
    begun = min(clock for _, clock, _ in seen)
    shown = {(viewer, round((clock - begun) / GOP_NS)) for viewer, clock, dec in seen if dec == "true"}
    numbers = range(-(-(from_ns - begun) // GOP_NS), (to_ns - begun) // GOP_NS + 1)
    return sum((str(viewer), number) in shown for viewer in range(VIEWERS) for number in numbers) / (
        VIEWERS * len(numbers)
    )


async def _joins(plan: Plan, running: HubProcess) -> None:
    pid = int(running.ready["pid"])
    window = ("-warmup", "3", "-seconds", "0.5")
    # The cameras are being pulled when they come.
    for number in (0, 1):
        await _viewers(plan, running, "-viewers", "1", "-rate", "10", *window, number=number, apart=False)
    for _ in range(plan.rounds):
        flags = ("-rate", "100000", *window)
        alone = await _viewers(plan, running, "-viewers", "1", *flags, apart=False)
        # What signalling, ICE and DTLS take, most of it on the viewers' side, where the pictures weigh nothing.
        floor = await _viewers(plan, running, "-viewers", "50", *flags, number=1, apart=False)
        answer = await _viewers(plan, running, "-viewers", "50", *flags, apart=False)
        name = "first keyframe from the start of the offer on"
        _figure(JOINS, f"one alone, {name}", "ms", alone["first_key_ms_p50"], None)
        _figure(JOINS, f"50 at once, {name}, p95", "ms", answer["first_key_ms_p95"], 300,
                floor=floor["first_key_ms_p95"])  # fmt: skip
        _figure(JOINS, "50 at once, the whole of it, p95", "ms", answer["first_whole_ms_p95"], None,
                floor=floor["first_whole_ms_p95"])  # fmt: skip
        _figure(JOINS, "50 at once, without a picture", "", 50 - answer["got_key"], 0)
    half = ("-churn", str(plan.cycles // 2), "-slots", "20")
    before = _state(pid)
    memory = []
    failed = 0
    for _ in range(2):
        answer = await _viewers(plan, running, *half, apart=False)
        failed += answer["failed"] + answer["delete_failed"]
        await asyncio.sleep(2)
        memory.append(Reading.take(pid, plan.hub_core).memory_kib)
    after = _state(pid)
    _figure(JOINS, f"{plan.cycles} joins and leaves, failures", "", failed, 0)
    _figure(JOINS, "descriptors and tasks more than before", "", sum(after) - sum(before), 0)
    _figure(JOINS, "growth of memory in the second half", "KiB", memory[1] - memory[0], 1024)


def _state(pid: int) -> tuple[int, int]:
    place = Path("/proc") / str(pid)
    return len(list((place / "fd").iterdir())), len(list((place / "task").iterdir()))


def _say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def _figure(
    group: str,
    name: str,
    unit: str,
    value: float,
    limit: float | None,
    *,
    at_least: bool = False,
    floor: float = 0.0,
) -> None:
    mark = None if limit is None else {"limit": limit, "at_least": at_least}
    _say(group=group, name=name, unit=unit, value=value, floor=floor, mark=mark)


async def _inside(plan: Plan) -> None:
    async with _network(plan) as network, _hub(plan) as running:
        for number in range(1, plan.rounds + 1):
            for case in (QUIET, *CASES):
                _say(step=f"bad network: {case.name}, round {number} of {plan.rounds}")
                await _case(plan, running, network, case)
    async with _network(plan), _hub(plan) as running:
        _say(step="WHEP joins and leaves")
        await _joins(plan, running)


async def _main() -> int:
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    figures = Figures()
    cores = sorted(os.sched_getaffinity(0))
    load = programs.build(("load",))["load"]
    clips = cache / "clips"
    plan = Plan(load, build_viewers(cache), footage.clip(clips), footage.still(clips), cores[-1], cores[0])
    try:
        await measure(plan, figures, lambda name: print(name, file=sys.stderr))
    finally:
        Console().print(table(figures))
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        given = json.loads(sys.argv[2])
        for name in PATHS:
            given[name] = Path(given[name])
        asyncio.run(_inside(Plan(**given)))
    else:
        sys.exit(asyncio.run(_main()))
