"""A hub with its edges: every listener, and the supervision of everything that runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, Self, cast

import structlog

from vidhub import __version__
from vidhub.access.addresses import MediaAddresses
from vidhub.api.admin import AdminOperations, admin_app
from vidhub.api.admin_access import AccessOperations
from vidhub.api.admin_audit import AuditOperations
from vidhub.api.admin_compliance import ComplianceOperations
from vidhub.api.admin_people import PeopleOperations
from vidhub.api.asgi import AsgiServer, PrivateDirectory, tcp_listener
from vidhub.api.audit import AuditServicer
from vidhub.api.auth import Doorkeeper
from vidhub.api.auth_service import AuthServicer
from vidhub.api.cameras import CameraServicer
from vidhub.api.convert import Names
from vidhub.api.enrolment import EnrolmentServicer
from vidhub.api.events import EventServicer
from vidhub.api.grants import GrantServicer
from vidhub.api.grpc_server import GrpcServer, ServerIdentity
from vidhub.api.http import http_app
from vidhub.api.live import LiveCalls
from vidhub.api.metrics_http import metrics_app
from vidhub.api.purposes import PurposeServicer
from vidhub.api.sessions import SessionServicer
from vidhub.api.system import SystemServicer
from vidhub.api.units import UnitServicer
from vidhub.api.users import UserServicer
from vidhub.app.house import House
from vidhub.app.parts import Parts, build, certificate_names
from vidhub.config import OFF, Config, split_address
from vidhub.core import FrameUnit
from vidhub.doctor import HubDoctor
from vidhub.errors import FailedPrecondition, Internal, VidhubError
from vidhub.identity import Authentication
from vidhub.link.live import OLDEST_VERSION, VERSION
from vidhub.lockfile import DataLock

ADMIN_SOCKET = "admin.sock"
# How long running calls and viewers get to end when the hub is told to stop.
DRAIN_S = 5.0
# How often the hub looks whether its own sockets are there.
_SOCKET_LOOK_S = 2.0

log = structlog.get_logger(__name__)


class App:
    """One hub on one data directory."""

    def __init__(
        self, config: Config, parts: Parts, run_dir: PrivateDirectory, stack: contextlib.AsyncExitStack
    ) -> None:
        self._config = config
        self._parts = parts
        self._run_dir = run_dir
        self._stack = stack
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._began = time.monotonic()
        self._trouble: str | None = "the hub is starting"
        self._grpc: GrpcServer | None = None
        self.addresses: dict[str, object] = {}
        self.operations = AdminOperations(
            principal=parts.system,
            units=parts.units,
            catalogue=parts.catalogue,
            sessions=parts.sessions,
            grpc_address=self._grpc_address,
            status=self._status,
            bench=config.bench,
        )
        AuditOperations(parts.system, parts.audit).add_to(self.operations)
        ComplianceOperations(parts.compliance, is_serving=lambda: bool(self.addresses)).add_to(self.operations)
        PeopleOperations(parts.system, parts.people).add_to(self.operations)
        AccessOperations(parts.system, parts.grants, parts.explainer, parts.purpose_desk).add_to(self.operations)
        parts.links.add_operations(
            self.operations, parts.system, link_address=self._grpc_address, media_address=self._media_address
        )
        doctor = HubDoctor(
            config,
            principal=parts.system,
            store=parts.store,
            units=parts.units,
            core=parts.core,
            links=parts.links.doctor(),
            bound=lambda: self.addresses,
            told=self._told_to_clients,
            names=certificate_names(config),
        )
        self.operations.add(doctor.examine, hub="", camera_id="")

    # Life.

    @classmethod
    async def open(cls, config: Config, *, online: bool) -> Self:
        """Takes the data directory and builds every part. online: to serve; else for one operation on the store.

        Raises FailedPrecondition HUB_RUNNING, and what store, keys and core raise.
        """
        if config.listen.sip != OFF:
            raise FailedPrecondition("LISTENER_NOT_SERVED", "listen.sip: this version does not serve GB/T 28181: off")
        stack = contextlib.AsyncExitStack()
        try:
            lock = DataLock(config.data_dir)
            stack.callback(lock.release)
            run_dir = PrivateDirectory(config.data_dir / "run")
            stack.callback(run_dir.close)
            # The parts are built before the hub that hears of their failures.
            listeners: list[Callable[[Exception], None]] = []
            parts = await build(
                config, stack, run_dir.address("app.sock"), lambda error: listeners[0](error), online=online
            )
            self = cls(config, parts, run_dir, stack)
            house = await House.open(config, parts.audit)
            house.add_operations(self.operations, parts.system)
            parts.telemetry.watch_house(house.figures)
            parts.alarms.watch_house(house.figures)
            listeners.append(self._failed)
        except BaseException:
            await stack.aclose()
            raise
        return self

    async def start(self) -> None:
        """Opens every listener. Raises Unavailable LISTENER_IN_USE naming the option."""
        config, parts = self._config, self._parts
        parts.core.start_listening()
        for name, work in (
            ("ends", parts.ends.run()),
            ("grants", parts.grants.run()),
            ("audit", parts.audit.run()),
            ("media", parts.media.run()),
            ("duplicates", parts.duplicates.run()),
            ("events", parts.events.run()),
            ("storms", parts.storms.run()),
            ("alarms", parts.alarms.run()),
            ("pulse", parts.alarms.pulse.run()),
            ("compliance", parts.compliance.run()),
        ):
            self._supervise(name, work)
        bound = await parts.core.start()
        self._stack.push_async_callback(parts.core.drain, 0.0)
        public_url = config.public_url or self._origin(bound["http"])
        rtsp, rtsps = self._told(bound["rtsp"]), self._told(bound["rtsps"])
        parts.sessions.serve_at(MediaAddresses(http=public_url, rtsp=rtsp, rtsps=rtsps))
        live = LiveCalls()
        parts.people.logins.on_ended(live.logins_ended)
        parts.units.on_revoked(live.certificates_revoked)
        servicers = self._servicers(public_url)
        doorkeeper = Doorkeeper(Authentication(parts.people, parts.units), parts.audit.refusal)
        web = http_app(
            servicers,
            doorkeeper=doorkeeper,
            live=live,
            telemetry=parts.telemetry,
            is_https=public_url.startswith("https:"),
            turns=parts.store.turns,
        )
        self._stack.callback(self._run_dir.remove, "app.sock")
        await self._serve_socket("app", web, self._run_dir, "app.sock")
        grpc = None
        if config.listen.grpc != OFF:
            server = GrpcServer(
                servicers, doorkeeper=doorkeeper, live=live, telemetry=parts.telemetry, identity=self._server_identity
            )
            grpc = await server.start(config.listen.grpc)
            self._grpc = server
            self._stack.push_async_callback(server.stop, 0.0)
        metrics = None
        if config.listen.metrics != OFF:
            listener, metrics = tcp_listener(config.listen.metrics, "--metrics")
            probes = metrics_app(parts.telemetry.registry, alive=lambda: None, ready=lambda: self._trouble)
            await self._serve("metrics", probes, listener)
        admin_dir = PrivateDirectory(config.data_dir)
        self._stack.callback(admin_dir.close)
        self._stack.callback(admin_dir.remove, ADMIN_SOCKET)
        listeners = ("http", "grpc", "rtsp", "rtsp_udp", "rtsps", "webrtc", "metrics", "sip")
        self.addresses = {**dict.fromkeys(listeners), **bound}
        self.addresses.update(grpc=grpc, metrics=metrics, pid=os.getpid())
        self._supervise("links", parts.links.run())
        self._supervise("farewells", parts.links.farewells.run())
        await self._serve_socket("admin", admin_app(self.operations), admin_dir, ADMIN_SOCKET)
        parts.core.set_ready(True)
        self._trouble = None
        log.info("the hub is ready", hub=parts.hub.id, **{k: v for k, v in self.addresses.items() if v is not None})

    async def run(self, stop: asyncio.Event) -> None:
        """Returns when `stop` is set; raises when a part of the hub has died."""
        stopping = asyncio.create_task(stop.wait())
        try:
            both: set[asyncio.Future[Any]] = {stopping, self._failure}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if self._failure.done():
                await self._failure
        finally:
            stopping.cancel()

    def frames(self, session_id: str, *, keyframes_only: bool = False) -> AsyncGenerator[FrameUnit]:
        """Encoded frames of an open session, for what inspects and derives: see `Core.frames`."""
        return self._parts.core.frames(session_id, keyframes_only=keyframes_only)

    async def close(self, hurry: asyncio.Event | None = None) -> None:
        """Ends everything in order and marks the stop as clean. hurry: once set, viewers are not waited for."""
        parts = self._parts
        self._trouble = "the hub is stopping"
        parts.core.set_ready(False)
        parts.watches.drain()
        parts.event_desk.drain()
        if self.addresses:
            drain = asyncio.create_task(self._drain())
            hurried = asyncio.create_task((hurry or asyncio.Event()).wait())
            await asyncio.wait({drain, hurried}, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
        await self._stack.aclose()

    # Inside.

    async def _drain(self) -> None:
        """Calls and viewers get the same time to end; other hubs hear why."""
        await self._parts.links.links.drain()
        waits: list[Coroutine[Any, Any, None]] = [self._parts.core.drain(DRAIN_S)]
        if self._grpc is not None:
            waits.append(self._grpc.stop(DRAIN_S))
        await asyncio.gather(*waits)

    def _supervise(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """A task of the hub's: one that dies takes the hub with it, for half a hub is worse than none."""
        task = asyncio.create_task(work, name=name)

        def done(ended: asyncio.Task[None]) -> None:
            if not ended.cancelled() and (error := ended.exception()) is not None:
                self._failed(error)

        async def cancel() -> None:
            task.cancel()
            await asyncio.wait({task})

        task.add_done_callback(done)
        self._stack.push_async_callback(cancel)

    async def _serve(self, name: str, app: Any, listener: Any) -> Callable[[], Coroutine[Any, Any, None]]:
        """The answer stops it before the hub is."""
        server = AsgiServer(name, app, listener)
        task = await server.start()
        stopping = False

        def done(ended: asyncio.Task[None]) -> None:
            if not stopping:
                error = None if ended.cancelled() else ended.exception()
                self._failed(error or Internal("LISTENER_DIED", f"the {name} listener ended by itself"))

        async def stop() -> None:
            nonlocal stopping
            stopping = True
            await server.stop()

        task.add_done_callback(done)
        self._stack.push_async_callback(stop)
        return stop

    async def _serve_socket(self, name: str, app: Any, directory: PrivateDirectory, file: str) -> None:
        """Serves on one of the hub's own sockets, and makes it anew when somebody has removed it: whoever is connected
        by the last one stays."""
        stops = [await self._serve(name, app, directory.listen(file))]

        async def keep() -> None:
            while True:
                await asyncio.sleep(_SOCKET_LOOK_S)
                if not (directory.path / file).exists():
                    stops.append(await self._serve(name, app, directory.listen(file)))
                    self._parts.alarms.socket_gone(file)
                    if len(stops) > 2:
                        await stops.pop(0)()

        self._supervise(f"{name} socket", keep())

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
            "vidhub.v1.AuthService": AuthServicer(
                parts.people, parts.units, public_url=public_url, hub_id=parts.hub.id
            ),
            "vidhub.v1.CameraService": CameraServicer(
                parts.catalogue, parts.telemetry, self._names(), snapshots=parts.snapshots
            ),
            "vidhub.v1.SessionService": SessionServicer(parts.sessions),
            "vidhub.v1.GrantService": GrantServicer(parts.grants, parts.explainer),
            "vidhub.v1.PurposeService": PurposeServicer(parts.purpose_desk),
            "vidhub.v1.UserService": UserServicer(parts.people),
            "vidhub.v1.UnitService": UnitServicer(parts.units, self._grpc_address),
            "vidhub.v1.AuditService": AuditServicer(parts.audit),
            "vidhub.v1.EventService": EventServicer(parts.event_desk, self._names()),
            "vidhub.v1.EnrolmentService": EnrolmentServicer(parts.units, parts.links.enrolment()),
            **parts.links.servicers(),
            "vidhub.v1.SystemService": SystemServicer(
                hub_id=parts.hub.id,
                hub_name=parts.hub.name,
                version=__version__,
                counts=parts.core.counts,
                uptime_s=lambda: time.monotonic() - self._began,
                purposes=parts.purposes.kinds,
                link_versions=(VERSION, OLDEST_VERSION),
            ),
        }

    def _names(self) -> Names:
        parts = self._parts
        return Names(unit=parts.units.name_of, region=parts.regions.name_of)

    def _server_identity(self) -> ServerIdentity:
        """Asked at each handshake, so that a new certificate is shown as soon as there is one."""
        shown = self._parts.ca.server_certificate(certificate_names(self._config))
        return ServerIdentity(
            certificate_chain=shown.certificate_pem,
            private_key=shown.key_pem,
            client_ca=self._parts.ca.ca_pem.encode(),
        )

    def _grpc_address(self) -> str:
        """What units and lower hubs are told. A hub that does not run is told by its configuration."""
        return self._reached_at("grpc", self._config.listen.grpc)

    def _media_address(self) -> str:
        """What lower hubs are told for media."""
        return self._reached_at("rtsps", self._config.listen.rtsps)

    def _reached_at(self, listener: str, configured: str) -> str:
        bound, word = self.addresses.get(listener) or configured, listener.upper()
        if bound == OFF:
            raise FailedPrecondition(
                f"{word}_OFF", f"others reach this hub by {listener}, which is off: set listen.{listener}"
            )
        if str(bound).endswith(":0"):
            raise FailedPrecondition(
                f"{word}_PORT_UNKNOWN",
                f"the {listener} port is chosen when the hub starts: start it first, or set listen.{listener}",
            )
        return self._told(str(bound))

    def _told(self, bound: str | None) -> str:
        """HOST:PORT as clients outside are told."""
        if bound is None:
            return ""
        host, port = split_address(bound)
        told = self._config.advertise[0].strip("[]") if self._config.advertise else host
        return f"[{told}]:{port}" if ":" in told else f"{told}:{port}"

    def _told_to_clients(self) -> tuple[str, dict[str, str]]:
        """The console's address, and HOST:PORT by listener."""
        bound = {name: self.addresses[name] for name in ("grpc", "rtsp", "rtsps", "webrtc")}
        url = self._config.public_url or self._origin(cast("str | None", self.addresses["http"]))
        return url, {name: self._told(str(one)) if one else "" for name, one in bound.items()}

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
