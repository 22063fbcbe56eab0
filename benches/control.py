"""The control plane: registrations over gRPC, lists and sessions through the public port, beside plain SQLite."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from support.hub import PASSWORD, HubProcess, Person, UnitIdentity, camera_message, enrol, person

from benches import programs
from benches.callers import Caller
from benches.figures import Figures, Mark
from benches.measure import Reading, Use, percentile
from benches.media import hub_on, on_core
from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc

# Records of one call, and rows of one transaction of the floor.
BATCH = 1_000
# Among so many are lists asked for, and the hub left alone. Numbers of the cameras that are registered besides.
MANY = 100_000
ONE_BY_ONE, BESIDE = 300_000, 400_000
CONCURRENT = 16
# Under the hub's own limit of open sessions of one person.
SESSIONS = 48
PAGES = 100
# Beside an import: sessions a second, as many people as it takes to keep them open, and for how long.
SESSIONS_PER_S = 200
PEOPLE = 12
BESIDE_S = 2.5
IDLE_S = 10.0
# Around the middle of each district: latitude, longitude.
DISTRICTS = (("360602", 28.239, 117.05), ("360603", 28.337, 116.879), ("360681", 28.239, 117.206))

REGISTER = "Registering over gRPC (mTLS, SQLite, synchronous=FULL)"
T = TypeVar("T")

API = "Through the public port (Connect, JSON), {:,} cameras"


async def measure(
    figures: Figures, step: Callable[[str], None], *, cores: tuple[int, int], rounds: int, per_round: int
) -> None:
    """cores: of the hub, of the client. Registers `per_round` cameras in each round."""
    with on_core(cores[1]):
        # Probing is off: a first look at each of these cameras, none of which is there, goes on for minutes.
        async with hub_on(cores[0], VIDHUB_PROBE__INTERVAL_S="0") as running:
            unit = await enrol(running)
            pid = int(running.ready["pid"])
            for number in range(rounds):
                step(f"registering cameras {number * per_round:,} to {(number + 1) * per_round:,}")
                places = range(number * per_round, (number + 1) * per_round)
                rate, use = await _register(unit, places, pid, cores[0])
                floor, floor_cpu_s = _plain(running.data, per_round, BATCH, cores[0])
                label = f"in batches of {BATCH:,}"
                figures.add(REGISTER, label, "cameras/s", rate, floor=floor, is_rate=True,
                            mark=Mark(15_000, at_least=True))  # fmt: skip
                figures.add(REGISTER, f"{label}, beside plain SQLite", "cameras/s", rate, floor=floor, is_rate=True,
                            mark=Mark(0.35, of_ratio=True, at_least=True),
                            note="floor: executemany of the same rows into the same tables")  # fmt: skip
                figures.add(REGISTER, f"{label}, CPU for each", "µs", 1e6 * use.cpu_s / per_round,
                            floor=1e6 * floor_cpu_s / per_round,
                            note="says more than the rate where the machine is busy with others")  # fmt: skip
                figures.add(REGISTER, "CPU of the whole hub meanwhile", "% of a core", 100 * use.cpu_s / use.wall_s)
            many = max(MANY, rounds * per_round)
            step(f"registering cameras up to {many:,}")
            await _register(unit, range(rounds * per_round, many), pid, cores[0])
            await _people(running, figures, step, many, cores[0])
            step("registering cameras one by one")
            for number in range(3):
                start = ONE_BY_ONE + number * 400
                alone, together = await _one_by_one(unit, range(start, start + 400))
                figures.add(REGISTER, "one by one", "cameras/s", alone, floor=_commits(running.data, 1, cores[0]),
                            is_rate=True, note="floor: a row a commit; each with audit and change entry")  # fmt: skip
                figures.add(REGISTER, f"one by one, {CONCURRENT} at once", "cameras/s", together)
            beside = range(BESIDE, BESIDE + per_round)
            for number in range(rounds):
                step(f"sessions beside an import, {number + 1} of {rounds}")
                await _beside(running, unit, figures, beside, round_=number)
            step("idle")
            await _idle(running, figures, cores[0])


async def _idle(running: HubProcess, figures: Figures, core: int) -> None:
    """The quietest of a few windows: once after a change, the hub looks for duplicates for a moment."""
    pid = int(running.ready["pid"])
    shares = []
    for _ in range(3):
        first = Reading.take(pid, core)
        await asyncio.sleep(IDLE_S / 3)
        use = Use.between(first, Reading.take(pid, core))
        shares.append(100 * use.cpu_s / use.wall_s)
    cameras = (await running.ask("status"))["cameras"]
    figures.add(REGISTER, f"nothing to do, with {cameras:,} cameras: CPU of the hub", "% of a core", min(shares),
                mark=Mark(0.5), note="beside probing, and looking for duplicates once after a change")  # fmt: skip


def _camera(number: int) -> camera_pb2.Camera:
    """A record with every field set that units fill in."""
    camera = camera_message(number)
    region, latitude, longitude = DISTRICTS[number % 3]
    camera.id = f"{region}0011132{number:07d}"
    camera.name = f"{('胜利西路与站江路口', '月湖公园北门', '门诊楼入口', '操场')[number % 4]}{number:05d}号"
    camera.region_code = region
    camera.location.address = f"江西省鹰潭市月湖区胜利西路{number % 900}号"
    camera.location.latitude = latitude + number % 997 * 0.00002
    camera.location.longitude = longitude + number % 991 * 0.00002
    host = f"rtsp://10.{number >> 16}.{number >> 8 & 255}.{number & 255}:554/Streaming/Channels"
    del camera.streams[:]
    for profile, channel in ((camera_pb2.STREAM_PROFILE_MAIN, 101), (camera_pb2.STREAM_PROFILE_SUB, 102)):
        camera.streams.add(
            profile=profile, url=f"{host}/{channel}", username="admin", password=f"Kp{number:08x}!Z",
            transport=camera_pb2.TRANSPORT_TCP,
        )  # fmt: skip
    camera.legal.signage_text, camera.legal.signage_date = "您已进入公共视频采集区域", "2025-04-01"
    device = camera.device
    device.manufacturer, device.model = "Hikvision", "DS-2CD3T47"
    device.mac = ":".join(f"{number >> shift & 255:02x}" for shift in (40, 32, 24, 16, 8, 0))
    device.ip_address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    device.ptz_type, device.direction_type, device.room_type, device.supply_light_type = 3, 2, 1, 1
    device.point_type, device.point_common_name, device.capture_position_type = 1, f"卡口{number}", "1"
    device.horizontal_field_angle, device.max_view_distance_m, device.height_m = 92.5, 80, 4.5
    device.install_time, device.management_unit, device.contact_info = "2024-06-01", "月湖分局", "0701-6221000"
    device.record_save_days, device.industrial_classification, device.pole_number = 30, "8300", f"YH-{number:06d}"
    return camera


def _requests(numbers: range) -> list[camera_service_pb2.RegisterCamerasRequest]:
    return [
        camera_service_pb2.RegisterCamerasRequest(
            cameras=[_camera(number) for number in numbers[start : start + BATCH]]
        )
        for start in range(0, len(numbers), BATCH)
    ]


async def _register(unit: UnitIdentity, numbers: range, pid: int, core: int) -> tuple[float, Use]:
    requests = _requests(numbers)

    async def stream() -> AsyncIterator[camera_service_pb2.RegisterCamerasRequest]:
        for request in requests:
            yield request

    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        first, begun = Reading.take(pid, core), time.perf_counter()
        accepted = 0
        async for answer in stub.RegisterCameras(stream()):
            if answer.rejected:
                raise programs.Failed(f"the hub rejected a camera: {answer.rejected[0]}")
            accepted += len(answer.ids)
        rate = accepted / (time.perf_counter() - begun)
    return rate, Use.between(first, Reading.take(pid, core))


async def _one_by_one(unit: UnitIdentity, numbers: range) -> tuple[float, float]:
    """Cameras a second: each call after the last one's answer, and several callers at once."""
    requests = [camera_service_pb2.RegisterCameraRequest(camera=_camera(number)) for number in numbers]
    half = len(requests) // 2
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)

        async def send(request: camera_service_pb2.RegisterCameraRequest) -> None:
            await stub.RegisterCamera(request)

        alone, _ = await _calls(requests[:half], send, 1)
        together, _ = await _calls(requests[half:], send, CONCURRENT)
    return half / alone, half / together


