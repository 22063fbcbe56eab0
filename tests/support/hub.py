"""A whole hub in a process of its own, and the ways into it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from vidhub.v1 import camera_pb2, enrolment_service_pb2, enrolment_service_pb2_grpc

# With whatever ends: it is long enough for a machine that is very busy.
PATIENCE_S = 120.0
LISTENERS = ("http", "grpc", "rtsp", "rtsp-udp", "rtsps", "webrtc", "metrics")
PASSWORD = "correct-horse-battery-42"


@dataclass
class Ended(Exception):
    """The hub ended instead of getting ready."""

    status: int
    said: str


class HubProcess:
    """`vidhub serve --json` on a data directory."""

    def __init__(self, data: Path, process: asyncio.subprocess.Process, ready: dict[str, Any], said: list[str]) -> None:
        self.data = data
        self.process = process
        self.ready = ready
        self.said = said

    @property
    def url(self) -> str:
        return f"http://{self.ready['http']}"

    async def ask(self, operation: str, **arguments: object) -> dict[str, Any]:
        """One operation by the admin socket."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.data / "admin.sock"))
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE_S) as client:
            answer = await client.post(f"http://hub/{operation}", json=arguments)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            # `send_signal` would look first whether it is dead, and take its status from whoever waits for it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def hub(data: Path, *flags: str, at: Sequence[str] = (), **environment: str) -> AsyncIterator[HubProcess]:
    """Free ports unless `flags` say otherwise. Raises Ended when it does not get ready.

    at: words before the program's, as in `Namespace.prefix`.
    """
    ports = [word for name in LISTENERS if f"--{name}" not in flags for word in (f"--{name}", "127.0.0.1:0")]
    process = await asyncio.create_subprocess_exec(
        *(*at, sys.executable, "-m", "vidhub.cli", "--json", "serve", "--data-dir", str(data), *ports, *flags),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "VIDHUB_HUB__ID": "yingtan", **environment},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []

    async def listen(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            said.append(line.decode(errors="replace"))

    listening = asyncio.create_task(listen(process.stderr))
    try:
        async with asyncio.timeout(PATIENCE_S):
            line = await process.stdout.readline()
            if not line:
                status = await process.wait()
                await listening
                raise Ended(status, "".join(said))
        yield HubProcess(data, process, json.loads(line)["ready"], said)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening


@dataclass(frozen=True)
class UnitIdentity:
    """What an enrolled unit holds."""

    id: str
    hub: str
    ca_pem: bytes
    certificate_pem: bytes
    key_pem: bytes

    def channel(self) -> grpc.aio.Channel:
        return _channel(self.hub, self.ca_pem, self.certificate_pem, self.key_pem)


async def enrol(
    running: HubProcess, name: str = "第一中学", region: str = "360602", industry: str = "11"
) -> UnitIdentity:
    """A unit's way in: an enrolment file, a key of its own, EnrolUnit."""
    token = await running.ask("unit_token", name=name, region_code=region, industry=industry)
    claim = token["enrolment"]
    key = ec.generate_private_key(ec.SECP256R1())
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    ca_pem = claim["ca_pem"].encode()
    channel = _channel(claim["hub"], ca_pem, claim["claim_certificate_pem"].encode(), claim["claim_key_pem"].encode())
    async with channel:
        stub = enrolment_service_pb2_grpc.EnrolmentServiceStub(channel)
        csr = request.public_bytes(serialization.Encoding.PEM).decode()
        answer = await stub.EnrolUnit(enrolment_service_pb2.EnrolUnitRequest(csr_pem=csr), timeout=PATIENCE_S)
    return UnitIdentity(token["unit_id"], claim["hub"], ca_pem, answer.certificate_pem.encode(), key_pem)


def _channel(address: str, ca_pem: bytes, certificate_pem: bytes, key_pem: bytes) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca_pem, key_pem, certificate_pem))


def camera_message(number: int, url: str = "") -> camera_pb2.Camera:
    return camera_pb2.Camera(
        id=f"360602001113220{number:05d}",
        name=f"东门{number}",
        region_code="360602",
        industry="11",
        place_category=camera_pb2.PLACE_CATEGORY_SCHOOL,
        location=camera_pb2.Location(latitude=28.24, longitude=117.03),
        streams=[
            camera_pb2.CameraStream(
                profile=camera_pb2.STREAM_PROFILE_MAIN,
                url=url or f"rtsp://192.0.2.{number % 250}/1",
                username="admin",
                password="hunter22",
            )
        ],
        legal=camera_pb2.LegalRecord(place_basis="799/7", purpose="校园安全", scope="校门外", retention_days=30),
    )


class Person:
    """A browser's view of the API: Connect JSON on the public port."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @property
    def token(self) -> str:
        """The access token, once logged in."""
        return self._client.headers["Authorization"].removeprefix("Bearer ")

    async def call(self, method: str, **message: object) -> dict[str, Any]:
        """The answer. An error is {"code", "message", "reason"}."""
        answer = await self._client.post(f"/vidhub.v1.{method}", json=message)
        body = answer.json()
        if answer.status_code != 200:
            details = [detail.get("debug", {}) for detail in body.get("details", [])]
            body["reason"] = next((detail["reason"] for detail in details if "reason" in detail), "")
        return body


@contextlib.asynccontextmanager
async def person(running: HubProcess, name: str, password: str = PASSWORD) -> AsyncIterator[Person]:
    async with httpx.AsyncClient(base_url=running.url, timeout=PATIENCE_S, trust_env=False) as client:
        caller = Person(client)
        login = await caller.call("AuthService/Login", username=name, password=password)
        assert "accessToken" in login, login
        client.headers["Authorization"] = f"Bearer {login['accessToken']}"
        yield caller
