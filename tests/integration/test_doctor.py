"""`vidhub doctor` on a hub that runs, on one that is stopped or broken, and on cameras of every kind of fault."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.cameras import garbage, make_clip, silence, tcp_camera, without_keyframes
from support.hub import camera_message
from support.scripted_camera import Clips, Script, scripted_camera
from support.site import Done, Site, cli, site

from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")

QUICK = {
    "VIDHUB_SOURCE__CONNECT_TIMEOUT_S": "2",
    "VIDHUB_SOURCE__STALL_TIMEOUT_S": "2",
    "VIDHUB_PROBE__INTERVAL_S": "0",
}
WAY = ["url", "name", "policy", "tcp", "rtsp", "login", "describe", "setup", "packet", "keyframe", "codec"]


@module
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with site(tmp_path_factory.mktemp("doctor") / "data", **QUICK) as ready:
        yield ready


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


async def doctor(data: Path, *words: str) -> Done:
    return await cli("doctor", "--data-dir", data, *words)


def failing(done: Done) -> dict[str, Any]:
    """The one check that fails, which is the last of its kind."""
    assert done.status == 1, done.out
    (check,) = [check for check in done.answer["checks"] if not check["ok"]]
    assert check["message"]
    assert check["remedy"]
    return check


async def test_a_running_hub_is_well(place: Site) -> None:
    done = await doctor(place.running.data)
    assert done.status == 0, done.out
    checks = {check["name"]: check for check in done.answer["checks"]}
    assert all({"name", "ok", "message", "remedy"} <= set(check) for check in checks.values())
    assert {name.partition(".")[0] for name in checks} == {
        *("disk", "keys", "store", "clock", "port", "certificate", "address")
    }
    assert str(place.running.ready["pid"]) in checks["port.http"]["message"]
    assert "1 enrolled units" in checks["certificate.units"]["message"]
    for name in ("store.synchronous", "store.integrity", "store.schema", "clock.jump", "address.public_url"):
        assert checks[name]["ok"], name


async def test_a_camera_that_plays_passes_every_hop(place: Site, clips: Clips) -> None:
    async with scripted_camera(Script(challenges=("MD5",), username="admin", password="hunter22#"), clips) as camera:
        identifier = await place.register(1, camera.url, username="admin", password="hunter22#")
        done = await doctor(place.running.data, "--camera", identifier)
    assert done.status == 0, done.out
    assert [check["name"] for check in done.answer["checks"]] == [
        "camera.record",
        *(f"camera.main.{hop}" for hop in WAY),
    ]
    assert done.answer["checks"][-1]["message"] == "h264 320x180"
    assert "hunter22" not in done.out + "".join(place.running.said)
    text = await asyncio.create_subprocess_exec(
        *("vidhub", "doctor", "--data-dir", place.running.data, "--camera", identifier),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, _ = await text.communicate()
    assert text.returncode == 1
    assert "✓ camera.main.name" in out.decode()
    assert "✗ camera.main.tcp: CAMERA_UNREACHABLE" in out.decode()
    assert "→ " in out.decode()


async def examined(place: Site, identifier: str) -> list[dict[str, Any]]:
    return list((await place.running.ask("examine", camera_id=identifier))["checks"])


async def test_b_frames_are_told_with_what_they_cost(place: Site, clips: Clips) -> None:
    async with scripted_camera(Script(clip="b_frames"), clips) as camera:
        checks = await examined(place, await place.register(2, camera.url))
    assert all(check["ok"] for check in checks), checks
    assert (checks[-1]["name"], "with B-frames" in checks[-1]["message"]) == ("camera.main.codec", True)
    assert "WebRTC" in checks[-1]["remedy"]


async def test_the_hop_that_fails_is_named_whatever_is_wrong_with_the_camera(
    place: Site, clips: Clips, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with AsyncExitStack() as stack:

        async def scripted(script: Script) -> str:
            return (await stack.enter_async_context(scripted_camera(script, clips))).url

        async def tcp(serve: Callable[..., Any]) -> str:
            return await stack.enter_async_context(tcp_camera(serve))

        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        clip = make_clip(tmp_path_factory.mktemp("clip") / "clip.h264", seconds=2, fps=15)
        faults = {
            await tcp(without_keyframes(clip)): ("keyframe", "CAMERA_NO_KEYFRAME"),
            await scripted(Script(challenges=("MD5",), username="admin", password="another")): (
                "login",
                "CAMERA_REFUSED_LOGIN",
            ),
            await scripted(Script(codec="JPEG")): ("describe", "CAMERA_NO_PICTURE"),
            await scripted(Script(silent_s=0.0)): ("packet", "CAMERA_SILENT"),
            "rtsp://camera.invalid/1": ("name", "CAMERA_UNREACHABLE"),
            "rtsp://169.254.1.1/1": ("policy", "CAMERA_ADDRESS_DENIED"),
            f"rtsp://127.0.0.1:{closed.getsockname()[1]}/1": ("tcp", "CAMERA_UNREACHABLE"),
            await tcp(silence): ("rtsp", "CAMERA_SILENT"),
            await tcp(garbage): ("rtsp", "CAMERA_INVALID"),
        }
        at_once = asyncio.Semaphore(4)

        async def look(number: int, url: str) -> tuple[str, str]:
            async with at_once:
                identifier = await place.register(number, url, username="admin", password="hunter22#")
                checks = await examined(place, identifier)
            assert [check["ok"] for check in checks] == [True] * (len(checks) - 1) + [False], checks
            assert checks[-1]["message"]
            assert checks[-1]["remedy"]
            assert "hunter22" not in str(checks)
            return checks[-1]["name"].removeprefix("camera.main."), checks[-1]["reason"]

        found = await asyncio.gather(*(look(number, url) for number, url in enumerate(faults, 10)))
    assert list(found) == list(faults.values())


async def test_cameras_that_are_pushed_or_unknown(place: Site) -> None:
    message = camera_message(7)
    message.streams[0].url = message.streams[0].username = message.streams[0].password = ""
    async with place.unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        await stub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=message), timeout=30)
    check = failing(await doctor(place.running.data, "--camera", message.id))
    assert (check["name"], check["reason"]) == ("camera.main.push", "CAMERA_SILENT")
    unknown = await doctor(place.running.data, "--camera", "36060200111322099999")
    assert (unknown.status, unknown.error["reason"]) == (1, "CAMERA_NOT_FOUND")


async def test_no_more_cameras_are_examined_at_once_than_the_bound_says(place: Site) -> None:
    async with tcp_camera(silence) as url:
        identifiers = [await place.register(number, url) for number in range(30, 36)]
        asked = [place.running.ask("examine", camera_id=identifier) for identifier in identifiers]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, AssertionError)]
    assert len(refused) == 2
    assert all("LIMIT_EXAMINATIONS" in str(answer) for answer in refused)


async def test_a_stopped_hub_and_a_broken_one(tmp_path_factory: pytest.TempPathFactory, clips: Clips) -> None:
    data = tmp_path_factory.mktemp("stopped") / "data"
    async with AsyncExitStack() as stack:
        camera = await stack.enter_async_context(scripted_camera(Script(), clips))
        async with site(data) as place:
            identifier = await place.register(1, camera.url)
        held = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        taken = f"127.0.0.1:{held.getsockname()[1]}"
        free = {f"VIDHUB_LISTEN__{name}": "127.0.0.1:0" for name in ("GRPC", "RTSP", "RTSP_UDP", "RTSPS", "WEBRTC")}
        free |= {"VIDHUB_LISTEN__METRICS": "off", "VIDHUB_LISTEN__HTTP": taken, "VIDHUB_SOURCE__ALLOW": "127.0.0.0/8"}
        # A camera is examined also when no hub runs.
        done = await cli("doctor", "--data-dir", data, "--camera", identifier, **free)
        assert done.status == 0, done.out
        check = failing(await cli("doctor", "--data-dir", data, **free))
        assert (check["name"], check["reason"]) == ("port.http", "LISTENER_IN_USE")
    (data / "keys" / "ca.key").chmod(0o644)
    free["VIDHUB_LISTEN__HTTP"] = "off"
    broken = await cli("doctor", "--data-dir", data, **free)
    assert broken.status == 1
    reasons = {check["name"]: check["reason"] for check in broken.answer["checks"] if not check["ok"]}
    assert reasons == {"hub": "KEY_FILE_EXPOSED", "keys.modes": "KEY_FILE_EXPOSED"}
    (data / "keys" / "ca.key").chmod(0o600)
    (data / "vidhub.db").write_bytes(b"this is no database at all, " * 100)
    broken = await cli("doctor", "--data-dir", data, **free)
    reasons = {check["name"]: check["reason"] for check in broken.answer["checks"] if not check["ok"]}
    assert reasons == {"hub": "STORE_CORRUPT", "store.file": "STORE_CORRUPT"}
