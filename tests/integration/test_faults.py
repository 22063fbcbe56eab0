"""What breaks around a hub at work: pictures go on, nothing that was answered is lost, and each fault leaves its trace
in log, metric and event."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from support.cameras import gst_camera
from support.events import event, is_over, lasts
from support.hub import PASSWORD, HubProcess, Person, hub, person
from support.hub import enrol as enrolled
from support.rtsp import RtspClient
from support.site import HERE, PATROL, Site, opened, scrape

from vidhub.v1 import event_service_pb2 as pb
from vidhub.v1 import event_service_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE_S = 30.0
FPS = 10
# A disk of its own, in a mount namespace of its own.
SMALL_DISK = 'mount -t tmpfs -o size=48m,mode=0700 none "$0" && exec "$@"'
HOLD = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""
# Debian's name of the library, per architecture.
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@dataclass
class Place:
    """A hub on a small disk, somebody who watches, and somebody who looks after it."""

    site: Site
    camera_id: str
    operator: Person
    keeper: Person
    viewer: RtspClient
    # The data directory as the hub names it, and as it can be reached from here.
    data: Path
    disk: Path

    @property
    def running(self) -> HubProcess:
        return self.site.running

    async def go_on(self, pictures: int = 2 * FPS) -> None:
        """Until so many more pictures have come on the connection that was there before."""
        wanted = self.viewer.pictures + pictures
        await self.viewer.until(lambda: self.viewer.pictures >= wanted)

    async def event(self, kind: str, is_so: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        return await event(self.keeper, kind, is_so)

    async def metric(self, name: str) -> float:
        return (await scrape(self.running))[1].get(name, 0.0)

    def said(self, words: str) -> bool:
        """On its log."""
        return any(words in line for line in self.running.said)


@contextlib.asynccontextmanager
async def watched(running: HubProcess, camera_url: str, data: Path, disk: Path) -> AsyncIterator[Place]:
    site = Site(running, await enrolled(running))
    identifier = await site.register(1, camera_url)
    await site.operator("zhang")
    await running.ask("user_add", name="sup", roles=["supervisor"], password=PASSWORD)
    async with person(running, "zhang") as operator, person(running, "sup") as keeper:
        session = await opened(operator, identifier)
        async with await RtspClient.connect(session["rtspUrl"]) as viewer:
            await viewer.watch()
            place = Place(site, identifier, operator, keeper, viewer, data, disk)
            await place.go_on(FPS)
            yield place


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    data = tmp_path_factory.mktemp("faults") / "data"
    data.mkdir()
    at = ("unshare", "--mount", "sh", "-c", SMALL_DISK, str(data))
    async with (
        gst_camera(width=320, height=180, fps=FPS, key_interval=FPS) as camera,
        hub(data, at=at, **HERE, VIDHUB_BENCH="1") as running,
    ):
        # The same place, seen from here.
        running.data = Path(f"/proc/{running.process.pid}/root{data}")
        async with watched(running, camera.url, data, running.data) as found:
            yield found
        assert (await running.ask("audit_verify"))["intact"]
        assert await running.end() == 0


async def test_on_a_full_disk_pictures_go_on_and_nobody_new_watches_until_there_is_room(place: Place):
    filler = place.disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    # What fits into pages that the store has already may still be written: until it can't.
    async with asyncio.timeout(PATIENCE_S):
        while "ticket" in (
            refused := await place.operator.call("SessionService/OpenSession", cameraId=place.camera_id, purpose=PATROL)
        ):
            pass
    assert (refused["code"], refused["reason"]) == ("unavailable", "STORE_UNAVAILABLE")
    assert "disk" in refused["message"]
    failing = await place.event("store.failing", lasts)
    assert (failing["severity"], failing["reason"]) == ("EVENT_SEVERITY_SEVERE", "STORE_UNAVAILABLE")
    await place.event("disk.low", lasts)
    await place.go_on()
    assert place.said("the store refuses writes")
    assert await place.metric("vidhub_store_failures_total{}") >= 1
    filler.unlink()
    # By itself: what waited is written, and whoever asks is let in.
    await place.event("store.failing", is_over)
    await opened(place.operator, place.camera_id)
    await place.event("disk.low", is_over)
    await place.go_on(1)


async def test_a_store_that_another_program_holds_is_named_and_comes_back_by_itself(place: Place):
    async with held(place.running, place.data / "vidhub.db"):
        refused = await place.operator.call("SessionService/OpenSession", cameraId=place.camera_id, purpose=PATROL)
        assert refused["reason"] == "STORE_UNAVAILABLE"
        assert "another program holds the database" in refused["message"]
        await place.event("store.failing", lasts)
        await place.go_on()
    await place.event("store.failing", is_over)
    await opened(place.operator, place.camera_id)


@contextlib.asynccontextmanager
async def held(running: HubProcess, database: Path) -> AsyncIterator[None]:
    """The database locked by a program beside the hub."""
    process = await asyncio.create_subprocess_exec(
        *("nsenter", "--mount", "--target", str(running.process.pid), sys.executable, "-c", HOLD, str(database)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    async with asyncio.timeout(PATIENCE_S):
        assert await process.stdout.readline() == b"held\n"
    yield
    process.stdin.close()
    await process.wait()


@pytest.mark.parametrize("socket", ["run/app.sock", "admin.sock"])
async def test_a_socket_that_somebody_removed_is_made_anew(place: Place, socket: str):
    name = socket.rpartition("/")[2]
    (place.disk / socket).unlink()
    await place.go_on(FPS)
    async with asyncio.timeout(PATIENCE_S):
        while not (place.disk / socket).exists():  # noqa: ASYNC110 - nobody tells of a file
            await asyncio.sleep(0.05)
    await place.event("socket.gone", lambda one: one["subject"] == f"socket/{name}")
    await opened(place.operator, place.camera_id)
    assert (await place.running.ask("status"))["sessions"] >= 1
    assert place.said(f"socket={name}")
    assert await place.metric("vidhub_events_total{kind=socket.gone}") >= 1


async def test_while_the_control_plane_stands_still_for_five_seconds_pictures_come_and_viewers_too(place: Place):
    another = await opened(place.operator, place.camera_id)
    stalled = asyncio.create_task(place.running.ask("bench_stall", milliseconds=5_000))
    loop = asyncio.get_running_loop()
    began, before = loop.time(), place.viewer.pictures
    # Until nobody answers any more.
    async with asyncio.timeout(PATIENCE_S):
        while await answers(place.running):
            pass
    async with await RtspClient.connect(another["rtspUrl"]) as viewer:
        await viewer.watch()
        await viewer.until(lambda: viewer.pictures >= 3)
        assert not stalled.done(), "the viewer came while nobody but the core could answer"
        await place.go_on(3)
        assert not stalled.done()
    await stalled
    assert loop.time() - began >= 5
    assert place.viewer.pictures - before >= 4 * FPS
    found = await place.event("hub.stalled", lambda one: one["severity"] == "EVENT_SEVERITY_SEVERE")
    assert "seconds" in found["detailJson"]
    assert place.said("the control plane stood still")
    assert await place.metric("vidhub_stalls_total{}") >= 1
    assert await place.metric("vidhub_stalled_seconds_total{}") >= 4


async def answers(running: HubProcess) -> bool:
    """Whether the control plane does, within a moment."""
    try:
        async with asyncio.timeout(0.5):
            await scrape(running)
    except TimeoutError:
        return False
    return True


async def test_a_certificate_that_is_revoked_ends_its_streams_and_no_viewer(place: Place):
    stub = event_service_pb2_grpc.EventServiceStub
    async with place.site.unit.channel() as channel, asyncio.timeout(PATIENCE_S):
        told = stub(channel).WatchEvents(pb.WatchEventsRequest())
        async for answer in told:
            if answer.HasField("synced"):
                break
        await place.running.ask("unit_revoke", unit_id=place.site.unit.id, reason="lost laptop")
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            async for _ in told:
                pass
        assert (cut.value.code(), "revoked" in (cut.value.details() or "")) == (grpc.StatusCode.UNAUTHENTICATED, True)
        with pytest.raises(grpc.aio.AioRpcError) as again:
            await stub(channel).ListEvents(pb.ListEventsRequest())
        assert again.value.code() is grpc.StatusCode.UNAUTHENTICATED
    await place.go_on()
    refused = await place.event("access.refused", lambda one: one["reason"] == "CERTIFICATE_REVOKED")
    assert refused["subject"] == "address/127.0.0.1"
    assert (await place.site.on_record(action="unit.revoke"))["resource"] == f"unit/{place.site.unit.id}"


async def test_a_clock_that_is_set_ten_minutes_either_way_stops_no_picture(tmp_path: Path):
    assert FAKETIME, "libfaketime is not installed: make setup"
    clock, data = tmp_path / "clock", tmp_path / "data"
    clock.write_text("+0s\n")
    faked = {
        "LD_PRELOAD": str(FAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    async with (
        gst_camera(width=320, height=180, fps=FPS, key_interval=FPS) as camera,
        hub(data, **HERE, **faked) as running,
    ):
        async with watched(running, camera.url, data, data) as place:
            await jump_either_way(place, clock)
        assert (await running.ask("audit_verify"))["intact"]
        assert await running.end() == 0


async def jump_either_way(place: Place, clock: Path) -> None:
    for number, (ahead, jump) in enumerate(((600, 600), (0, -600)), start=1):
        set_clock(clock, ahead)
        async with person(place.running, "sup") as keeper:  # tokens go by the clock: logged in anew
            await event(keeper, "clock.jumped", lambda one, jump=jump: (float_of(one["detailJson"]) - jump) ** 2 < 100)
        await place.go_on()
        async with person(place.running, "zhang") as operator:
            session = await opened(operator, place.camera_id)
            async with await RtspClient.connect(session["rtspUrl"]) as viewer:
                await viewer.watch()
                await viewer.until(lambda viewer=viewer: viewer.pictures >= FPS)
        assert await place.metric("vidhub_clock_jumps_total{}") == number
    assert place.said("the clock was set")


def set_clock(file: Path, ahead_s: int) -> None:
    """In one go: the hub reads it at each look at the clock."""
    fresh = file.with_suffix(".new")
    fresh.write_text(f"{ahead_s:+d}s\n")
    fresh.rename(file)


def float_of(detail_json: str) -> float:
    return float(json.loads(detail_json)["seconds"])
