"""Both edges, served for real on free ports, before a small directory of callers and an in-memory catalogue."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.rpc import error_details_pb2, status_pb2

from vidhub.api import convert
from vidhub.api.auth import Doorkeeper
from vidhub.api.cameras import CameraServicer
from vidhub.api.grpc_server import GrpcServer, ServerIdentity
from vidhub.api.http import http_app
from vidhub.api.live import LiveCalls
from vidhub.api.system import SystemServicer
from vidhub.core import PlainRecord, camera_of
from vidhub.errors import InvalidArgument, NotFound, OutOfRange, Unauthenticated, Violation
from vidhub.model import (
    AuditRecord,
    BatchResult,
    Camera,
    CameraCount,
    CameraCounts,
    CameraFilter,
    CameraGrouping,
    CameraPage,
    CameraPoints,
    CameraRemoved,
    CameraState,
    Principal,
    PrincipalKind,
    RejectedCamera,
    Revision,
    Role,
    Synced,
    WatchEvent,
    WrittenPage,
)
from vidhub.telemetry import Telemetry
from vidhub.turns import Turns
from vidhub.v1 import camera_service_pb2

NOW = datetime.now(UTC)
OTHER_SERVICES = (
    "vidhub.v1.AuthService",
    "vidhub.v1.SessionService",
    "vidhub.v1.GrantService",
    "vidhub.v1.PurposeService",
    "vidhub.v1.UserService",
    "vidhub.v1.UnitService",
    "vidhub.v1.AuditService",
    "vidhub.v1.EventService",
    "vidhub.v1.EnrolmentService",
)


@dataclass(frozen=True)
class Identity:
    """A key and its certificate, PEM."""

    key: bytes
    certificate: bytes


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, name: str = "test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, *, uri: str = "", dns: str = "", days: tuple[int, int] = (-1, 1)) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)] if uri else [x509.DNSName(dns)]
        builder = self._builder(x509.Name([]), key, days).add_extension(
            x509.SubjectAlternativeName(names), critical=True
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        return Identity(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            certificate.public_bytes(serialization.Encoding.PEM),
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[int, int] = (-3, 3)
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + timedelta(days=days[0]))
            .not_valid_after(NOW + timedelta(days=days[1]))
        )


def fingerprint(pem: bytes) -> str:
    return x509.load_pem_x509_certificate(pem).fingerprint(hashes.SHA256()).hex()


@dataclass
class Directory:
    """Who is known: tokens of people, certificates by their URI SAN."""

    people: dict[str, Principal] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    expired: set[str] = field(default_factory=set)

    async def by_bearer(self, token: str, address: str) -> Principal:
        if token not in self.people:
            raise Unauthenticated("TOKEN_INVALID", "log in again")
        if token in self.expired:
            raise Unauthenticated("TOKEN_EXPIRED", "refresh it")
        return replace(self.people[token], address=address)

    def by_certificate(self, pem: bytes, address: str) -> Principal:
        certificate = x509.load_pem_x509_certificate(pem)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        kind, name = names.get_values_for_type(x509.UniformResourceIdentifier)[0].split("/")[-2:]
        mark = certificate.fingerprint(hashes.SHA256()).hex()
        if mark in self.revoked:
            raise Unauthenticated("CERTIFICATE_REVOKED", "ask for a new enrolment file")
        return Principal(
            PrincipalKind(kind), name, unit_id=name if kind == "unit" else "", fingerprint=mark, address=address
        )


class MemoryCatalogue:
    """Keeps cameras in a dict; a camera named "bad" breaks a rule of the catalogue."""

    def __init__(self) -> None:
        self.cameras: dict[str, Camera] = {}
        self.watching = asyncio.Event()
        self.flood = False

    async def give_way(self) -> None:
        await asyncio.sleep(0)

    async def register(
        self,
        principal: Principal,
        batch: Sequence[Camera | PlainRecord],
        *,
        dry_run: bool = False,
        bulk: bool = False,
    ) -> BatchResult:
        ids, rejected = [], []
        for index, given in enumerate(batch):
            camera = camera_of(given, principal.unit_id) if isinstance(given, PlainRecord) else given
            if camera.name == "bad":
                found = (Violation("name", "NAME_MISSING", "give a name"),)
                rejected.append(RejectedCamera(index, camera.id, found))
                ids.append("")
                continue
            ids.append(camera.id)
            if not dry_run:
                self.cameras[camera.id] = replace(camera, unit_id=principal.unit_id)
        return BatchResult(tuple(ids), tuple(rejected), Revision("e1", len(self.cameras)))

    async def register_one(self, principal: Principal, camera: Camera) -> Camera:
        result = await self.register(principal, [camera])
        if result.rejected:
            violations = result.rejected[0].violations
            raise InvalidArgument(violations[0].reason, "wrong", violations=violations)
        return self.cameras[camera.id]

    async def update(self, principal: Principal, camera: Camera, mask: Sequence[str]) -> Camera:
        raise ZeroDivisionError("password=hunter2")

    async def retire(self, principal: Principal, camera_id: str, reason: str) -> None:
        await self.get(principal, camera_id)
        del self.cameras[camera_id]

    async def get(self, principal: Principal, camera_id: str) -> Camera:
        if camera_id not in self.cameras:
            raise NotFound("CAMERA_NOT_FOUND", f"there is no camera {camera_id}")
        return self.cameras[camera_id]

    async def list(
        self,
        principal: Principal,
        wanted: CameraFilter,
        *,
        page_size: int = 0,
        page_token: str = "",
        full: bool = False,
    ) -> CameraPage:
        return CameraPage(tuple(self.cameras.values()), "", len(self.cameras), Revision("e1", len(self.cameras)))

    async def list_written(self, principal: Principal, wanted: CameraFilter, **_: object) -> WrittenPage:
        page = await self.list(principal, wanted)
        message = camera_service_pb2.ListCamerasResponse(cameras=[convert.to_camera(one) for one in page.cameras])
        return WrittenPage(message.SerializeToString(), "", page.total_size, page.revision)

    async def count(
        self, principal: Principal, wanted: CameraFilter, grouping: CameraGrouping, *, region_digits: int = 6
    ) -> CameraCounts:
        total = CameraCount("", ((CameraState.UNKNOWN, len(self.cameras)),), 0)
        return CameraCounts((), 0, total, Revision("e1", len(self.cameras)))

    async def points(
        self, principal: Principal, wanted: CameraFilter, *, page_size: int = 0, page_token: str = ""
    ) -> CameraPoints:
        return CameraPoints([], [], [], [], [], "", 0, Revision("e1", 0))

    async def watch(
        self, principal: Principal, from_revision: Revision | None, wanted: CameraFilter, state_from: int = 0
    ) -> AsyncGenerator[WatchEvent]:
        if from_revision is not None and from_revision.epoch != "e1":
            raise OutOfRange("REVISION_TOO_OLD", "list again")
        yield Synced(Revision("e1", 0))
        self.watching.set()
        while self.flood:
            yield CameraRemoved("9" * 60_000)
        await asyncio.Event().wait()


class Nothing:
    """Serves no method, so that each answers UNIMPLEMENTED by name once its caller is admitted."""


@dataclass
class Edges:
    authority: Authority
    directory: Directory
    catalogue: MemoryCatalogue
    telemetry: Telemetry
    live: LiveCalls
    grpc_server: GrpcServer
    grpc_address: str
    http_url: str
    refusals: list[AuditRecord]
    identities: dict[str, Identity]

    @asynccontextmanager
    async def channel(self, who: str | Identity | None, **options: Any) -> AsyncIterator[grpc.aio.Channel]:
        identity = self.identities[who] if isinstance(who, str) else who
        credentials = grpc.ssl_channel_credentials(
            self.authority.pem, identity.key if identity else None, identity.certificate if identity else None
        )
        settings = [("grpc.ssl_target_name_override", "localhost"), *options.pop("options", [])]
        async with grpc.aio.secure_channel(self.grpc_address, credentials, options=settings, **options) as channel:
            yield channel

    def http(self, token: str = "", **options: Any) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers.update(options.pop("headers", {}))
        # Plain HTTP: reading the system's certificates for each client would take longer than the test.
        return httpx.AsyncClient(base_url=self.http_url, headers=headers, verify=False, **options)


def people() -> dict[str, Principal]:
    named = {
        role.value: Principal(
            PrincipalKind.USER, role.value, roles=frozenset({role}), unit_id="u1", login_id=f"login-{role.value}"
        )
        for role in Role
    }
    named["fresh"] = replace(named["administrator"], id="fresh", must_change_password=True)
    return named


@asynccontextmanager
async def serve(app: Any) -> AsyncIterator[str]:
    """An ASGI app on a free port of loopback."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning", ws="none", proxy_headers=False))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await task


