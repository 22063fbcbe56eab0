"""The gRPC edge: grpc.aio over mTLS, for units and hubs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from vidhub.api import MESSAGE_MAX_BYTES, METHODS, SERVICES
from vidhub.api.adapter import GrpcAdapter
from vidhub.api.auth import Doorkeeper
from vidhub.api.call import Call
from vidhub.api.live import LiveCalls
from vidhub.errors import NotFound, Unavailable
from vidhub.telemetry import Telemetry

# Bounds of one server, one connection and one caller.
CALLS_MAX = 2_000
STREAMS_PER_CONNECTION_MAX = 200
METADATA_MAX_BYTES = 16 * 1024
HANDSHAKE_TIMEOUT_MS = 10_000
# TLS is looked at once per connection: an old one must come again. Calls get the grace time to end.
# The link of a lower hub goes through this too: it comes again at once.
CONNECTION_AGE_MS = 24 * 3_600_000
CONNECTION_AGE_GRACE_MS = 300_000
CONNECTION_IDLE_MS = 900_000
# A peer may ping this often; more is "too_many_pings".
PING_INTERVAL_MS = 10_000
KEEPALIVE_MS = 30_000
KEEPALIVE_TIMEOUT_MS = 10_000

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", METADATA_MAX_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_MAX_BYTES),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION_MAX),
    ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
    ("grpc.max_connection_age_grace_ms", CONNECTION_AGE_GRACE_MS),
    ("grpc.max_connection_idle_ms", CONNECTION_IDLE_MS),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MS),
    ("grpc.http2.max_ping_strikes", 3),
    # A compressed message could unfold to a thousand times its size before the limit is looked at.
    ("grpc.compression_enabled_algorithms_bitset", 1),
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What the server shows, and whose clients it lets in; all PEM."""

    certificate_chain: bytes
    private_key: bytes
    client_ca: bytes


class Health:
    """grpc.health.v1: SERVING for the server and each service it carries, until the hub drains."""

    def __init__(self, services: frozenset[str]) -> None:
        self._services = services
        self._is_serving = True
        self._changed = asyncio.Event()

    def drain(self) -> None:
        self._is_serving = False
        self._changed.set()

    async def check(self, request: health_pb2.HealthCheckRequest, _call: Call) -> health_pb2.HealthCheckResponse:
        if request.service and request.service not in self._services:
            raise NotFound("SERVICE_UNKNOWN", "this server carries no such service")
        return self._answer(request.service)

    async def list(self, _request: health_pb2.HealthListRequest, _call: Call) -> health_pb2.HealthListResponse:
        return health_pb2.HealthListResponse(statuses={name: self._answer(name) for name in ("", *self._services)})

    async def watch(
        self, request: health_pb2.HealthCheckRequest, _call: Call
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse]:
        yield self._answer(request.service)
        await self._changed.wait()
        yield self._answer(request.service)
        # The protocol keeps the stream open; the drain ends it.
        await asyncio.Event().wait()

    def _answer(self, service: str) -> health_pb2.HealthCheckResponse:
        if service and service not in self._services:
            status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        elif self._is_serving:
            status = health_pb2.HealthCheckResponse.SERVING
        else:
            status = health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse(status=status)


class Reflection:
    """grpc.reflection.v1alpha for the services that this port carries."""

    def __init__(self, services: frozenset[str]) -> None:
        self._servicer = reflection.aio.ReflectionServicer(sorted(services))

    def server_reflection_info(
        self, requests: AsyncIterator[reflection_pb2.ServerReflectionRequest], _call: Call
    ) -> AsyncGenerator[reflection_pb2.ServerReflectionResponse]:
        answers: AsyncGenerator[reflection_pb2.ServerReflectionResponse] = self._servicer.ServerReflectionInfo(
            requests, None
        )
        return answers


class GrpcServer:
    """Listens where told, with the certificate that `identity` gives at the time of each handshake."""

    def __init__(
        self,
        servicers: Mapping[str, object],
        *,
        doorkeeper: Doorkeeper,
        live: LiveCalls,
        telemetry: Telemetry,
        identity: Callable[[], ServerIdentity],
    ) -> None:
        """servicers: by full name, as in "vidhub.v1.CameraService"; one that is missing answers UNIMPLEMENTED."""
        self._identity = identity
        self._live = live
        carried = {
            service: methods
            for service, methods in SERVICES.items()
            if any(method.access.grpc is not None for method in methods.values())
        }
        self._health = Health(frozenset(carried))
        own: dict[str, object] = {
            "grpc.health.v1.Health": self._health,
            "grpc.reflection.v1alpha.ServerReflection": Reflection(frozenset(carried)),
        }
        adapter = GrpcAdapter(doorkeeper, live, telemetry.requests("grpc", METHODS))
        # Also the services of the other port: they answer UNIMPLEMENTED by name, like everything that is not here.
        self._handlers = tuple(
            adapter.handler(service, methods, own.get(service) or servicers.get(service))
            for service, methods in SERVICES.items()
        )
        self._server: Any = None

    async def start(self, listen: str) -> str:
        """Binds `ADDRESS:PORT` and serves; returns the bound address.

        Raises Unavailable LISTENER_IN_USE when the address is taken or not ours.
        """
        server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=CALLS_MAX)
        server.add_generic_rpc_handlers(self._handlers)
        try:
            port = server.add_secure_port(listen, self._credentials())
        except RuntimeError as cause:
            raise _in_use(listen) from cause
        if port == 0:
            raise _in_use(listen)
        await server.start()
        self._server = server
        return f"{listen.rpartition(':')[0]}:{port}"

    def cut(self, fingerprint: str, reason: str = "CERTIFICATE_REVOKED") -> int:
        """Ends the live calls made with a certificate; returns how many there were."""
        return self._live.cut(fingerprint, reason)

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls, lets those under way end within `grace_s`, then ends them."""
        self._health.drain()
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace_s)

    def _credentials(self) -> grpc.ServerCredentials:
        shown: ServerIdentity | None = None

        def configuration(identity: ServerIdentity) -> grpc.ServerCertificateConfiguration:
            return grpc.ssl_server_certificate_configuration(
                [(identity.private_key, identity.certificate_chain)], root_certificates=identity.client_ca
            )

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            """Called by gRPC at each handshake, in a thread of its own; None keeps what is shown."""
            nonlocal shown
            try:
                identity = self._identity()
            except Exception as error:
                # The old certificate goes on being shown: without it nobody could connect at all.
                log.error("the gRPC certificate could not be read", exc_info=error)
                return None
            if identity == shown:
                return None
            shown = identity
            return configuration(identity)

        shown = self._identity()
        return grpc.dynamic_ssl_server_credentials(configuration(shown), fetch, require_client_authentication=True)


def _in_use(listen: str) -> Unavailable:
    return Unavailable(
        "LISTENER_IN_USE", f"{listen} is taken or is no address of this machine: choose another with --grpc"
    )
