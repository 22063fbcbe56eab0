"""A domain without edges: a real store, register and core in a directory of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vidhub.access import restart
from vidhub.access.book import SessionBook
from vidhub.access.ends import Ends
from vidhub.access.foreign import ForeignSessions
from vidhub.access.grants import Grants
from vidhub.access.purposes import Purposes
from vidhub.access.sessions import Sessions
from vidhub.access.shares import Shares
from vidhub.access.snapshots import Snapshots
from vidhub.audit import AuditLog
from vidhub.catalogue.cameras import Catalogue
from vidhub.catalogue.duplicates import Duplicates
from vidhub.catalogue.received import ReceivedCameras
from vidhub.catalogue.remote import RemoteCameras
from vidhub.catalogue.watch import Watches
from vidhub.core import Change, Core
from vidhub.events import Fanout
from vidhub.identity import HubKeys
from vidhub.model import (
    AuditEntry,
    Camera,
    CameraStream,
    LegalRecord,
    Location,
    Principal,
    PrincipalKind,
    Profile,
    Role,
    Unit,
    User,
)
from vidhub.places import Outlines
from vidhub.store import Secrets, Store, cameras, changes, meta, purposes, regions, remote_cameras, units, users
from vidhub.telemetry import Telemetry

HUB = "yingtan"
SYSTEM = Principal(PrincipalKind.SYSTEM, hub_id=HUB)


def unit(name: str = "u1") -> Principal:
    return Principal(PrincipalKind.UNIT, name, hub_id=HUB, unit_id=name, address="192.0.2.7")


def person(name: str, *roles: Role, department: str = "", unit_id: str = "") -> Principal:
    return Principal(
        PrincipalKind.USER,
        name,
        hub_id=HUB,
        display_name=name.title(),
        department=department,
        unit_id=unit_id,
        roles=frozenset(roles),
        address="192.0.2.8",
    )


def camera(number: int = 1, **changed: object) -> Camera:
    fields: dict[str, object] = {
        "id": f"360602001113220{number:05d}",
        "name": f"东门{number}",
        "unit_id": "",
        "region_code": "360602",
        "industry": "11",
        "place_category": 5,
        "location": Location(28.24, 117.03, "胜利西路"),
        "streams": (CameraStream(Profile.MAIN, f"rtsp://10.0.0.{number % 250}/1", "admin", "hunter22"),),
        "legal": LegalRecord("赣公通〔2025〕1号", "校园安全", "校门外", 30),
    }
    return Camera(**{**fields, **changed})  # type: ignore[arg-type]


@dataclass
class Domain:
    """The parts of a hub below its edges."""

    store: Store
    secrets: Secrets
    audit: AuditLog
    core: Core
    watches: Watches
    catalogue: Catalogue
    duplicates: Duplicates
    grants: Grants
    book: SessionBook
    sessions: Sessions
    foreign: ForeignSessions
    snapshots: Snapshots
    ends: Ends
    telemetry: Telemetry
    remote: RemoteCameras
    received: ReceivedCameras
    shares: Shares
    fanout: Fanout
    hub_id: str
    failures: list[Exception] = field(default_factory=list)

    async def add_user(self, principal: Principal) -> Principal:
        user = User(
            principal.id,
            principal.id,
            principal.display_name,
            principal.department,
            principal.unit_id,
            principal.roles,
            suspended=False,
            must_change_password=False,
            create_time=datetime.now(UTC),
        )
        await self.store.write(lambda conn: users.insert(conn, user, "-"))
        return principal

    async def reload(self, *, was_clean: bool) -> None:
        await restart.reload(self.store, self.secrets, self.audit, self.book, self.hub_id, was_clean=was_clean)

    async def load(self) -> None:
        """As a hub starts: the core anew from the store."""
        secrets = self.secrets
        found = await self.store.read(
            lambda conn: (meta.revision(conn), list(cameras.load_all(conn, secrets)), changes.load(conn))
        )
        self.core.load(found[0], found[1], [Change(number, one, kind == "removed") for number, kind, one in found[2]])
        await self.grants.load()
        await self.shares.load()

    async def entries(self, action: str = "") -> list[AuditEntry]:
        """Oldest first."""
        await self.audit._refusals.flush(everything=True)
        page = await self.audit.list(action=action, limit=1_000)
        return page.entries[::-1]


@contextlib.asynccontextmanager
async def domain_of(
    directory: Path, *, session_ttl_s: float = 600.0, hub_id: str = HUB, **options: object
) -> AsyncIterator[Domain]:
    """Opened as a hub opens it, and stopped as one that is killed: nothing says that the stop was clean.

    options: more of the core's.
    """
    store = await Store.open(f"sqlite:///{directory / 'vidhub.db'}")
    keys = HubKeys.open(directory)
    secrets = Secrets.open(directory / "keys" / "secrets.json")
    audit = await AuditLog.open(store, keys.hub)
    core = Core({"hub_id": hub_id, "ticket_key_pem": keys.hub_pem.decode(), "threads": 2, **options})
    failures: list[Exception] = []
    fanout = Fanout(core, failures.append)
    telemetry = Telemetry()
    remote = RemoteCameras(await store.read(lambda conn: list(remote_cameras.load(conn))))
    watches = Watches(core, store, remote)
    table = regions.RegionTable(await store.read(regions.load))
    register = Purposes(await store.read(purposes.load))
    ends = Ends(store, audit)
    duplicates = Duplicates(store, core)
    catalogue = Catalogue(
        store=store,
        secrets=secrets,
        audit=audit,
        core=core,
        regions=table,
        watches=watches,
        telemetry=telemetry,
        remote=remote,
        outlines=Outlines.read(),
        duplicates=duplicates,
    )
    grants = Grants(store=store, audit=audit, core=core, purposes=register, watches=watches)
    book = SessionBook(
        store=store,
        secrets=secrets,
        audit=audit,
        core=core,
        ends=ends,
        hub_id=hub_id,
        session_ttl_s=session_ttl_s,
    )
    shares = Shares(store=store, audit=audit, core=core, purposes=register, remote=remote)
    received = ReceivedCameras(
        store=store, secrets=secrets, audit=audit, core=core, remote=remote, watches=watches, hub_id=hub_id
    )
    sessions = Sessions(
        store=store, secrets=secrets, audit=audit, core=core, purposes=register, book=book, ticket_ttl_s=60
    )
    foreign = ForeignSessions(store=store, secrets=secrets, audit=audit, purposes=register, book=book)
    snapshots = Snapshots(store=store, audit=audit, core=core, sessions=sessions, book=book, patience_s=5)
    fanout.on("camera_state", watches.states_changed)
    fanout.on("session_ended", book.ended)
    fanout.on("session_ended", ends.take)
    now = datetime.now(UTC)
    await store.write(
        lambda conn: [units.put(conn, Unit(name, name, "360602", "11", "enrolled", now)) for name in ("u1", "u2")]
    )
    domain = Domain(
        store,
        secrets,
        audit,
        core,
        watches,
        catalogue,
        duplicates,
        grants,
        book,
        sessions,
        foreign,
        snapshots,
        ends,
        telemetry,
        remote,
        received,
        shares,
        fanout,
        hub_id,
        failures,
    )
    await domain.load()
    core.start_listening()
    tasks = [asyncio.create_task(ends.run()), asyncio.create_task(grants.run())]
    try:
        yield domain
        assert failures == []
        assert all(not task.done() for task in tasks), tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        snapshots.close()
        await core.stop()
        await store.close()
