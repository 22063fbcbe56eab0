"""kill -9 twenty times at random moments of mixed work: what was answered is there, the register of use is whole."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
from support.hub import PASSWORD, PATIENCE_S, HubProcess, Person, UnitIdentity, camera_message, enrol, hub, person
from support.ports import standing
from support.site import HERE, PATROL, Site

from vidhub.v1 import camera_service_pb2 as pb
from vidhub.v1 import camera_service_pb2_grpc

KILLS = 20
# The longest that a hub works before it is killed; it is at times killed as soon as it answers.
LONGEST_S = 0.8
BATCH = 20
LOST = (grpc.aio.AioRpcError, httpx.HTTPError, ValueError)


@dataclass
class Answered:
    """What the hub has said that it had done."""

    cameras: set[str] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    number: int = 10


async def registering(unit: UnitIdentity, done: Answered) -> None:
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        while True:
            first = done.number
            done.number += BATCH
            cameras = [camera_message(one) for one in range(first, first + BATCH)]
            answer = await stub.BatchRegisterCameras(pb.BatchRegisterCamerasRequest(cameras=cameras))
            assert not answer.rejected
            done.cameras.update(answer.ids)


async def watching(operator: Person, camera_id: str, done: Answered) -> None:
    while True:
        opened = await operator.call("SessionService/OpenSession", cameraId=camera_id, purpose=PATROL)
        if "ticket" not in opened:
            return
        session = opened["session"]["id"]
        done.opened.add(session)
        if await operator.call("SessionService/CloseSession", sessionId=session) == {}:
            done.closed.add(session)


async def seeing_to(supervisor: Person, done: Answered) -> None:
    while True:
        page = await supervisor.call("EventService/ListEvents", filter={"unacknowledged": True})
        for event in page.get("events", ()):
            answer = await supervisor.call("EventService/AcknowledgeEvent", id=event["id"], note="drill")
            if "event" in answer:
                done.acknowledged.add(event["id"])
        await asyncio.sleep(0.02)


async def work(running: HubProcess, unit: UnitIdentity, people: list[Person], done: Answered, seconds: float) -> None:
    """Mixed work until the kill, and the kill."""
    loads = [
        asyncio.create_task(registering(unit, done)),
        asyncio.create_task(watching(people[0], camera_message(1).id, done)),
        asyncio.create_task(seeing_to(people[1], done)),
    ]
    await asyncio.sleep(seconds)
    assert await running.end(signal.SIGKILL) == -signal.SIGKILL
    async with asyncio.timeout(PATIENCE_S):
        ended = await asyncio.gather(*loads, return_exceptions=True)
    assert all(isinstance(one, LOST) or one is None for one in ended), ended


async def test_twenty_kills_lose_nothing_that_was_answered(tmp_path: Path, record_property):
    data, done, chance = tmp_path / "data", Answered(), random.Random()
    flags = [word for name in ("rtsp", "rtsps", "webrtc", "metrics") for word in (f"--{name}", "off")]
    flags += standing("grpc", "http")
    async with contextlib.AsyncExitStack() as people:
        async with hub(data, *flags, **HERE) as running:
            unit = await enrol(running)
            async with unit.channel() as channel:
                camera = pb.RegisterCameraRequest(camera=camera_message(1, "rtsp://127.0.0.1:9/1"))
                await camera_service_pb2_grpc.CameraServiceStub(channel).RegisterCamera(camera)
            await Site(running, unit).operator("zhang")
            await running.ask("user_add", name="sup", roles=["supervisor"], password=PASSWORD)
            # A login outlives the hub.
            callers = [await people.enter_async_context(person(running, name)) for name in ("zhang", "sup")]
            await work(running, unit, callers, done, LONGEST_S)
        for _ in range(KILLS - 1):
            async with hub(data, *flags, **HERE) as running:
                await work(running, unit, callers, done, chance.uniform(0, LONGEST_S))
        async with hub(data, *flags, **HERE) as running:
            found = {one["id"] for one in (await running.ask("camera_list"))["cameras"]}
            assert done.cameras <= found
            assert (len(found) - 1) % BATCH == 0, "no batch is there in part"
            verdict = await running.ask("audit_verify")
            assert (verdict["intact"], verdict["first_bad"]) == (True, None)
            async with person(running, "sup") as looking:  # the login may have run out meanwhile
                page = await looking.call("EventService/ListEvents", pageSize=1000)
            seen = {one["id"] for one in page["events"] if "acknowledgement" in one}
            assert done.acknowledged <= seen
            assert sum(one["kind"] == "hub.crashed" for one in page["events"]) >= KILLS // 2
            assert await running.end() == 0
    with contextlib.closing(sqlite3.connect(data / "vidhub.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        ends = dict(store.execute("SELECT id, end_reason FROM sessions"))
        assert done.opened <= set(ends)
        assert {ends[one] for one in done.closed} <= {"SESSION_CLOSED"}
        assert "" not in ends.values(), "what a kill left open is closed as lost"
        entries = {
            action: {
                row[0] for row in store.execute("SELECT session_id FROM audit_entries WHERE action = ?", (action,))
            }
            for action in ("session.open", "session.close")
        }
        assert entries["session.open"] == entries["session.close"] == set(ends)
    record_property("cameras", len(done.cameras))
    record_property("sessions", len(done.opened))
    assert done.cameras
    assert done.opened