async def _people(running: HubProcess, figures: Figures, step: Callable[[str], None], cameras: int, core: int) -> None:
    """What an operator's console does."""
    group = API.format(cameras)
    pid = int(running.ready["pid"])
    name = "bench"
    await running.ask("user_add", name=name, roles=["operator"], password=PASSWORD, department="指挥中心")
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    await running.ask(
        "grant_create", username=name, region_prefixes=["3606"], actions=["view_live"], purposes=["patrol"],
        not_after=until,
    )  # fmt: skip
    async with person(running, name) as caller:
        for _ in range(3):
            step("lists")
            for label, condition in (
                ("ListCameras, 100 of all", {}),
                ("ListCameras, 100 of a region", {"regionPrefix": "360602"}),
                ("ListCameras, 100 of a text search", {"text": "公园"}),
            ):
                times = [await _timed(caller, "ListCameras", 100, filter=condition) for _ in range(PAGES)]
                figures.add(group, f"{label}, p50", "ms", 1e3 * percentile(times, 0.5))
                mark = Mark(10) if "region" in label else None
                figures.add(group, f"{label}, p99", "ms", 1e3 * percentile(times, 0.99), mark=mark)
            step("sessions")
            opened: list[str] = []

            async def open_session(number: int, opened: list[str] = opened) -> None:
                camera = _camera(number).id
                answer = await caller.call("SessionService/OpenSession", cameraId=camera, purpose={"kind": "patrol"})
                if "ticket" not in answer:
                    raise programs.Failed(f"OpenSession: {answer.get('reason') or answer}")
                opened.append(answer["session"]["id"])

            async def close_session(session: str) -> None:
                await caller.call("SessionService/CloseSession", sessionId=session)

            for width, label in (
                (1, "OpenSession, one after the other"),
                (CONCURRENT, f"OpenSession, {CONCURRENT} at once"),
            ):
                opened.clear()
                first = Reading.take(pid, core)
                wall, times = await _calls(range(SESSIONS), open_session, width)
                use = Use.between(first, Reading.take(pid, core))
                figures.add(group, f"{label}, CPU of the hub", "ms/session", 1e3 * use.cpu_s / SESSIONS)
                figures.add(group, label, "sessions/s", SESSIONS / wall, is_rate=True)
                figures.add(group, f"{label}, p99", "ms", 1e3 * percentile(times, 0.99))
                await _calls(list(opened), close_session, CONCURRENT)


