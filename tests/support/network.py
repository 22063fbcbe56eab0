"""Province, city and district as hubs on machines of their own; the district's lets nothing in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.hub import PASSWORD, PATIENCE_S, HubProcess
from support.links import CITY, DISTRICT, PROVINCE, ThreeLevels, link, placed
from support.namespaces import Levels, levels
from support.site import cli

from vidhub.cli.demo_places import DemoUnit

CAMERA = "东校门"


@dataclass(frozen=True)
class Network:
    """consoles: the addresses of the province's and the city's console on their own machines."""

    net: Levels
    hubs: ThreeLevels
    consoles: tuple[str, str]


@contextlib.asynccontextmanager
async def network(folder: Path, **environment: str) -> AsyncIterator[Network]:
    """All three linked. `HubProcess.url` leads from here to each on its own machine."""
    with levels() as net:
        async with contextlib.AsyncExitStack() as stack:

            async def start(place: tuple[str, str, str], prefix: tuple[str, ...], *flags: str) -> HubProcess:
                return await stack.enter_async_context(placed(folder, place, *flags, at=prefix, **environment))

            def seen_at(host: str) -> tuple[str, ...]:
                people = [
                    word for name in ("http", "rtsp", "rtsp-udp", "webrtc") for word in (f"--{name}", f"{host}:0")
                ]
                ports = ("--grpc", f"{host}:50051", "--rtsps", f"{host}:8322")
                return (*ports, *people, "--advertise", host, "--allow-cleartext")

            hubs = ThreeLevels(
                province=await start(PROVINCE, net.province.prefix(), *seen_at(Levels.PROVINCE)),
                city=await start(CITY, net.city.prefix(), *seen_at(Levels.CITY_BELOW)),
                district=await start(DISTRICT, net.district.prefix()),
            )
            consoles = (f"http://{hubs.province.ready['http']}", f"http://{hubs.city.ready['http']}")
            for running, where in (
                (hubs.province, net.province),
                (hubs.city, net.city),
                (hubs.district, net.district),
            ):
                there = dict(running.ready)
                running.ready["rtsp"] = await stack.enter_async_context(where.reach(there["rtsp"]))
                running.ready["http"] = await stack.enter_async_context(where.reach(there["http"]))
                running.ready["metrics"] = await stack.enter_async_context(where.reach(there["metrics"]))
            await link(hubs.province, hubs.city, CITY)
            await link(hubs.city, hubs.district, DISTRICT)
            yield Network(net, hubs, consoles)


async def settle(three: Network, camera_url: str, folder: Path) -> None:
    """A camera of a unit of the district's, shared up to the province; on both levels above somebody who may watch."""
    hubs = three.hubs
    unit = DemoUnit("第一中学", "360602", "11", "school", "校园安全", ((CAMERA, 28.24, 117.02),))
    token = await cli(
        *("unit", "token", unit.name, "--region", unit.region, "--industry", unit.industry),
        *("--out", folder / "unit.json", "--data-dir", hubs.district.data),
    )
    assert token.status == 0, token.err
    table = folder / "cameras.csv"
    table.write_text(unit.csv([camera_url], 0), encoding="utf-8")
    for words in (
        ("unit", "enrol", folder / "unit.json", "--out", folder / "unit"),
        ("camera", "register", table, "--identity", folder / "unit"),
    ):
        done = await cli(*words, at=three.net.district.prefix())
        assert done.status == 0, done.err
    for lower, upper in ((hubs.district, CITY[0]), (hubs.city, PROVINCE[0])):
        await lower.ask("hub_share", hub=upper, everything=True, actions=["list", "view_live"], purposes=[], fields=[])
    for running, name in ((hubs.city, "zhou"), (hubs.province, "li")):
        await running.ask("user_add", name=name, roles=["operator"], password=PASSWORD)
        await running.ask(
            "grant_create",
            username=name,
            actions=["view_live"],
            purposes=["patrol"],
            not_after=(datetime.now(UTC) + timedelta(days=1)).isoformat(),
            region_prefixes=["36"],
        )
        async with asyncio.timeout(PATIENCE_S):
            while (await running.ask("status"))["cameras"] != 1:  # noqa: ASYNC110 - what came is told by no event
                await asyncio.sleep(0.05)
