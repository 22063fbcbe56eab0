"""The listener of 50051: its certificate, its health, its end."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from support.edges import Authority, Edges

from vidhub.api.auth import Doorkeeper
from vidhub.api.grpc_server import GrpcServer, ServerIdentity
from vidhub.api.live import LiveCalls
from vidhub.errors import Unavailable
from vidhub.telemetry import Telemetry
from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc


def server_of(edges: Edges, identity: dict[str, ServerIdentity]) -> GrpcServer:
    return GrpcServer(
        {},
        doorkeeper=Doorkeeper(edges.directory, lambda _: None),
        live=LiveCalls(),
        telemetry=Telemetry(),
        identity=lambda: identity["now"],
    )


def identity_of(authority: Authority) -> ServerIdentity:
    own = authority.issue(dns="localhost")
    return ServerIdentity(own.certificate, own.key, authority.pem)


async def shown_by(edges: Edges, address: str, files: Path) -> str:
    """The certificate that a new connection is shown."""
    client = edges.identities["unit/u1"]
    (files / "c.pem").write_bytes(client.key + client.certificate)
    context = ssl.create_default_context(cadata=edges.authority.pem.decode())
    context.load_cert_chain(files / "c.pem")
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(der)


def normal(pem: bytes) -> str:
    return ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(pem.decode()))


async def test_a_new_certificate_is_shown_without_a_restart(edges: Edges, tmp_path: Path) -> None:
    identity = {"now": identity_of(edges.authority)}
    server = server_of(edges, identity)
    address = await server.start("127.0.0.1:0")
    assert await shown_by(edges, address, tmp_path) == normal(identity["now"].certificate_chain)
    identity["now"] = identity_of(edges.authority)
    assert await shown_by(edges, address, tmp_path) == normal(identity["now"].certificate_chain)
    kept = identity.pop("now")
    assert await shown_by(edges, address, tmp_path) == normal(kept.certificate_chain), "better the old than none"
    await server.stop(0)


async def test_an_address_in_use_is_named(edges: Edges) -> None:
    server = server_of(edges, {"now": identity_of(edges.authority)})
    with pytest.raises(Unavailable) as caught:
        await server.start(edges.grpc_address)
    assert caught.value.reason == "LISTENER_IN_USE"
    assert edges.grpc_address in caught.value.message


async def test_an_expired_certificate_fails_in_the_handshake(edges: Edges) -> None:
    expired = edges.authority.issue(uri="vidhub://h1/unit/u1", days=(-2, -1))
    async with edges.channel(expired) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_health_tells_enrolled_identities_of_each_service(edges: Edges) -> None:
    async with edges.channel("hub/h2") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "vidhub.v1.CameraService"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="made.up"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "vidhub.v1.CameraService" in (await stub.List(health_pb2.HealthListRequest())).statuses


async def test_health_tells_watchers_of_the_drain(edges: Edges) -> None:
    server = server_of(edges, {"now": identity_of(edges.authority)})
    edges.grpc_address = await server.start("127.0.0.1:0")
    async with edges.channel("unit/u1") as channel:
        stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await stream.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(server.stop(0.3))
        assert (await stream.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        await stopping
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


async def test_stopping_lets_a_call_end_within_its_grace(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel:
        call = camera_service_pb2_grpc.CameraServiceStub(channel).RegisterCameras()
        await call.write(camera_service_pb2.RegisterCamerasRequest())
        await call.read()
        stopping = asyncio.create_task(edges.grpc_server.stop(60))
        await call.write(camera_service_pb2.RegisterCamerasRequest())
        assert (await call.read()).revision.epoch == "e1"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        async with asyncio.timeout(30):
            await stopping


async def test_reflection_shows_the_services_of_this_port_alone(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        async for answer in stub.ServerReflectionInfo(asked):
            names = {service.name for service in answer.list_services_response.service}
    assert "vidhub.v1.CameraService" in names
    assert "grpc.health.v1.Health" in names
    assert "vidhub.v1.AuthService" not in names