async def _beside(running: HubProcess, unit: UnitIdentity, figures: Figures, numbers: range, *, round_: int) -> None:
    """Sessions opened at a steady pace while cameras are registered, each round anew; the pace waits for no answer."""
    names = [f"bench{round_}-{number}" for number in range(PEOPLE)]
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    requests = _requests(range(numbers.start + round_ * len(numbers), numbers.stop + round_ * len(numbers)))
    async with contextlib.AsyncExitStack() as stack:
        people = []
        for name in names:
            await running.ask("user_add", name=name, roles=["operator"], password=PASSWORD, department="指挥中心")
            await running.ask(
                "grant_create", username=name, region_prefixes=["3606"], actions=["view_live"], purposes=["patrol"],
                not_after=until,
            )  # fmt: skip
            async with person(running, name) as logged_in:
                caller = Caller(running, logged_in.token)
            stack.push_async_callback(caller.close)
            people.append(caller)
        times: list[float] = []

        async def open_one(number: int) -> None:
            begun = time.perf_counter()
            answer = await people[number % PEOPLE].call(
                "SessionService/OpenSession", cameraId=_camera(number).id, purpose={"kind": "patrol"}
            )
            times.append(time.perf_counter() - begun)
            if "ticket" not in answer:
                raise programs.Failed(f"OpenSession: {answer.get('reason') or answer}")

        registering = asyncio.create_task(_import_for(unit, requests, BESIDE_S))
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(SESSIONS_PER_S * BESIDE_S)):
                await asyncio.sleep(max(0.0, begun + number / SESSIONS_PER_S - time.perf_counter()))
                group.create_task(open_one(number))
        rate = await registering
    label = f"beside {SESSIONS_PER_S} OpenSession/s"
    figures.add(REGISTER, f"{label}, in batches of {BATCH:,}", "cameras/s", rate, is_rate=True)
    figures.add(REGISTER, f"{label}: these, p50", "ms", 1e3 * percentile(times, 0.5))
    figures.add(REGISTER, f"{label}: these, p99", "ms", 1e3 * percentile(times, 0.99), mark=Mark(30))


