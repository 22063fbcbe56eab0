"""The thread: one camera, not ours, registered over mTLS and watched by everybody's players at once, untouched."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.cameras import GstCamera, gst_camera, make_clip, nal_units, slice_hashes
from support.hub import PASSWORD, camera_message, hub, person
from support.rtsp import RtspClient, gaps
from support.site import HERE, Site, camera_id, cli, opened, site
from support.whep import whep_viewer

from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc, enrolment_service_pb2, enrolment_service_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")


@module
async def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return await asyncio.to_thread(make_clip, tmp_path_factory.mktemp("clip") / "clip.h264", seconds=4, fps=15)


@module
async def camera(clip: Path) -> AsyncIterator[GstCamera]:
    async with gst_camera(clip=clip, fps=15, user="admin", password="hunter22") as running:
        yield running


@module
async def place(tmp_path_factory: pytest.TempPathFactory, camera: GstCamera) -> AsyncIterator[Site]:
    async with site(tmp_path_factory.mktemp("thread") / "data", VIDHUB_STREAM__LINGER_S="2") as ready:
        identifier = await ready.register(1, camera.url, username="admin", password="hunter22")
        await ready.operator("zhang")
        await ready.until_state(identifier, "ONLINE")
        yield ready


async def test_a_unit_enrols_by_the_command_line_and_registers_with_plain_grpcio(tmp_path: Path):
    data = tmp_path / "data"
    async with hub(data, **HERE):
        file, folder = tmp_path / "school.json", tmp_path / "school"
        words = ("unit", "token", "第一中学", "--region", "360602", "--industry", "11")
        token = await cli("--data-dir", data, *words, "--out", file)
        assert token.status == 0, token.err
        assert token.answer["file"] == str(file)
        assert file.stat().st_mode & 0o777 == 0o600
        # A place that takes no key does not cost the claim.
        nowhere = await cli("unit", "enrol", file, "--out", file)
        assert (nowhere.status, nowhere.error["reason"]) == (1, "FILE_NOT_WRITTEN")
        enrolled = (await cli("unit", "enrol", file, "--out", folder)).answer
        again = await cli("unit", "enrol", file, "--out", folder)
        assert (again.status, again.error["reason"]) == (1, "CLAIM_USED")
        assert sorted(path.name for path in folder.iterdir()) == ["ca.pem", "identity.json", "unit.key", "unit.pem"]
        assert enrolled["unit_id"] == token.answer["unit_id"]
        assert (folder / "unit.key").stat().st_mode & 0o777 == 0o600
        identity = json.loads((folder / "identity.json").read_text())
        ca, key, certificate = (Path(enrolled[name]).read_bytes() for name in ("ca", "key", "certificate"))
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        async with grpc.aio.secure_channel(identity["hub"], credentials) as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            await stub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=camera_message(1)), timeout=20)
            found = await stub.GetCamera(camera_service_pb2.GetCameraRequest(id=camera_id(1)), timeout=20)
        assert (found.camera.id, found.camera.unit_id) == (camera_id(1), enrolled["unit_id"])
        assert found.camera.streams[0].password == ""
        # One use: the second is told so by name.
        again = await cli("unit", "enrol", file, "--out", tmp_path / "again")
        assert (again.status, again.error["reason"]) == (1, "CLAIM_USED")
        assert not (tmp_path / "again").exists()
        listed = await cli("camera", "list", "--identity", folder)
        assert [one["id"] for one in listed.answer["cameras"]] == [camera_id(1)]


async def test_a_unit_enrols_by_hand_with_what_the_file_holds(tmp_path: Path):
    data = tmp_path / "data"
    async with hub(data, **HERE):
        file = tmp_path / "bank.json"
        words = ("unit", "token", "农商银行", "--region", "360602", "--industry", "11")
        assert (await cli("--data-dir", data, *words, "--out", file)).status == 0
        claim = json.loads(file.read_text())
        assert set(claim) >= {"hub", "ca_pem", "claim_certificate_pem", "claim_key_pem", "expire_time"}
        assert claim["ca_pem"] == (data / "ca.pem").read_text()
        credentials = grpc.ssl_channel_credentials(
            claim["ca_pem"].encode(), claim["claim_key_pem"].encode(), claim["claim_certificate_pem"].encode()
        )
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "administrator")])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        async with grpc.aio.secure_channel(claim["hub"], credentials) as channel:
            # A claim enrols, and nothing else.
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.ListCameras(camera_service_pb2.ListCamerasRequest(), timeout=20)
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            answer = await enrolment_service_pb2_grpc.EnrolmentServiceStub(channel).EnrolUnit(
                enrolment_service_pb2.EnrolUnitRequest(
                    csr_pem=request.public_bytes(serialization.Encoding.PEM).decode()
                ),
                timeout=20,
            )
        certificate = x509.load_pem_x509_certificate(answer.certificate_pem.encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        assert uris == [f"vidhub://yingtan/unit/{answer.unit_id}"]
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        own = grpc.ssl_channel_credentials(answer.ca_pem.encode(), key_pem, answer.certificate_pem.encode())
        async with grpc.aio.secure_channel(claim["hub"], own) as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            await stub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=camera_message(2)), timeout=20)


async def test_every_player_at_once_over_one_connection(place: Site, camera: GstCamera, tmp_path: Path):
    """vidhub view, aiortc, ffmpeg and GStreamer by ticket and by Digest."""
    await camera.until_open(0)
    camera.forget()
    url = place.running.url
    async with person(place.running, "zhang") as caller:
        sessions = [await opened(caller, camera_id(1)) for _ in range(5)]
        by_login = f"rtsp://{sessions[3]['rtspUser']}:{sessions[3]['rtspPassword']}@{place.running.ready['rtsp']}"
        saved, snapshot = tmp_path / "seen.mp4", tmp_path / "seen.png"
        watch = ("view", camera_id(1), "--hub", url, "--user", "zhang", "--password-stdin", "--purpose", "patrol")
        async with whep_viewer(sessions[0]["whepUrl"], sessions[0]["ticket"]) as raw:
            await raw.until(lambda: raw.pictures > 0)
            players = await asyncio.gather(
                cli(*watch, "--seconds", "3", "--save", saved, "--snapshot", snapshot, stdin=PASSWORD + "\n"),
                ffmpeg_frames(sessions[1]["rtspUrl"], 30),
                ffmpeg_frames(f"{by_login}/{camera_id(1)}", 30),
                gstreamer_frames(sessions[2]["rtspUrl"], 30),
                gstreamer_frames(
                    f"rtsp://{place.running.ready['rtsp']}/{camera_id(1)}",
                    30,
                    f"user-id={sessions[4]['rtspUser']}",
                    f"user-pw={sessions[4]['rtspPassword']}",
                ),
            )
            seen = raw.pictures
            await raw.until(lambda: raw.pictures > seen)
        viewed, *frames = players
        assert viewed.status == 0, viewed.err
        answer = viewed.answer
        assert (answer["width"], answer["height"], answer["lost_packets"]) == (320, 180, 0)
        assert answer["frames"] >= 30
        assert saved.stat().st_size > 10_000
        assert snapshot.read_bytes().startswith(b"\x89PNG")
        assert frames == [30, 30, 30, 30]
        assert raw.size == (320, 180)
    assert (camera.connections, camera.most_open) == (1, 1)
    await camera.until_open(0)


async def ffmpeg_frames(url: str, count: int) -> int:
    """Pictures decoded by ffmpeg."""
    words = ("-v", "error", "-xerror", "-rtsp_transport", "tcp", "-i", url, "-an", "-frames:v", str(count))
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", *words, "-f", "framemd5", "-"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert err == b"", err.decode()
    return sum(1 for line in out.splitlines() if line and not line.startswith(b"#"))


async def gstreamer_frames(url: str, count: int, *login: str) -> int:
    """Pictures decoded by GStreamer's rtspsrc."""
    pipeline = (
        *("rtspsrc", f"location={url}", "protocols=tcp", "latency=0", *login, "!", "rtph264depay", "!", "h264parse"),
        *("!", "avdec_h264", "!", "identity", f"eos-after={count + 1}", "!", "fakesink", "sync=false", "silent=false"),
    )
    process = await asyncio.create_subprocess_exec(
        *("gst-launch-1.0", "-v", *pipeline),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()[-2000:]
    return min(count, sum(b"chain   *" in line for line in out.splitlines()))


async def test_what_a_reader_gets_is_what_the_camera_sent(place: Site, clip: Path, record_property):
    """Every slice in order, from the first, byte for byte; the first picture without waiting for the next keyframe."""
    source = slice_hashes(nal_units(clip.read_bytes()))
    assert len(set(source)) == len(source) == 60
    async with person(place.running, "zhang") as caller:
        first, second = await opened(caller, camera_id(1)), await opened(caller, camera_id(1))
        async with await RtspClient.connect(first["rtspUrl"]) as early:
            await early.watch()
            await early.until(lambda: early.pictures >= 10)
            sent_before, began = set(slice_hashes(early.nal_units())), time.monotonic()
            async with await RtspClient.connect(second["rtspUrl"]) as late:
                await late.watch()
                await late.until(lambda: late.pictures >= 1)
                first_s = late.packets[0].at - began
                await late.until(lambda: late.pictures >= 80)
                got = slice_hashes(late.nal_units())
                assert gaps(late.packets) == 0
            seen_by_early = Counter(slice_hashes(early.nal_units()))
    record_property("first_picture_s", round(first_s, 3))
    assert got[0] in sent_before, "it did not wait for the next keyframe"
    # The clip goes round: what was got is a run of it, which starts at a keyframe.
    start = source.index(got[0])
    assert start % 25 == 0
    assert got == [source[(start + number) % len(source)] for number in range(len(got))]
    assert set(got) <= set(seen_by_early) | set(source)


async def test_ffmpeg_copies_the_camera_s_own_bytes(place: Site, clip: Path):
    async with person(place.running, "zhang") as caller:
        session = await opened(caller, camera_id(1))
        words = ("-v", "error", "-rtsp_transport", "tcp", "-i", session["rtspUrl"], "-c", "copy", "-frames:v", "40")
        process = await asyncio.create_subprocess_exec(
            *("ffmpeg", *words, "-bsf:v", "h264_mp4toannexb", "-f", "h264", "-"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
    source = slice_hashes(nal_units(clip.read_bytes()))
    got = slice_hashes(nal_units(out))
    assert len(got) == 40
    start = source.index(got[0])
    assert got == [source[(start + number) % len(source)] for number in range(40)]
