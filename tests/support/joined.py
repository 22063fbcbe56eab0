"""Hubs without edges, in this process, joined by links of the real kind: two ends each, and a line between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Connection
from support.domain import Domain, domain_of

from vidhub.identity import CertificateAuthority, HubKeys
from vidhub.link.links import Links
from vidhub.link.live import Link, Part
from vidhub.link.streams import Streams
from vidhub.link.views import Views
from vidhub.model import (
    Action,
    Camera,
    CameraStream,
    Grant,
    HubLevel,
    HubSide,
    LinkedHub,
    Revision,
    Scope,
)
from vidhub.store import cameras, grants, meta, remote_cameras
from vidhub.v1 import link_service_pb2 as pb


@dataclass(eq=False)
class Hub:
    """One of them. parts: what speaks over its links."""

    id: str
    domain: Domain
    links: Links
    views: Views
    keys: HubKeys
    parts: list[Part]
    clock: Clock
    ca_pem: str
    # Where its core listens, by listener; empty without media.
    bound: dict[str, str | None] = field(default_factory=dict)
    # What its Hello says of this start.
    instance: str = "first"

    @property
    def signing_key_pem(self) -> str:
        return self.keys.hub.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    async def knows(self, camera: Camera, *, home: str, by: str) -> None:
        """The camera of another hub, as its catalogue tells it."""
        remote = Camera(
            **{
                **{name: getattr(camera, name) for name in camera.__dataclass_fields__},
                "home_hub_id": home,
                "streams": tuple(CameraStream(one.profile) for one in camera.streams),
            }
        )
        now = datetime.now(UTC)

        def work(conn: Connection) -> Revision:
            number = meta.next_revision(conn)
            cameras.upsert_many(conn, [remote], self.domain.secrets, revision=number, now=now)
            remote_cameras.put(conn, by, [(camera.id, bytes(32), "")])
            return Revision("", number)

        revision = await self.domain.store.write(work)
        self.domain.core.apply_cameras(revision.number, [remote])
        self.domain.remote.put(by, [camera])

    async def share(
        self, to: str, *, purposes: Sequence[str] = ("patrol",), actions: Sequence[Action] = (Action.VIEW_LIVE,)
    ) -> str:
        """All cameras, with a linked hub; the rule's id."""
        now = datetime.now(UTC)
        rule = Grant(
            id=f"g-{self.id}-{to}-{now.timestamp()}",
            username="",
            department="",
            scope=Scope(region_prefixes=("36",)),
            actions=tuple(actions),
            purposes=tuple(purposes),
            not_before=now - timedelta(minutes=1),
            not_after=now + timedelta(days=300),
            create_time=now,
            hub_id=to,
        )
        await self.domain.store.write(lambda conn: grants.insert(conn, rule))
        self.domain.core.apply_grant(rule)
        return rule.id

    def unshare(self, rule: str) -> None:
        self.domain.core.remove_grant(rule, "GRANT_REVOKED")


@dataclass
class Clock:
    """ahead: of the true time, seconds."""

    ahead: float = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)


@dataclass(eq=False)
class Line:
    """Between two ends. While it is frozen nothing passes and nobody is told."""

    ends: tuple[Link, Link]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    flowing: asyncio.Event = field(default_factory=asyncio.Event)

    async def cut(self, reason: str = "LINK_DOWN") -> None:
        for link in self.ends:
            link.end(reason)
        await asyncio.gather(*self.tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def hub_of(directory: Path, name: str, *, ahead: float = 0.0, media: bool = False) -> AsyncIterator[Hub]:
    """ahead: of the true time, by its links. media: its core listens, and dials cameras on this machine."""
    directory.mkdir()
    clock = Clock(ahead)
    ca = CertificateAuthority.open(directory, name)
    async with domain_of(directory, hub_id=name, **(_listening(ca) if media else {})) as domain:
        bound = await domain.core.start() if media else {}
        links = Links()
        keys = HubKeys.open(directory)
        views = Views(
            hub_id=name,
            key_pem=keys.hub_pem,
            links=links,
            core=domain.core,
            book=domain.book,
            foreign=domain.foreign,
            holder=domain.remote.link_of,
            clock=clock,
        )
        domain.book.reach(views)
        domain.fanout.on("session_ended", views.ended)
        streams = Streams(
            store=domain.store,
            audit=domain.audit,
            core=domain.core,
            links=links,
            book=domain.book,
            views=views,
            holder=domain.remote.link_of,
        )
        streams.listen(domain.fanout)
        try:
            yield Hub(name, domain, links, views, keys, [views, streams], clock, ca.ca_pem, bound)
        finally:
            await views.close()
            await streams.close()


def _listening(ca: CertificateAuthority) -> dict[str, object]:
    shown = ca.server_certificate(["127.0.0.1"])
    listeners = ("http", "rtsp", "rtsps", "webrtc")
    return {
        "listen": dict.fromkeys(listeners, "127.0.0.1:0"),
        "rtsps_certificate": {"certificate_pem": shown.certificate_pem.decode(), "key_pem": shown.key_pem.decode()},
        "source": {"allow": ["127.0.0.0/8"]},
        "stream": {"linger_s": 1},
        "probe": {"interval_s": 0},
    }


@contextlib.asynccontextmanager
async def joined(upper: Hub, lower: Hub) -> AsyncIterator[Line]:
    """A link that both have accepted."""

    def end(here: Hub, there: Hub, side: HubSide) -> Link:
        record = LinkedHub(
            id=there.id,
            name=there.id,
            level=HubLevel.CITY,
            region_code="360600",
            side=side,
            joined=True,
            accepted_here=True,
            accepted_there=True,
            media_address=there.bound.get("rtsps") or f"{there.id}.example:8322",
            ca_pem=there.ca_pem,
        )
        hello = pb.Hello(version=1, oldest_version=1, hub_id=there.id, accepted=True)
        hello.instance = there.instance
        hello.signing_key_pem = there.signing_key_pem
        hello.time.FromDatetime(there.clock())
        return Link(record, hello, here.parts, heartbeat=pb.Heartbeat, clock=here.clock)

    line = Line((end(upper, lower, HubSide.LOWER), end(lower, upper, HubSide.UPPER)))
    line.flowing.set()

    async def incoming(sender: Link) -> AsyncIterator[pb.LinkMessage]:
        async for message in sender.outgoing():
            await line.flowing.wait()
            yield pb.LinkMessage.FromString(message.SerializeToString())

    async def run(hub: Hub, own: Link, other: Link) -> None:
        async with hub.links.holding(own):
            await own.run(incoming(other))

    above, below = line.ends
    line.tasks = [asyncio.create_task(run(upper, above, below)), asyncio.create_task(run(lower, below, above))]
    async with asyncio.timeout(30):
        while not (above.is_open and below.is_open):  # noqa: ASYNC110 - the ends have no event for it
            await asyncio.sleep(0)
    try:
        yield line
    finally:
        line.flowing.set()
        await line.cut()


__all__ = ["Hub", "Line", "hub_of", "joined"]
