"""A whole hub pulls what a real camera sends by UDP and over TLS: untouched, and told in metrics and catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.cameras import gst_camera, make_clip, nal_units, slice_hashes
from support.hub import camera_message, person
from support.site import Site, camera_id, opened, site

from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")

PICTURES = 40


@module
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("ways")
    quick = {"VIDHUB_STREAM__LINGER_S": "1", "VIDHUB_SOURCE__STALL_TIMEOUT_S": "2", "VIDHUB_PROBE__INTERVAL_S": "1"}
    async with site(folder / "data", **quick) as ready:
        await ready.operator("zhang")
        yield ready


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.h264", seconds=4, fps=15)


def certificate(folder: Path) -> Path:
    """One that a camera has made for itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "IPCamera")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "camera.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


async def watched(place: Site, identifier: str) -> list[str]:
    """What a viewer gets, slice by slice."""
    async with person(place.running, "zhang") as who:
        process = await asyncio.create_subprocess_exec(
            *("ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", (await opened(who, identifier))["rtspUrl"]),
            *("-an", "-c", "copy", "-frames:v", str(PICTURES), "-bsf:v", "h264_mp4toannexb", "-f", "h264", "-"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
    assert process.returncode == 0
    return slice_hashes(nal_units(out), "h264")


async def packets_in(place: Site, protocol: str) -> float:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{place.running.ready['metrics']}/metrics")).text
    wanted = f'vidhub_media_packets_total{{direction="in",protocol="{protocol}"}}'
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(wanted))


@pytest.mark.parametrize(("number", "protocol"), [(1, "rtsp_udp"), (2, "rtsps")])
async def test_it_comes_out_as_it_went_in(place: Site, clip: Path, tmp_path: Path, number: int, protocol: str):
    source = slice_hashes(nal_units(clip.read_bytes()), "h264")
    way = {"protocols": "udp"} if protocol == "rtsp_udp" else {"tls": certificate(tmp_path)}
    async with gst_camera(clip=clip, fps=15, audio="pcma", user="admin", password="p:w#1", **way) as camera:
        await place.register(number, camera.url, username="admin", password="p:w#1")
        await place.until_state(camera_id(number), "ONLINE")
        got = await watched(place, camera_id(number))
        # The last viewer has gone: so has the camera's session.
        await camera.until_open(0)
    assert len(got) == PICTURES
    start = source.index(got[0])
    assert got == [source[(start + place) % len(source)] for place in range(PICTURES)]
    assert await packets_in(place, protocol) > PICTURES


async def test_a_camera_with_another_certificate_is_invalid_until_it_is_registered_again(place: Site, tmp_path: Path):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    first, second = map(certificate, folders)
    async with gst_camera(tls=first) as camera:
        port = camera.port
        await place.register(3, camera.url)
        await place.until_state(camera_id(3), "ONLINE")
    async with gst_camera(tls=second, port=port) as camera:
        seen = await place.until_state(camera_id(3), "INVALID")
        assert "another certificate" in seen["stateReason"]
        renamed = camera_message(3, camera.url)
        renamed.name = "东门三"
        async with place.unit.channel() as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            await stub.UpdateCamera(camera_service_pb2.UpdateCameraRequest(camera=renamed))
        await place.until_state(camera_id(3), "ONLINE")
