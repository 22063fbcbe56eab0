"""Who watches the catalogue goes on where it was, whether the hub was stopped or killed."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
from support.hub import PATIENCE_S, UnitIdentity, camera_message, enrol, hub
from support.ports import standing

from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc


async def register(unit: UnitIdentity, numbers: range, name: str) -> None:
    cameras = []
    for number in numbers:
        cameras.append(camera_message(number))
        cameras[-1].name = name
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        answer = await stub.BatchRegisterCameras(camera_service_pb2.BatchRegisterCamerasRequest(cameras=cameras))
        assert not answer.rejected


async def follow(
    unit: UnitIdentity, known: dict[str, str], since: camera_pb2.Revision | None
) -> tuple[camera_pb2.Revision, int]:
    """Takes what is told up to the first `synced` into `known`: (its revision, how many changes came)."""
    async with unit.channel() as channel, asyncio.timeout(PATIENCE_S):
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        changes = 0
        call = stub.WatchCameras(camera_service_pb2.WatchCamerasRequest(**({"from": since} if since else {})))
        async for event in call:
            match event.WhichOneof("event"):
                case "upserted":
                    known[event.upserted.id] = event.upserted.name
                    changes += 1
                case "removed_id":
                    del known[event.removed_id]
                    changes += 1
                case "synced":
                    call.cancel()
                    return event.synced, changes
    raise AssertionError("the watch ended before it had told everything")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_a_watch_goes_on_after_a_restart(tmp_path: Path, end: signal.Signals) -> None:
    known: dict[str, str] = {}
    where = standing("grpc")
    async with hub(tmp_path / "data", *where) as running:
        unit = await enrol(running)
        await register(unit, range(1, 301), "east")
        revision, changes = await follow(unit, known, None)
        assert (changes, len(known)) == (300, 300)
        # While nobody watches, and then the hub ends.
        await register(unit, range(291, 306), "west")
        async with unit.channel() as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            identifier = camera_message(1).id
            await stub.RetireCamera(camera_service_pb2.RetireCameraRequest(id=identifier, reason="gone"))
        await running.end(end)
    async with hub(tmp_path / "data", *where):
        after, changes = await follow(unit, known, revision)
        assert (after.epoch, after.number > revision.number) == (revision.epoch, True)
        assert changes == 16
        expected = {camera_message(n).id: "west" if n > 290 else "east" for n in range(2, 306)}
        assert known == expected
        await register(unit, range(2, 3), "north")
        last, changes = await follow(unit, known, after)
        assert (changes, known[camera_message(2).id], last.number) == (1, "north", after.number + 1)
