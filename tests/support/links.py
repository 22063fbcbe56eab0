"""Hubs as processes, linked with one another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.hub import PATIENCE_S, HubProcess, hub

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