async def _import_for(
    unit: UnitIdentity, requests: Sequence[camera_service_pb2.RegisterCamerasRequest], seconds: float
) -> float:
    """Cameras a second, as long as there are any, and for no longer than that."""
    begun = time.perf_counter()
    accepted = 0

    async def stream() -> AsyncIterator[camera_service_pb2.RegisterCamerasRequest]:
        for request in requests:
            if time.perf_counter() - begun > seconds:
                return
            yield request

    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        async for answer in stub.RegisterCameras(stream()):
            accepted += len(answer.ids) - len(answer.rejected)
    return accepted / (time.perf_counter() - begun)


async def _timed(caller: Person, method: str, size: int, **message: Any) -> float:
    begun = time.perf_counter()
    answer = await caller.call(f"CameraService/{method}", pageSize=size, **message)
    spent = time.perf_counter() - begun
    if len(answer.get("cameras", ())) != size:
        raise programs.Failed(f"{method} gave {len(answer.get('cameras', ()))} rows: {answer.get('reason', '')}")
    return spent


async def _calls(items: Sequence[T], call: Callable[[T], Awaitable[None]], width: int) -> tuple[float, list[float]]:
    """Calls for each item, `width` at a time: seconds altogether, and of each call."""
    waiting = iter(items)
    times: list[float] = []

    async def work() -> None:
        for item in waiting:
            begun = time.perf_counter()
            await call(item)
            times.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(work())
    return time.perf_counter() - begun, times


# The floor.


def _plain(data: Path, rows: int, batch: int, core: int) -> tuple[float, float]:
    """Cameras a second that SQLite alone takes: rows out of the hub's tables into the same tables of a new file. And
    its seconds of CPU for all of them."""
    with on_core(core), sqlite3.connect(f"file:{data / 'vidhub.db'}?mode=ro", uri=True) as source:
        target = _empty(data, source)
        found = source.execute("SELECT * FROM cameras ORDER BY rowid DESC LIMIT ?", (rows,)).fetchall()
        streams: dict[str, list[tuple[object, ...]]] = {row[0]: [] for row in found}
        for row in source.execute("SELECT * FROM camera_streams"):
            if row[0] in streams:
                streams[row[0]].append(row)
        batches = [found[start : start + batch] for start in range(0, len(found), batch)]
        prepared = [(part, [stream for row in part for stream in streams[row[0]]]) for part in batches]
        begun, cpu_s = time.perf_counter(), time.thread_time()
        for part, own in prepared:
            target.execute("BEGIN")
            target.executemany(_insert("cameras", part), part)
            target.executemany(_insert("camera_streams", own), own)
            target.execute("COMMIT")
        spent, cpu_s = time.perf_counter() - begun, time.thread_time() - cpu_s
        target.close()
    return len(found) / spent, cpu_s


def _commits(data: Path, rows: int, core: int, commits: int = 200) -> float:
    """Commits a second of `rows` cameras."""
    return _plain(data, rows * commits, rows, core)[0] / rows


def _insert(table: str, rows: Sequence[tuple[object, ...]]) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})"


def _empty(data: Path, source: sqlite3.Connection) -> sqlite3.Connection:
    """A new file beside the hub's, with its tables of cameras and as careful as it."""
    path = data / "floor.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    target = sqlite3.connect(path, isolation_level=None)
    target.execute("PRAGMA journal_mode=WAL")
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "cache_size=-16384"):  # the hub's own
        target.execute(f"PRAGMA {pragma}")
    names = ("cameras", "camera_streams")
    for (statement,) in source.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name IN (?, ?) AND sql IS NOT NULL ORDER BY type DESC", names
    ):
        target.execute(statement)
    return target
