"""Hubs as processes, linked with one another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.hub import PATIENCE_S, HubProcess, UnitIdentity, camera_message, hub

from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc

# name: (level, region)
PROVINCE = ("jiangxi", "province", "360000")
CITY = ("yingtan", "city", "360600")
DISTRICT = ("yuehu", "district", "360602")
OTHER_DISTRICT = ("guixi", "district", "360681")


@contextlib.asynccontextmanager
async def placed(
    folder: Path, place: tuple[str, str, str], *flags: str, at: Sequence[str] = (), **environment: str
) -> AsyncIterator[HubProcess]:
    """A hub of that id, level and region; its name is its id. at: as for `hub`."""
    name, level, region = place
    async with hub(
        folder / name,
        *flags,
        at=at,
        VIDHUB_HUB__ID=name,
        VIDHUB_HUB__NAME=name,
        VIDHUB_HUB__LEVEL=level,
        VIDHUB_HUB__REGION=region,
        VIDHUB_SOURCE__ALLOW="127.0.0.0/8",
        **environment,
    ) as running:
        yield running


async def join(upper: HubProcess, lower: HubProcess, place: tuple[str, str, str]) -> dict[str, Any]:
    """Invites and joins; the upper hub as the lower one has it."""
    name, level, region = place
    answer = await upper.ask("hub_invite", name=name, level=level, region_code=region)
    return await lower.ask("hub_join", invitation=answer["invitation"])


async def link(upper: HubProcess, lower: HubProcess, place: tuple[str, str, str]) -> None:
    """Invites, joins, accepts on both sides, and waits until the link is up on both."""
    above = await join(upper, lower, place)
    await upper.ask("hub_accept", hub=place[0])
    await lower.ask("hub_accept", hub=above["id"])
    await until(upper, place[0], state="up")
    await until(lower, above["id"], state="up")


async def listed(running: HubProcess, peer: str) -> dict[str, Any] | None:
    """A linked hub by id or name, as `vidhub hub list --json` has it."""
    hubs = (await running.ask("hub_list"))["hubs"]
    return next((one for one in hubs if peer in (one["id"], one["name"])), None)


async def until(running: HubProcess, peer: str, within_s: float = PATIENCE_S, **wanted: object) -> dict[str, Any]:
    """Looks until the linked hub is as wanted."""
    seen: dict[str, Any] | None = None
    try:
        async with asyncio.timeout(within_s):
            while True:
                seen = await listed(running, peer)
                if seen is not None and all(seen[key] == value for key, value in wanted.items()):
                    return seen
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{peer} is not {wanted} after {within_s} s: {seen}") from None


@dataclass(frozen=True)
class TwoHubs:
    upper: HubProcess
    lower: HubProcess


@contextlib.asynccontextmanager
async def two_hubs(
    folder: Path, upper: tuple[str, str, str] = CITY, lower: tuple[str, str, str] = DISTRICT, **environment: str
) -> AsyncIterator[TwoHubs]:
    """A city and a district below it, linked."""
    async with (
        placed(folder, upper, **environment) as above,
        placed(folder, lower, **environment) as below,
    ):
        await link(above, below, lower)
        yield TwoHubs(above, below)


@dataclass(frozen=True)
class ThreeLevels:
    province: HubProcess
    city: HubProcess
    district: HubProcess


@contextlib.asynccontextmanager
async def three_levels(folder: Path, **environment: str) -> AsyncIterator[ThreeLevels]:
    """A province, a city below it and a district below that, linked."""
    async with (
        placed(folder, PROVINCE, **environment) as province,
        placed(folder, CITY, **environment) as city,
        placed(folder, DISTRICT, **environment) as district,
    ):
        await link(province, city, CITY)
        await link(city, district, DISTRICT)
        yield ThreeLevels(province, city, district)


def camera(number: int, region: str = "360602", **changed: Any) -> camera_pb2.Camera:
    """A camera of the district that its id names."""
    message = camera_message(number)
    message.id = f"{region}001113220{number:05d}"
    message.region_code = region
    for name, value in changed.items():
        setattr(message, name, value)
    return message


async def register(unit: UnitIdentity, *cameras: camera_pb2.Camera) -> list[str]:
    """As the unit; the ids."""

    async def batches() -> AsyncIterator[camera_service_pb2.RegisterCamerasRequest]:
        for start in range(0, len(cameras), 500):
            yield camera_service_pb2.RegisterCamerasRequest(cameras=cameras[start : start + 500])

    found: list[str] = []
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        async for answer in stub.RegisterCameras(batches()):
            assert not answer.rejected, answer.rejected[0]
            found += answer.ids
    return found


async def in_step(lower: HubProcess, upper: HubProcess, cameras: int, within_s: float = PATIENCE_S) -> str:
    """Looks until both sides tell the same digest of so many cameras."""
    seen: object = None
    try:
        async with asyncio.timeout(within_s):
            while True:
                names = [Path(one.data).name for one in (lower, upper)]
                below = await lower.ask("hub_digest", hub=names[1])
                above = await upper.ask("hub_digest", hub=names[0])
                seen = (below, above)
                if below == above and below["cameras"] == cameras:
                    return str(below["sha256"])
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not in step after {within_s} s: {seen}") from None
