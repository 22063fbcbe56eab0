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
    net: Levels
    hubs: ThreeLevels


@contextlib.asynccontextmanager
async def network(folder: Path, **environment: str) -> AsyncIterator[Network]:
    """All three linked. Their addresses for people are of their own machine; `HubProcess.url` leads there from here."""
    with levels() as net:
        async with contextlib.AsyncExitStack() as stack:

            async def start(place: tuple[str, str, str], prefix: tuple[str, ...], *flags: str) -> HubProcess:
                return await stack.enter_async_context(placed(folder, place, *flags, at=prefix, **environment))

            def seen_at(host: str) -> tuple[str, ...]:
                return ("--grpc", f"{host}:50051", "--rtsps", f"{host}:8322", "--advertise", host)

            hubs = ThreeLevels(
                province=await start(PROVINCE, net.province.prefix(), *seen_at(Levels.PROVINCE)),
                city=await start(CITY, net.city.prefix(), *seen_at(Levels.CITY_BELOW)),
                district=await start(DISTRICT, net.district.prefix()),
            )
            for running, where in (
                (hubs.province, net.province),
                (hubs.city, net.city),
                (hubs.district, net.district),
            ):
                there = dict(running.ready)
                running.ready["http"] = await stack.enter_async_context(where.reach(there["http"]))
                running.ready["metrics"] = await stack.enter_async_context(where.reach(there["metrics"]))
            await link(hubs.province, hubs.city, CITY)
            await link(hubs.city, hubs.district, DISTRICT)
            yield Network(net, hubs)
