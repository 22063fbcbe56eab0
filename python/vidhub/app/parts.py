"""The hub below its edges: store, identity, core and the domain, built and loaded."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import structlog
from sqlalchemy import Connection

from vidhub import __version__
from vidhub.access import restart
from vidhub.access.book import SessionBook
from vidhub.access.ends import Ends
from vidhub.access.explain import Explainer
from vidhub.access.foreign import ForeignSessions
from vidhub.access.grants import Grants
from vidhub.access.purpose_desk import PurposeDesk
from vidhub.access.purposes import Purposes
from vidhub.access.sessions import Sessions
from vidhub.access.shares import Shares
from vidhub.access.snapshots import Snapshots
from vidhub.app.alarms import Alarms
from vidhub.app.links import LinkParts, build_links
from vidhub.audit import AuditLog
from vidhub.catalogue.cameras import Catalogue
from vidhub.catalogue.duplicates import Duplicates
from vidhub.catalogue.media import MediaNotes
from vidhub.catalogue.received import ReceivedCameras
from vidhub.catalogue.remote import RemoteCameras
from vidhub.catalogue.watch import Watches
from vidhub.compliance import Compliance
from vidhub.config import OFF, Config, HubOptions, split_address
from vidhub.core import Change, Core
from vidhub.errors import FailedPrecondition
from vidhub.events import EventDesk, EventLog, Fanout
from vidhub.events.storms import Storms
from vidhub.identity import CertificateAuthority, HubKeys, People, ServerCertificate, Units
from vidhub.link.catalogue_in import CatalogueIn
from vidhub.link.catalogue_out import CatalogueOut
from vidhub.link.events import LinkEvents
from vidhub.link.hub_service import HubFigures
from vidhub.link.links import Links
from vidhub.link.notices import Notices
from vidhub.link.peers import Peers
from vidhub.link.sharing import SharingDesk
from vidhub.link.streams import Streams
from vidhub.link.views import Views
from vidhub.model import Camera, Principal, PrincipalKind, Revision
from vidhub.places import Outlines
from vidhub.store import Secrets, Store, cameras, changes, meta, purposes, regions, remote_cameras
from vidhub.telemetry import CoreSnapshot, Telemetry

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """A hub below its edges."""

    hub: HubOptions
    store: Store
    keys: HubKeys
    ca: CertificateAuthority
    audit: AuditLog
    people: People
    units: Units
    core: Core
    telemetry: Telemetry
    watches: Watches
    media: MediaNotes
    catalogue: Catalogue
    duplicates: Duplicates
    remote: RemoteCameras
    received: ReceivedCameras
    grants: Grants
    explainer: Explainer
    shares: Shares
    ends: Ends
    book: SessionBook
    sessions: Sessions
    foreign: ForeignSessions
    snapshots: Snapshots
    purposes: Purposes
    purpose_desk: PurposeDesk
    regions: regions.RegionTable
    links: LinkParts
    events: EventLog
    event_desk: EventDesk
    storms: Storms
    alarms: Alarms
    compliance: Compliance

    @property
    def system(self) -> Principal:
        return Principal(PrincipalKind.SYSTEM, hub_id=self.hub.id)


async def build(
    config: Config,
    stack: contextlib.AsyncExitStack,
    backend_socket: str,
    failed: Callable[[Exception], None],
    *,
    online: bool,
) -> Parts:
    data = config.data_dir
    store = await Store.open(config.database_url)
    stack.push_async_callback(store.close)
    hub = await store.write(lambda conn: _settle_hub(conn, config.hub))
    keys = await asyncio.to_thread(HubKeys.open, data)
    secrets = await asyncio.to_thread(Secrets.open, data / "keys" / "secrets.json")
    ca = await asyncio.to_thread(CertificateAuthority.open, data, hub.id)
    audit = await AuditLog.open(store, keys.hub, anchor=data / "audit-checkpoint.json")
    events = await EventLog.open(store)
    units = await Units.open(store, audit, ca)
    people = await People.open(store, audit, keys, hub_id=hub.id, data_dir=data)
    stack.callback(people.close)
    shown = None
    if online and config.listen.rtsps != OFF:
        shown = await asyncio.to_thread(ca.server_certificate, certificate_names(config))
    core = Core(core_options(config, hub, keys, backend_socket, shown))
    stack.push_async_callback(core.stop)
    telemetry = Telemetry()
    remote = RemoteCameras(await store.read(lambda conn: list(remote_cameras.load(conn))))
    watches = Watches(core, store, remote)
    media = MediaNotes(store)
    table, register = await store.read(lambda conn: (regions.RegionTable(regions.load(conn)), purposes.load(conn)))
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
        outlines=await asyncio.to_thread(Outlines.of_data, data),
        duplicates=duplicates,
    )
    kinds = Purposes(register)
    grants = Grants(store=store, audit=audit, core=core, purposes=kinds, watches=watches)
    shares = Shares(store=store, audit=audit, core=core, purposes=kinds, remote=remote)
    received = ReceivedCameras(
        store=store, secrets=secrets, audit=audit, core=core, remote=remote, watches=watches, hub_id=hub.id
    )
    ends = Ends(store, audit)
    book = SessionBook(
        store=store,
        secrets=secrets,
        audit=audit,
        core=core,
        ends=ends,
        hub_id=hub.id,
        session_ttl_s=config.access.session_ttl_s,
    )
    sessions = Sessions(
        store=store,
        secrets=secrets,
        audit=audit,
        core=core,
        purposes=kinds,
        book=book,
        ticket_ttl_s=config.access.ticket_ttl_s,
    )
    foreign = ForeignSessions(store=store, secrets=secrets, audit=audit, purposes=kinds, book=book)
    snapshots = Snapshots(
        store=store,
        audit=audit,
        core=core,
        sessions=sessions,
        book=book,
        patience_s=config.source.connect_timeout_s + 2 * config.source.stall_timeout_s,
    )
    stack.callback(snapshots.close)
    people.on_cut_off(lambda user, reason: _note(book.end_all_of(PrincipalKind.USER, user.name, reason)))
    units.on_cut_off(lambda unit: _note(book.end_all_of(PrincipalKind.UNIT, unit, "CERTIFICATE_REVOKED")))
    peers = await Peers.open(store, audit, units.register, hub)
    told = CatalogueOut(
        store=store,
        core=core,
        shares=shares,
        remote=remote,
        watches=watches,
        hub_id=hub.id,
        unit_name=units.name_of,
    )
    taken = CatalogueIn(
        store=store, audit=audit, core=core, remote=remote, received=received, hub_id=hub.id, noted=peers.note_have
    )
    figures = HubFigures()
    figures.lag = told.lag
    figures.media = core.link_media
    figures.cameras = lambda peer: (remote.count(peer), told.count(peer))
    figures.conflicts = lambda peer: told.refused_count(peer) + taken.refused_count(peer)
    live_links = Links()
    views = Views(
        hub_id=hub.id,
        key_pem=keys.hub_pem,
        links=live_links,
        core=core,
        book=book,
        foreign=foreign,
        holder=remote.link_of,
    )
    stack.push_async_callback(views.close)
    book.reach(views)
    notices = Notices(shares)
    desk = SharingDesk(
        store=store,
        core=core,
        peers=peers,
        links=live_links,
        shares=shares,
        told=told,
        taken=taken,
        notices=notices,
    )
    streams = Streams(
        store=store, audit=audit, core=core, links=live_links, book=book, views=views, holder=remote.link_of
    )
    stack.push_async_callback(streams.close)
    told_events = LinkEvents(events=events, shares=shares, remote=remote, catalogue=told)
    speakers = (told, taken, views, streams, told_events, notices)
    links = build_links(
        data=data,
        peers=peers,
        links=live_links,
        keys=keys,
        core=core,
        audit=audit,
        speakers=speakers,
        figures=figures,
        desk=desk,
    )

    async def ended(peer: str) -> None:
        await shares.end_all(Principal(PrincipalKind.SYSTEM, hub_id=hub.id), peer)
        told.ended(peer)
        told_events.ended(peer)
        await taken.ended(peer)

    peers.on_ended(ended)
    telemetry.watch(
        snapshot=lambda: cast("CoreSnapshot", core.snapshot()),
        camera_counts=core.camera_counts,
        audit_entries=lambda: audit.entries_total,
        links=links.metrics,
        version=__version__,
    )
    compliance = Compliance(
        store=store,
        core=core,
        remote=remote,
        regions=table,
        principal=Principal(PrincipalKind.SYSTEM, hub_id=hub.id),
    )
    telemetry.watch_compliance(compliance.figures)
    storms = Storms(events, core, hub.id)
    alarms = Alarms(events, core, units.register, links.metrics, hub.id)
    telemetry.watch_alarms(alarms.figures)
    alarms.on_clock_set(grants.look_again)
    store.on_trouble(alarms.store_trouble)
    audit.on_refusal(alarms.refused)
    book.on_opened(alarms.session_opened)
    ends.on_recorded(alarms.session_ended)
    watches.on_moved(storms.catalogue_moved)
    fanout = Fanout(core, failed)
    fanout.on("camera_state", storms.take)
    fanout.on("camera_state", watches.states_changed)
    fanout.on("camera_state", told.states_changed)
    fanout.on("stream_media", media.take)
    fanout.on("media_refused", sessions.media_refused)
    fanout.on("session_ended", book.ended)
    fanout.on("session_ended", ends.take)
    fanout.on("session_ended", views.ended)
    streams.listen(fanout)
    parts = Parts(
        hub,
        store,
        keys,
        ca,
        audit,
        people,
        units,
        core,
        telemetry,
        watches,
        media,
        catalogue,
        duplicates,
        remote,
        received,
        grants,
        Explainer(store=store, core=core, purposes=kinds),
        shares,
        ends,
        book,
        sessions,
        foreign,
        snapshots,
        kinds,
        PurposeDesk(store=store, audit=audit, purposes=kinds),
        table,
        links,
        events,
        EventDesk(events, core, audit.append),
        storms,
        alarms,
        compliance,
    )
    await _load(parts, secrets)
    if online:
        await shares.start(
            Principal(PrincipalKind.SYSTEM, hub_id=hub.id), {one.id for one in peers.all() if one.joined}
        )
        await taken.start()
        was_clean = await store.write(_begin)
        await people.ensure_first_administrator()
        await events.reserve()
        storms.start()
        lost = await restart.reload(store, secrets, audit, book, hub.id, was_clean=was_clean)
        if not was_clean:
            alarms.crashed(lost)
    stack.push_async_callback(_finish, parts, online=online)
    return parts


async def _load(parts: Parts, secrets: Secrets) -> None:
    """Fills the core: the store is the truth, the core a copy."""

    def read(conn: Connection) -> tuple[Revision, list[Camera], list[Change]]:
        log_ = [Change(number, camera_id, kind == "removed") for number, kind, camera_id in changes.load(conn)]
        return meta.revision(conn), list(cameras.load_all(conn, secrets)), log_

    revision, found, log_ = await parts.store.read(read)
    await asyncio.to_thread(parts.core.load, revision, found, log_)
    await parts.grants.load()
    await parts.shares.load()


async def _finish(parts: Parts, *, online: bool) -> None:
    """The last of a run: what has ended is on record, the register is signed, the stop is marked as clean."""
    while parts.core.take_events():
        pass
    await parts.ends.flush()
    await parts.audit.close()
    await parts.events.flush()
    if online:
        await parts.store.write(lambda conn: meta.set_clean_shutdown(conn, True))


def _begin(conn: Connection) -> bool:
    was_clean = meta.was_clean_shutdown(conn)
    meta.set_clean_shutdown(conn, False)
    return was_clean


def _settle_hub(conn: Connection, wanted: HubOptions) -> HubOptions:
    """Who this hub is, settled at its first start: certificates and tickets carry its id."""
    stored = meta.get(conn, "hub")
    if not stored:
        hub = HubOptions(wanted.id or f"hub-{uuid.uuid4().hex[:12]}", wanted.name, wanted.level, wanted.region)
        text = json.dumps(
            {"id": hub.id, "name": hub.name, "level": hub.level, "region": hub.region}, ensure_ascii=False
        )
        meta.put(conn, "hub", text)
        return hub
    hub = HubOptions(**json.loads(stored))
    if wanted.id not in ("", hub.id):
        raise FailedPrecondition(
            "HUB_ID_SETTLED", f"hub.id is {wanted.id}, but this data directory is of hub {hub.id}: use another one"
        )
    return hub


def certificate_names(config: Config) -> set[str]:
    """The addresses that the hub's own certificate is good for: those that gRPC and RTSPS are reached at."""
    names = {split_address(one)[0] for one in (config.listen.grpc, config.listen.rtsps) if one != OFF}
    if config.public_url:
        names.add(urlsplit(config.public_url).hostname or "")
    return {name for name in (*names, *config.advertise) if name}


