"""Three levels of hubs in this process, the lowest of which has a camera that is shared up to the top."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.domain import SYSTEM, camera, person, unit
from support.joined import Hub, hub_of

from vidhub.model import Action, AuditRecord, CameraStream, Grant, Principal, Profile, Purpose, Role, Scope, Session
from vidhub.store import sessions

CAMERA = camera(1).id
PATROL = Purpose("patrol")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
# How long it takes is the benches' to say; here a busy machine may take its time.
PATIENCE_S = 60.0


def operator(hub: Hub, name: str = "li") -> Principal:
    return replace(person(name, Role.OPERATOR, department="指挥中心"), hub_id=hub.id, trace_id=TRACE)


async def may_watch(hub: Hub, name: str = "li", *, purposes: Sequence[str] = ("patrol", "traffic")) -> Grant:
    """A person of the hub and their grant there."""
    await hub.domain.add_user(operator(hub, name))
    now = datetime.now(UTC)
    return await hub.domain.grants.create(
        SYSTEM,
        Grant(
            id="",
            username=name,
            department="",
            scope=Scope(region_prefixes=("36",)),
            actions=(Action.VIEW_LIVE, Action.SNAPSHOT),
            purposes=tuple(purposes),
            not_before=now,
            not_after=now + timedelta(hours=1),
        ),
    )


async def watch(hub: Hub, name: str = "li", purpose: Purpose = PATROL) -> Session:
    return (await hub.domain.sessions.open(operator(hub, name), CAMERA, purpose)).session


async def open_of(hub: Hub) -> list[Session]:
    return await hub.domain.store.read(sessions.load_open)


async def last(hub: Hub) -> Session:
    """The newest session of the hub, once its end is on record."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = await hub.domain.store.read(lambda conn: sessions.list_page(conn, include_ended=True, limit=1))
        if found and found[0].end_time is not None:
            return found[0]
        assert time.monotonic() < deadline, f"the session at {hub.id} did not end"
        await asyncio.sleep(0.01)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Looks until it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110 - what is on record has no event
            await asyncio.sleep(0.01)


async def records(hub: Hub, action: str) -> list[AuditRecord]:
    return [entry.record for entry in await hub.domain.entries(action)]


async def all_ended(hubs: Sequence[Hub], reason: str) -> None:
    """On every hub, and on record once."""
    for hub in hubs:
        assert (await last(hub)).end_reason == reason, hub.id
        (closed,) = await records(hub, "session.close")
        assert json.loads(closed.detail_json)["end_reason"] == reason
        assert closed.trace_id == TRACE
        assert not hub.domain.book.is_watched(CAMERA)


@dataclass
class Levels:
    """The camera is the district's."""

    province: Hub
    city: Hub
    district: Hub
    grant: Grant
    shares: dict[str, str]

    @property
    def all(self) -> tuple[Hub, Hub, Hub]:
        return self.province, self.city, self.district


@contextlib.asynccontextmanager
async def three(directory: Path, *, ahead: float = 0.0, url: str = "") -> AsyncIterator[Levels]:
    """Three hubs that are not joined yet. ahead: of the city's clock on its links.

    url: the camera's, for hubs with media.
    """
    async with (
        hub_of(directory / "p", "province", media=bool(url)) as province,
        hub_of(directory / "c", "city", ahead=ahead, media=bool(url)) as city,
        hub_of(directory / "d", "district", media=bool(url)) as district,
    ):
        own = replace(unit("u1"), hub_id="district")
        streams = (CameraStream(Profile.MAIN, url or "rtsp://10.0.0.1/1"),)
        await district.domain.catalogue.register(own, [camera(1, streams=streams)])
        await city.knows(camera(1), home="district", by="district")
        await province.knows(camera(1), home="district", by="city")
        shares = {
            "district": await district.share("city", purposes=("patrol", "emergency")),
            "city": await city.share("province", purposes=("patrol", "traffic")),
        }
        yield Levels(province, city, district, await may_watch(province), shares)
