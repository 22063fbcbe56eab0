"""Two or more domains whose catalogues are linked: real links, joined by queues where a hub has the network."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from support.domain import SYSTEM, Domain, camera, domain_of, unit

from vidhub.api import convert
from vidhub.link.catalogue_in import CatalogueIn
from vidhub.link.catalogue_out import CatalogueOut
from vidhub.link.live import VERSION, Link, Part
from vidhub.model import CameraFilter, HubLevel, HubSide, LinkedHub, Scope
from vidhub.store import hubs
from vidhub.v1 import link_service_pb2 as pb

PATIENCE_S = 60.0
EVERYTHING = Scope(region_prefixes=tuple("123456789"))
_ALL = CameraFilter()


class Sharing:
    """A domain with the two parts that speak of the catalogue."""

    def __init__(self, domain: Domain, region_code: str) -> None:
        self.domain = domain
        self.hub_id = domain.hub_id
        self.region_code = region_code
        self.out = CatalogueOut(
            store=domain.store,
            core=domain.core,
            shares=domain.shares,
            remote=domain.remote,
            watches=domain.watches,
            hub_id=domain.hub_id,
            unit_name=lambda unit_id: f"单位{unit_id}",
        )
        self.into = CatalogueIn(
            store=domain.store,
            audit=domain.audit,
            core=domain.core,
            remote=domain.remote,
            received=domain.received,
            hub_id=domain.hub_id,
        )
        self.more: list[Part] = []
        domain.fanout.on("camera_state", self.out.states_changed)

    @property
    def parts(self) -> Sequence[Part]:
        return (self.out, self.into, *self.more)

    async def know(self, other: Sharing, side: HubSide) -> LinkedHub:
        """On record as linked, accepted by both."""
        known = await self.domain.store.read(lambda conn: hubs.get(conn, other.hub_id))
        hub = LinkedHub(
            other.hub_id,
            other.hub_id,
            HubLevel.CITY,
            other.region_code,
            side,
            joined=True,
            accepted_here=True,
            accepted_there=True,
            have=None if known is None else known.have,
            create_time=datetime.now(UTC),
        )
        await self.domain.store.write(lambda conn: hubs.put(conn, hub))
        return hub

    async def register(self, *numbers: int, **changed: object) -> list[str]:
        """Cameras of unit u1; their ids."""
        batch = [camera(number, **changed) for number in numbers]
        found: list[str] = []
        for start in range(0, len(batch), 1_000):
            result = await self.domain.catalogue.register(unit(), batch[start : start + 1_000])
            assert not result.rejected, result.rejected[0]
            found += result.ids
        return found

    async def share(self, other: Sharing, scope: Scope = EVERYTHING, **given: object) -> None:
        await self.domain.shares.create(SYSTEM, other.hub_id, scope, **given)  # type: ignore[arg-type]

    async def hello(self, other: Sharing) -> pb.Hello:
        known = await self.domain.store.read(lambda conn: hubs.get(conn, other.hub_id))
        hello = pb.Hello(
            version=VERSION, oldest_version=1, hub_id=self.hub_id, name=self.hub_id, accepted=True,
            have=None if known is None else convert.to_revision(known.have),
        )  # fmt: skip
        hello.time.FromDatetime(datetime.now(UTC))
        return hello

    def ids(self) -> set[str]:
        page = self.domain.core.list_cameras(SYSTEM, _ALL, limit=100_000)
        return {one.id for one in page.cameras}


@contextlib.asynccontextmanager
async def sharing(directory: Path, hub_id: str, region_code: str) -> AsyncIterator[Sharing]:
    directory.mkdir(exist_ok=True)
    async with domain_of(directory, hub_id=hub_id) as domain:
        yield Sharing(domain, region_code)


@dataclass
class Joined:
    """Both ends of one link; sent: what the lower side has said, said: what the upper one has."""

    lower: Link
    upper: Link
    sent: list[pb.LinkMessage]
    said: list[pb.LinkMessage]


@contextlib.asynccontextmanager
async def joined(
    lower: Sharing,
    upper: Sharing,
    *,
    alter: Callable[[pb.LinkMessage], pb.LinkMessage | None] = lambda message: message,
) -> AsyncIterator[Joined]:
    """A link from `lower` to `upper`, cut at the end. alter: what happens on the way up; None loses the message."""
    ups: asyncio.Queue[pb.LinkMessage] = asyncio.Queue(2)
    downs: asyncio.Queue[pb.LinkMessage] = asyncio.Queue(2)
    low = Link(
        await lower.know(upper, HubSide.UPPER), await upper.hello(lower), lower.parts, heartbeat=lambda: pb.Heartbeat()
    )
    up = Link(
        await upper.know(lower, HubSide.LOWER), await lower.hello(upper), upper.parts, heartbeat=lambda: pb.Heartbeat()
    )
    sent: list[pb.LinkMessage] = []
    said: list[pb.LinkMessage] = []

    async def carry(link: Link, queue: asyncio.Queue[pb.LinkMessage], is_up: bool) -> None:
        async for message in link.outgoing():
            # What crosses is octets, so that nothing is shared by accident.
            copy = pb.LinkMessage.FromString(message.SerializeToString())
            if is_up:
                sent.append(copy)
                altered = alter(copy)
                if altered is None:
                    continue
                copy = altered
            else:
                said.append(copy)
            await queue.put(copy)

    async def come(queue: asyncio.Queue[pb.LinkMessage]) -> AsyncIterator[pb.LinkMessage]:
        while True:
            yield await queue.get()

    tasks = [
        asyncio.create_task(carry(low, ups, True)),
        asyncio.create_task(carry(up, downs, False)),
        asyncio.create_task(low.run(come(downs))),
        asyncio.create_task(up.run(come(ups))),
    ]
    try:
        yield Joined(low, up, sent, said)
        for task in tasks[2:]:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(is_so: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Looks until it is so."""
    async with asyncio.timeout(within_s):
        while not is_so():  # noqa: ASYNC110 - there is nothing to wait on in a foreign hub
            await asyncio.sleep(0.01)


async def in_step(lower: Sharing, upper: Sharing, within_s: float = PATIENCE_S) -> tuple[int, bytes]:
    """Looks until what `lower` shares is what `upper` has of it, by digest."""
    async with asyncio.timeout(within_s):
        while True:
            if lower.out.is_in_step(upper.hub_id):
                ours, theirs = await lower.out.digest(upper.hub_id), await upper.into.digest(lower.hub_id)
                if ours == theirs:
                    return ours
            await asyncio.sleep(0.02)