def core_options(
    config: Config, hub: HubOptions, keys: HubKeys, backend_socket: str, certificate: ServerCertificate | None = None
) -> dict[str, object]:
    """certificate: what RTSPS shows linked hubs, and where no `tls_cert` is given everybody."""

    def on(listener: str) -> str | None:
        return None if listener == OFF else listener

    listen, stream, source = config.listen, config.stream, config.source
    return {
        "hub_id": hub.id,
        "ticket_key_pem": keys.hub_pem.decode(),
        "listen": {
            "http": on(listen.http),
            "rtsp": on(listen.rtsp),
            "rtsp_udp": on(listen.rtsp_udp),
            "rtsps": on(listen.rtsps),
            "webrtc": on(listen.webrtc),
        },
        # Host names are for RTSP addresses alone: an ICE candidate is an address.
        "advertise": [host.strip("[]") for host in config.advertise if _is_address(host.strip("[]"))],
        "tls": None
        if config.tls_cert is None or config.tls_key is None
        else {"cert": str(config.tls_cert), "key": str(config.tls_key)},
        "rtsps_certificate": None
        if certificate is None
        else {"certificate_pem": certificate.certificate_pem.decode(), "key_pem": certificate.key_pem.decode()},
        "backend_socket": backend_socket,
        "public_url": config.public_url,
        # What the control plane binds; a port that is only chosen then can't be told beforehand.
        "own_listeners": [one for one in (listen.grpc, listen.metrics) if one != OFF and split_address(one)[1]],
        **({"grpc_port": port} if listen.grpc != OFF and (port := split_address(listen.grpc)[1]) else {}),
        "trusted_proxies": [str(ipaddress.ip_network(one, strict=False)) for one in config.trusted_proxies],
        "stream": {
            "linger_s": stream.linger_s,
            "gop_cache_bytes": stream.gop_cache_bytes,
            "sink_queue_bytes": stream.sink_queue_bytes,
        },
        "source": {
            "connect_timeout_s": source.connect_timeout_s,
            "stall_timeout_s": source.stall_timeout_s,
            "allow": [str(ipaddress.ip_network(one, strict=False)) for one in source.allow],
            "deny": [str(ipaddress.ip_network(one, strict=False)) for one in source.deny],
            "tls_ca": None if source.tls_ca is None else str(source.tls_ca),
        },
        "probe": {"interval_s": config.probe.interval_s},
    }


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _note(ended: int) -> None:
    if ended:
        log.info("sessions ended", sessions=ended, reason="USER_SUSPENDED")
