"""Wiring: the only place that builds objects. A hub is opened, started, run, and closed in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import signal
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import urlsplit

import httpx
import structlog
import uvloop
from sqlalchemy import Connection

from vidhub import __version__, logs
from vidhub.access.addresses import MediaAddresses
from vidhub.access.ends import Ends
from vidhub.access.grants import Grants
from vidhub.access.purposes import Purposes
from vidhub.access.sessions import Sessions
from vidhub.api.admin import AdminOperations, admin_app, error_from_json
from vidhub.api.asgi import AsgiServer, PrivateDirectory, tcp_listener
from vidhub.api.audit import AuditServicer
from vidhub.api.auth import Doorkeeper
from vidhub.api.auth_service import AuthServicer
from vidhub.api.cameras import CameraServicer
from vidhub.api.enrolment import EnrolmentServicer
from vidhub.api.grants import GrantServicer
from vidhub.api.grpc_server import GrpcServer, ServerIdentity
from vidhub.api.http import http_app
from vidhub.api.live import LiveCalls
from vidhub.api.metrics_http import metrics_app
from vidhub.api.sessions import SessionServicer
from vidhub.api.system import SystemServicer
from vidhub.audit import AuditLog
from vidhub.catalogue.cameras import Catalogue
from vidhub.catalogue.media import MediaNotes
from vidhub.catalogue.watch import Watches
from vidhub.config import OFF, Config, HubOptions, split_address
from vidhub.core import Change, Core
from vidhub.errors import FailedPrecondition, Internal, Unavailable, VidhubError
from vidhub.events import Fanout
from vidhub.identity import Authentication, CertificateAuthority, HubKeys, People, Units
from vidhub.lockfile import DataLock
from vidhub.model import Camera, Principal, PrincipalKind, Revision
from vidhub.store import Secrets, Store, cameras, changes, meta, purposes, regions
from vidhub.telemetry import CoreSnapshot, Telemetry

DATABASE = "vidhub.db"
ADMIN_SOCKET = "admin.sock"
# How long running calls and viewers get to end when the hub is told to stop.
DRAIN_S = 5.0
# How long a command waits for a hub that holds the data directory and is about to answer, or to be gone.
PATIENCE_S = 15.0

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
    grants: Grants
    ends: Ends
    sessions: Sessions

    @property
    def system(self) -> Principal:
        return Principal(PrincipalKind.SYSTEM, hub_id=self.hub.id)


class App:
    """One hub on one data directory."""

    def __init__(
        self, config: Config, parts: Parts, run_dir: PrivateDirectory, stack: contextlib.AsyncExitStack
    ) -> None:
        self._config = config
        self._parts = parts
        self._run_dir = run_dir
        self._stack = stack
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._began = time.monotonic()
        self._trouble: str | None = "the hub is starting"
        self.addresses: dict[str, object] = {}
        self.operations = AdminOperations(
            principal=parts.system,
            people=parts.people,
            units=parts.units,
            catalogue=parts.catalogue,
            grants=parts.grants,
            sessions=parts.sessions,
            audit=parts.audit,
            grpc_address=self._grpc_address,
            status=self._status,
            bench=config.bench,
        )

    # Life.

    @classmethod
    async def open(cls, config: Config, *, online: bool) -> Self:
        """Takes the data directory and builds every part. online: to serve; else for one operation on the store.

        Raises FailedPrecondition HUB_RUNNING, and what store, keys and core raise.
        """
        if config.listen.sip != OFF:
            raise FailedPrecondition("LISTENER_NOT_SERVED", "listen.sip: this version does not serve GB/T 28181: off")
        async with contextlib.AsyncExitStack() as stack:
            lock = DataLock(config.data_dir)
            stack.callback(lock.release)
            await asyncio.to_thread(config.data_dir.chmod, 0o700)
            run_dir = PrivateDirectory(config.data_dir / "run")
            stack.callback(run_dir.close)
            failures: list[Callable[[Exception], None]] = []
            parts = await _build(
                config, stack, run_dir.address("app.sock"), lambda error: failures[0](error), online=online
            )
            self = cls(config, parts, run_dir, stack.pop_all())
            failures.append(self._failed)
            return self
        raise AssertionError("unreachable")

    async def start(self) -> None:
        """Opens every listener. Raises Unavailable LISTENER_IN_USE naming the option."""
        config, parts = self._config, self._parts
        parts.core.start_listening()
        for name, work in (
            ("ends", parts.ends.run()),
            ("grants", parts.grants.run()),
            ("audit", parts.audit.run()),
            ("media", parts.media.run()),
        ):
            self._supervise(name, work)
        bound = await parts.core.start()
        self._stack.push_async_callback(parts.core.drain, 0.0)
        public_url = config.public_url or self._origin(bound["http"])
        parts.sessions.serve_at(MediaAddresses(http=public_url, rtsp=self._told(bound["rtsp"])))
        live = LiveCalls()
        parts.people.on_logins_ended(live.logins_ended)
        parts.units.on_revoked(live.certificates_revoked)
        servicers = self._servicers(public_url)
        doorkeeper = Doorkeeper(Authentication(parts.people, parts.units), parts.audit.refusal)
        web = http_app(
            servicers,
            doorkeeper=doorkeeper,
            live=live,
            telemetry=parts.telemetry,
            is_https=public_url.startswith("https:"),
        )
        await self._serve("app", web, self._run_dir.listen("app.sock"))
        grpc = None
        if config.listen.grpc != OFF:
            server = GrpcServer(
                servicers, doorkeeper=doorkeeper, live=live, telemetry=parts.telemetry, identity=self._server_identity
            )
            grpc = await server.start(config.listen.grpc)
            self._stack.push_async_callback(server.stop, DRAIN_S)
        metrics = None
        if config.listen.metrics != OFF:
            listener, metrics = tcp_listener(config.listen.metrics, "--metrics")
            probes = metrics_app(parts.telemetry.registry, alive=lambda: None, ready=lambda: self._trouble)
            await self._serve("metrics", probes, listener)
        admin_dir = PrivateDirectory(config.data_dir)
        self._stack.callback(admin_dir.close)
        self._stack.callback(admin_dir.remove, ADMIN_SOCKET)
        self.addresses = {**dict.fromkeys(("http", "grpc", "rtsp", "rtsps", "webrtc", "metrics", "sip")), **bound}
        self.addresses.update(grpc=grpc, metrics=metrics)
        await self._serve("admin", admin_app(self.operations), admin_dir.listen(ADMIN_SOCKET))
        parts.core.set_ready(True)
        self._trouble = None
        log.info("the hub is ready", hub=parts.hub.id, **{k: v for k, v in self.addresses.items() if v is not None})

    async def run(self, stop: asyncio.Event) -> None:
        """Returns when `stop` is set; raises when a part of the hub has died."""
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({stopping, self._failure}, return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                await self._failure
        finally:
            stopping.cancel()

    async def close(self, hurry: asyncio.Event | None = None) -> None:
        """Ends everything in order and marks the stop as clean. hurry: once set, viewers are not waited for."""
        parts = self._parts
        self._trouble = "the hub is stopping"
        parts.core.set_ready(False)
        if self.addresses:
            drain = asyncio.create_task(parts.core.drain(DRAIN_S))
            hurried = asyncio.create_task((hurry or asyncio.Event()).wait())
            await asyncio.wait({drain, hurried}, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
        is_sound = not self._failure.done()
        await self._stack.aclose()
        if self._failure.done() and is_sound:
            await self._failure

    # Inside.

    def _supervise(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of the hub's: one that dies takes the hub with it, for half a hub is worse than none."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)

        def done(ended: asyncio.Task[None]) -> None:
            self._tasks.discard(ended)
            if not ended.cancelled() and (error := ended.exception()) is not None:
                self._failed(error)

        async def cancel() -> None:
            task.cancel()
            await asyncio.wait({task})

        task.add_done_callback(done)
        self._stack.push_async_callback(cancel)
        return task

    async def _serve(self, name: str, app: Any, listener: Any) -> None:
        server = AsgiServer(app, listener)
        task = await server.start()
        stopping = False

        def done(ended: asyncio.Task[None]) -> None:
            if not stopping and not ended.cancelled():
                self._failed(ended.exception() or Internal("LISTENER_DIED", f"the {name} listener ended by itself"))

        async def stop() -> None:
            nonlocal stopping
            stopping = True
            await server.stop()

        task.add_done_callback(done)
        self._stack.push_async_callback(stop)

    def _failed(self, error: BaseException) -> None:
        log.error("a part of the hub died", exc_info=error)
        if not self._failure.done():
            told = (
                error if isinstance(error, VidhubError) else Internal("PART_DIED", f"a part of the hub died: {error!r}")
            )
            self._failure.set_exception(told)
            self._failure.exception()  # seen: nobody may be waiting any more

    def _servicers(self, public_url: str) -> Mapping[str, object]:
        parts = self._parts
        return {
            "vidhub.v1.AuthService": AuthServicer(parts.people, public_url=public_url, hub_id=parts.hub.id),
            "vidhub.v1.CameraService": CameraServicer(parts.catalogue, parts.telemetry),
            "vidhub.v1.SessionService": SessionServicer(parts.sessions),
            "vidhub.v1.GrantService": GrantServicer(parts.grants),
            "vidhub.v1.AuditService": AuditServicer(parts.audit),
            "vidhub.v1.EnrolmentService": EnrolmentServicer(parts.units),
            "vidhub.v1.SystemService": SystemServicer(
                hub_id=parts.hub.id,
                hub_name=parts.hub.name,
                version=__version__,
                counts=parts.core.counts,
                uptime_s=lambda: time.monotonic() - self._began,
            ),
        }

    def _server_identity(self) -> ServerIdentity:
        """Asked at each handshake, so that a new certificate is shown as soon as there is one."""
        config = self._config
        names = {split_address(config.listen.grpc)[0], *config.advertise}
        if config.public_url:
            names.add(urlsplit(config.public_url).hostname or "")
        shown = self._parts.ca.server_certificate(name for name in names if name)
        return ServerIdentity(
            certificate_chain=shown.certificate_pem.encode(),
            private_key=shown.key_pem.encode(),
            client_ca=self._parts.ca.ca_pem.encode(),
        )

    def _grpc_address(self) -> str:
        """What units are told. A hub that does not run is told by its configuration."""
        bound = self.addresses.get("grpc") or self._config.listen.grpc
        if bound == OFF:
            raise FailedPrecondition("GRPC_OFF", "units reach the hub by gRPC, which is off: set listen.grpc")
        if str(bound).endswith(":0"):
            raise FailedPrecondition(
                "GRPC_PORT_UNKNOWN", "the gRPC port is chosen when the hub starts: start it first, or set listen.grpc"
            )
        return self._told(str(bound))

    def _told(self, bound: str | None) -> str:
        """HOST:PORT as clients outside are told."""
        if bound is None:
            return ""
        host, port = split_address(bound)
        told = self._config.advertise[0].strip("[]") if self._config.advertise else host
        return f"[{told}]:{port}" if ":" in told else f"{told}:{port}"

    def _origin(self, bound: str | None) -> str:
        if bound is None:
            return ""
        scheme = "https" if self._config.tls_cert is not None else "http"
        return f"{scheme}://{self._told(bound)}"

    def _status(self) -> dict[str, Any]:
        hub = self._parts.hub
        return {
            "hub_id": hub.id,
            "hub_name": hub.name,
            "level": hub.level,
            "region": hub.region,
            "version": __version__,
            **self._parts.core.counts(),
            "uptime_s": time.monotonic() - self._began if self.addresses else 0.0,
            "addresses": self.addresses,
        }


async def _build(
    config: Config,
    stack: contextlib.AsyncExitStack,
    backend_socket: str,
    failed: Callable[[Exception], None],
    *,
    online: bool,
) -> Parts:
    data = config.data_dir
    store = await Store.open(config.store_url or f"sqlite:///{data / DATABASE}")
    stack.push_async_callback(store.close)
    hub = await store.write(lambda conn: _settle_hub(conn, config.hub))
    keys = await asyncio.to_thread(HubKeys.open, data)
    secrets = await asyncio.to_thread(Secrets.open, data / "keys" / "secrets.json")
    ca = await asyncio.to_thread(CertificateAuthority.open, data, hub.id)
    audit = await AuditLog.open(store, keys.hub, anchor=data / "audit-checkpoint.json")
    units = await Units.open(store, audit, ca)
    people = await People.open(store, audit, keys, hub_id=hub.id, data_dir=data)
    stack.callback(people.close)
    core = Core(_core_options(config, hub, keys, backend_socket))
    stack.push_async_callback(core.stop)
    telemetry = Telemetry()
    telemetry.watch(
        snapshot=lambda: cast("CoreSnapshot", core.snapshot()),
        camera_counts=core.camera_counts,
        audit_entries=lambda: audit.entries_total,
        version=__version__,
    )
    watches = Watches(core, store)
    media = MediaNotes(store)
    table, register = await store.read(lambda conn: (regions.load(conn), purposes.load(conn)))
    catalogue = Catalogue(
        store=store,
        secrets=secrets,
        audit=audit,
        core=core,
        regions=regions.RegionTable(table),
        watches=watches,
        telemetry=telemetry,
    )
    kinds = Purposes(register)
    grants = Grants(store=store, audit=audit, core=core, purposes=kinds, watches=watches)
    ends = Ends(store, audit)
    sessions = Sessions(
        store=store,
        secrets=secrets,
        audit=audit,
        core=core,
        purposes=kinds,
        ends=ends,
        hub_id=hub.id,
        ticket_ttl_s=config.access.ticket_ttl_s,
        session_ttl_s=config.access.session_ttl_s,
    )
    people.on_suspended(lambda user: _note(sessions.end_all_of(PrincipalKind.USER, user.name, "USER_SUSPENDED")))
    fanout = Fanout(core, failed)
    fanout.on("camera_state", watches.states_changed)
    fanout.on("stream_media", media.take)
    fanout.on("session_ended", sessions.ended)
    fanout.on("session_ended", ends.take)
    parts = Parts(
        hub, store, keys, ca, audit, people, units, core, telemetry, watches, media, catalogue, grants, ends, sessions
    )
    await _load(parts, secrets)
    if online:
        was_clean = await store.write(_begin)
        await people.ensure_first_administrator()
        await sessions.reload(was_clean=was_clean)
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


async def _finish(parts: Parts, *, online: bool) -> None:
    """The last of a run: what has ended is on record, the register is signed, the stop is marked as clean."""
    while parts.core.take_events():
        pass
    await parts.ends.flush()
    await parts.audit.close()
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


def _core_options(config: Config, hub: HubOptions, keys: HubKeys, backend_socket: str) -> dict[str, object]:
    def on(listener: str) -> str | None:
        return None if listener == OFF else listener

    listen, stream, source = config.listen, config.stream, config.source
    return {
        "hub_id": hub.id,
        "ticket_key_pem": keys.hub_pem.decode(),
        "listen": {
            "http": on(listen.http),
            "rtsp": on(listen.rtsp),
            "rtsps": on(listen.rtsps),
            "webrtc": on(listen.webrtc),
        },
        # Host names are for RTSP addresses alone: an ICE candidate is an address.
        "advertise": [host.strip("[]") for host in config.advertise if _is_address(host.strip("[]"))],
        "tls": None
        if config.tls_cert is None or config.tls_key is None
        else {"cert": str(config.tls_cert), "key": str(config.tls_key)},
        "backend_socket": backend_socket,
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


# What the command line calls.


def serve(config: Config, *, on_ready: Callable[[dict[str, object]], None]) -> int:
    """Runs a hub until SIGTERM or SIGINT; a second one does not wait for viewers. Raises what starting raises."""
    logs.configure()
    uvloop.run(_serve(config, on_ready))
    return 0


async def _serve(config: Config, on_ready: Callable[[dict[str, object]], None]) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: hurry.set() if stop.is_set() else stop.set())
    app = await App.open(config, online=True)
    try:
        await app.start()
        on_ready(app.addresses)
        await app.run(stop)
    finally:
        await app.close(hurry)


def administer(config: Config, operation: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    """One operation of `AdminOperations`: by the running hub, or on the store when none runs."""
    logs.configure()
    return asyncio.run(_administer(config, operation, dict(arguments)))


async def _administer(config: Config, operation: str, arguments: dict[str, object]) -> dict[str, Any]:
    # What only reads must not leave a new hub behind where somebody misspelt a directory.
    if operation not in _FIRST and not config.store_url and not (config.data_dir / DATABASE).exists():
        raise FailedPrecondition("DATA_DIR_EMPTY", f"there is no hub in {config.data_dir}: check --data-dir")
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            app = await App.open(config, online=False)
        except FailedPrecondition as held:
            if held.reason != "HUB_RUNNING":
                raise
            answer = await _ask(config.data_dir, operation, arguments)
            if answer is not None:
                return answer
            if time.monotonic() > deadline:
                raise
            # It holds the directory and does not answer yet, or no longer: nothing but time will tell.
            await asyncio.sleep(0.1)
        else:
            try:
                return await app.operations.perform(operation, arguments)
            finally:
                await app.close()


_FIRST = ("user_add", "unit_token")


async def _ask(data_dir: Path, operation: str, arguments: dict[str, object]) -> dict[str, Any] | None:
    """None when nobody answers on the socket."""
    directory = PrivateDirectory(data_dir)
    try:
        transport = httpx.AsyncHTTPTransport(uds=directory.address(ADMIN_SOCKET))
        async with httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(120, connect=5)) as client:
            answer = await client.post(f"http://hub/{operation}", json=arguments)
    except httpx.ConnectError:
        return None
    except httpx.HTTPError as cause:
        raise Unavailable("HUB_SILENT", "the running hub did not answer: see its log, and try again") from cause
    finally:
        directory.close()
    document = answer.json()
    if answer.status_code != 200:
        raise error_from_json(document)
    return dict(document)
