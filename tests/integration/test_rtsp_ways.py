"""RTSP as players reach it: over TCP, with media by UDP, over TLS."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from prometheus_client.parser import text_string_to_metric_families
from support.cameras import GstCamera, gst_camera, make_clip
from support.hub import hub, person
from support.site import HERE, Site, camera_id, opened, site

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")


@module
async def camera(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GstCamera]:
    clip = await asyncio.to_thread(make_clip, tmp_path_factory.mktemp("clip") / "clip.h264", seconds=4, fps=15)
    async with gst_camera(clip=clip, fps=15) as running:
        yield running


@module
async def place(tmp_path_factory: pytest.TempPathFactory, camera: GstCamera) -> AsyncIterator[Site]:
    async with site(tmp_path_factory.mktemp("ways") / "data") as ready:
        identifier = await ready.register(1, camera.url)
        await ready.operator("zhang")
        await ready.until_state(identifier, "ONLINE")
        yield ready


async def output(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()[-2000:]
    return out.decode()


async def ffmpeg(url: str, *how: str) -> None:
    said = await output("ffmpeg", "-v", "warning", "-xerror", *how, "-i", url, "-frames:v", "30", "-f", "null", "-")
    assert said == ""


async def gstreamer(url: str, *how: str) -> None:
    ends = ("!", "rtph264depay", "!", "h264parse", "!", "avdec_h264", "!", "identity", "eos-after=31", "!", "fakesink")
    await output("gst-launch-1.0", "-q", "rtspsrc", f"location={url}", "latency=0", *how, *ends)


async def sent(place: Site) -> dict[str, float]:
    """RTP packets out, by protocol."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://{place.running.ready['metrics']}/metrics")).text
    return {
        sample.labels["protocol"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "vidhub_media_packets_total" and sample.labels["direction"] == "out"
    }


async def test_ffmpeg_and_gstreamer_by_tcp_udp_and_tls_at_once(place: Site):
    async with person(place.running, "zhang") as caller:
        sessions = [await opened(caller, camera_id(1)) for _ in range(6)]
        plain = [session["rtspUrl"] for session in sessions]
        over_tls = [url.replace(f"rtsp://{place.running.ready['rtsp']}", secure(place)) for url in plain]
        before = await sent(place)
        await asyncio.gather(
            ffmpeg(plain[0], "-rtsp_transport", "tcp"),
            ffmpeg(plain[1], "-rtsp_transport", "udp"),
            ffmpeg(over_tls[2]),
            gstreamer(plain[3], "protocols=tcp"),
            gstreamer(plain[4], "protocols=udp"),
            gstreamer(over_tls[5], "tls-validation-flags=0"),
        )
        after = await sent(place)
    moved = {protocol: after[protocol] - before[protocol] for protocol in after}
    assert all(moved[protocol] >= 60 for protocol in ("rtsp_tcp", "rtsp_udp", "rtsps")), moved


def secure(place: Site) -> str:
    return f"rtsps://{place.running.ready['rtsps']}"


async def described(place: Site, trusted: ssl.SSLContext | None, **headers: str) -> tuple[int, bytes]:
    """The status of DESCRIBE and the certificate that was shown."""
    listener = place.running.ready["rtsps" if trusted else "rtsp"]
    host, port = listener.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=trusted)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"DESCRIBE rtsp://{listener}/{camera_id(1)} RTSP/1.0\r\nCSeq: 1\r\n{lines}\r\n".encode())
    async with asyncio.timeout(20):
        status = int((await reader.readline()).split()[1])
    shown = writer.get_extra_info("ssl_object")
    certificate = shown.getpeercert(binary_form=True) if shown else b""
    writer.close()
    return status, certificate


async def test_the_hubs_own_certificate_is_trusted_by_its_ca_and_basic_counts_behind_it_alone(place: Site):
    trusted = ssl.create_default_context(cafile=place.running.data / "ca.pem")
    async with person(place.running, "zhang") as caller:
        session = await opened(caller, camera_id(1))
    login = base64.b64encode(f"{session['rtspUser']}:{session['rtspPassword']}".encode()).decode()
    status, _ = await described(place, trusted, Authorization=f"Basic {login}")
    assert status == 200
    status, _ = await described(place, None, Authorization=f"Basic {login}")
    assert status == 401
    wrong = base64.b64encode(f"{session['rtspUser']}:nonsense".encode()).decode()
    status, _ = await described(place, trusted, Authorization=f"Basic {wrong}")
    assert status == 401
    with pytest.raises(ssl.SSLCertVerificationError):
        await described(place, ssl.create_default_context())


async def test_without_plain_rtsp_sessions_are_told_of_the_other_and_a_given_certificate_is_shown(
    tmp_path: Path, camera: GstCamera
):
    certificate, key = tmp_path / "hub.pem", tmp_path / "hub.key"
    await output(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
        *("-subj", "/CN=wall", "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key)),
    )
    flags = ("--rtsp", "off", "--tls-cert", str(certificate), "--tls-key", str(key))
    async with hub(tmp_path / "data", *flags, **HERE) as running:
        assert running.ready["rtsp"] is running.ready["rtsp_udp"] is None
        host, port = running.ready["rtsps"].split(":")
        trusted = ssl.create_default_context(cafile=certificate)
        _, writer = await asyncio.open_connection(host, int(port), ssl=trusted)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
    assert shown == load_pem_x509_certificates(certificate.read_bytes())[0].public_bytes(Encoding.DER)
    async with site(tmp_path / "other", "--rtsp", "off") as other:
        identifier = await other.register(1, camera.url)
        await other.operator("li")
        await other.until_state(identifier, "ONLINE")
        async with person(other.running, "li") as caller:
            session = await opened(caller, camera_id(1))
        assert session["rtspUrl"].startswith(f"{secure(other)}/{camera_id(1)}?ticket=")
        await ffmpeg(session["rtspUrl"])