@asynccontextmanager
async def served(
    others: Mapping[str, object] | None = None, refused: Callable[[AuditRecord], None] | None = None
) -> AsyncIterator[Edges]:
    """others: servicers in place of those in memory. refused: takes the refusals instead of the list."""
    authority, directory, live, telemetry = Authority(), Directory(people()), LiveCalls(), Telemetry()
    refusals: list[AuditRecord] = []
    catalogue = MemoryCatalogue()
    servicers: dict[str, object] = {
        "vidhub.v1.CameraService": CameraServicer(catalogue, telemetry, snapshots=Nothing()),
        "vidhub.v1.SystemService": SystemServicer(
            hub_id="h1",
            hub_name="hub",
            version="0",
            counts=lambda: {"cameras": len(catalogue.cameras), "streams": 0, "sessions": 0},
            uptime_s=lambda: 1.5,
            clock=lambda: NOW,
        ),
        **{name: Nothing() for name in OTHER_SERVICES},
        **(others or {}),
    }
    doorkeeper = Doorkeeper(directory, refused or refusals.append)
    own = authority.issue(dns="localhost")
    server = GrpcServer(
        servicers,
        doorkeeper=doorkeeper,
        live=live,
        telemetry=telemetry,
        identity=lambda: ServerIdentity(own.certificate, own.key, authority.pem),
    )
    address = await server.start("127.0.0.1:0")
    app = http_app(servicers, doorkeeper=doorkeeper, live=live, telemetry=telemetry, is_https=False, turns=Turns())
    identities = {
        name: authority.issue(uri=f"vidhub://h1/{name}") for name in ("unit/u1", "unit/u2", "hub/h2", "claim/c1")
    }
    async with serve(app) as url:
        yield Edges(authority, directory, catalogue, telemetry, live, server, address, url, refusals, identities)
    await server.stop(0)


def details_of(error: grpc.aio.AioRpcError) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest]:
    """As any gRPC client reads them."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])  # type: ignore[arg-type]
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info) or detail.Unpack(bad)
    return info, bad


async def refused(call: Any) -> tuple[str, str, list[tuple[str, str]]]:
    """(code, reason, [(field, reason)]) of a gRPC call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info, bad = details_of(caught.value)
    assert info.domain == "vidhub"
    return caught.value.code().name, info.reason, [(row.field, row.reason) for row in bad.field_violations]


def refused_json(answer: httpx.Response) -> tuple[int, str, str, list[tuple[str, str]]]:
    """(HTTP status, code, reason, [(field, reason)]) of a Connect call, read from the packed details."""
    body = answer.json()
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in body["details"]:
        data = base64.b64decode(detail["value"] + "===")
        (info if detail["type"] == "google.rpc.ErrorInfo" else bad).MergeFromString(data)
    assert info.domain == "vidhub"
    assert body["details"][0]["debug"]["reason"] == info.reason
    return answer.status_code, body["code"], info.reason, [(row.field, row.reason) for row in bad.field_violations]
