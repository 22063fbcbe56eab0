"""Province, city and district as hubs on machines of their own; the district's lets nothing in."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from support.hub import HubProcess
from support.links import CITY, DISTRICT, PROVINCE, ThreeLevels, link, placed
from support.namespaces import Levels, levels


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
