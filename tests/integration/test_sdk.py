"""The Python SDK against a real hub: pictures as arrays, sessions that last, ends with their reason, the examples."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import av
import cv2
import httpx
import numpy as np
import pytest
import pytest_asyncio
from support.cameras import gst_camera, make_clip, silence, tcp_camera
from support.certificates import self_signed
from support.hub import PASSWORD, HubProcess, hub, person
from support.ports import standing
from support.site import HERE, Site, camera_id, site

from vidhub.client import ClipWriter, Frame, Hub, Viewer
from vidhub.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated, Unavailable

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")

CAMERA = camera_id(1)
FPS = 15
SESSION_TTL_S = 4
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@module
async def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return await asyncio.to_thread(
        make_clip, tmp_path_factory.mktemp("clip") / "clip.h264", seconds=4, fps=FPS, key_interval=FPS
    )


@module
async def place(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> AsyncIterator[Site]:
    data = tmp_path_factory.mktemp("sdk") / "data"
    quick = {
        "VIDHUB_ACCESS__SESSION_TTL_S": str(SESSION_TTL_S),
        "VIDHUB_SOURCE__CONNECT_TIMEOUT_S": "2",
        "VIDHUB_SOURCE__STALL_TIMEOUT_S": "2",
    }
    async with gst_camera(clip=clip, fps=FPS) as camera, site(data, **quick) as ready:
        await ready.register(1, camera.url)
        await ready.until_state(CAMERA, "ONLINE")
        await ready.operator("zhang", purposes=("patrol", "investigation"))
        yield ready


@module
async def zhang(place: Site) -> AsyncIterator[Hub]:
    async with Hub(place.running.url, "zhang", PASSWORD) as caller:
        yield caller


async def first(viewer: Viewer, count: int) -> list[Frame]:
    """The next pictures."""
    found: list[Frame] = []
    async with asyncio.timeout(30), aclosing(viewer.frames()) as frames:
        async for frame in frames:
            found.append(frame)
            if len(found) == count:
                break
    return found


async def end_of(viewer: Viewer) -> Exception:
    """What `frames` raises."""
    async with asyncio.timeout(30):
        try:
            async for _ in viewer.frames():
                pass
        except Exception as error:
            return error
    raise AssertionError("frames ended without a reason")


async def test_pictures_are_arrays_of_what_the_camera_shows(zhang: Hub, clip: Path, record_property):
    async with Viewer(zhang, CAMERA, "patrol") as viewer:
        frames = await first(viewer, 2 * FPS)
        assert viewer.session.camera_id == CAMERA
    assert {(frame.image.shape, frame.image.dtype.name) for frame in frames} == {((180, 320, 3), "uint8")}
    assert frames[0].time == 0
    steps = [later.time - earlier.time for earlier, later in itertools.pairwise(frames)]
    assert min(steps) > 0
    assert abs(float(np.median(steps)) - 1 / FPS) < 0.01
    # BGR, upright, and the source's own pictures.
    with av.open(str(clip)) as container:
        source = [picture.to_ndarray(format="bgr24") for picture in container.decode(video=0)]
    best = max(cv2.PSNR(frames[-1].image, one) for one in source)
    record_property("psnr_db", round(best, 1))
    assert best > 40


async def test_keyframes_of_a_megabyte_come_whole(place: Site, zhang: Hub, tmp_path: Path):
    clip = await asyncio.to_thread(
        make_clip, tmp_path / "large.h264", seconds=4, size="1280x720", fps=2, key_interval=2, bitrate_k=14_000
    )
    # Noise: the first two pictures have 0.3 and 0.6 MB, the others from 0.8 to 1.
    assert clip.stat().st_size > 6_000_000
    with av.open(str(clip)) as container:
        large = [picture.to_ndarray(format="bgr24") for picture in container.decode(video=0)][2:]
    async with gst_camera(clip=clip, fps=2) as camera:
        await place.register(5, camera.url)
        await place.until_state(camera_id(5), "ONLINE")
        async with Viewer(zhang, camera_id(5), "patrol") as viewer, asyncio.timeout(30):
            async for frame in viewer.frames():
                if max(cv2.PSNR(frame.image, picture) for picture in large) > 40:
                    break


async def test_cameras_are_listed_and_any_call_can_be_made(zhang: Hub):
    found = [camera async for camera in zhang.cameras(region="3606")]
    assert (CAMERA, "东门1", "online") in [(camera.id, camera.name, camera.state) for camera in found]
    assert [camera.id async for camera in zhang.cameras(text="东门1")] == [CAMERA]
    assert [camera async for camera in zhang.cameras(region="3601")] == []
    assert [camera async for camera in zhang.cameras(text="nobody")] == []
    assert (await zhang.call("CameraService/GetCamera", id=CAMERA))["camera"]["id"] == CAMERA


async def test_a_view_outlasts_its_session_s_time_by_renewal(zhang: Hub):
    async with Viewer(zhang, CAMERA, "patrol") as viewer:
        assert viewer.session.life_s == pytest.approx(SESSION_TTL_S, abs=0.1)
        async with asyncio.timeout(30):
            async for frame in viewer.frames():
                if frame.time > 2.5 * SESSION_TTL_S:
                    break
        assert viewer.connections == 1
        session = viewer.session
    assert await zhang.end_reason(session) == "SESSION_CLOSED"


async def test_the_end_of_a_session_is_raised_with_its_reason(place: Site, zhang: Hub):
    async with Viewer(zhang, CAMERA, "investigation:CASE-1") as viewer:
        await first(viewer, 3)
        await place.running.ask("user_add", name="boss", roles=["supervisor"], password=PASSWORD)
        async with person(place.running, "boss") as boss:
            await boss.call("SessionService/TerminateSession", sessionId=viewer.session.id, reason="drill")
        error = await end_of(viewer)
    assert isinstance(error, FailedPrecondition)
    assert error.reason == "SESSION_TERMINATED"


async def test_refusals_come_with_their_reason(place: Site, zhang: Hub, tmp_path: Path):
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: Viewer(zhang, CAMERA, "traffic"), PermissionDenied, "PURPOSE_NOT_GRANTED"),
        (lambda: Viewer(zhang, CAMERA, "investigation"), InvalidArgument, "PURPOSE_REFERENCE_MISSING"),
        (lambda: Hub(place.running.url, "zhang", "wrong"), Unauthenticated, ""),
        (lambda: Hub("http://127.0.0.1:9", "zhang", PASSWORD), Unavailable, "HUB_UNREACHABLE"),
    ]
    for make, kind, reason in cases:
        with pytest.raises(kind) as refused:
            async with make():
                pass
        assert reason in str(refused.value)
    async with tcp_camera(silence) as url:
        silent = await place.register(2, url)
        with pytest.raises(Unavailable) as refused:
            async with Viewer(zhang, silent, "patrol"):
                pass
        assert refused.value.reason == "CAMERA_SILENT"  # type: ignore[attr-defined]
    for url in (
        "ftp://hub",
        "127.0.0.1:8080",
        "http://[::1",
        f"http://zhang:{PASSWORD}@hub",
        f"ftp://zhang:{PASSWORD}@hub",
    ):
        with pytest.raises(InvalidArgument, match="URL_INVALID") as invalid:
            Hub(url, "zhang", PASSWORD)
        assert PASSWORD not in str(invalid.value)
    with pytest.raises(InvalidArgument, match="CA_INVALID"):
        Hub("https://hub", "zhang", PASSWORD, ca=tmp_path / "none.pem")
    with pytest.raises(InvalidArgument, match=r"nowhere/clip\.mp4: .*choose another place"):
        ClipWriter(tmp_path / "nowhere" / "clip.mp4")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InvalidArgument, match="FILE_NOT_WRITTEN"):
        ClipWriter(tmp_path / "clip.nothing")


async def test_a_viewer_that_is_used_wrongly_says_so_and_leaves_nothing_behind(place: Site, zhang: Hub):
    viewer = Viewer(zhang, CAMERA, "patrol")
    before = asyncio.all_tasks()
    with pytest.raises(FailedPrecondition, match="VIEWER_NOT_OPEN"):
        await first(viewer, 1)
    async with viewer:
        await first(viewer, FPS)
        with pytest.raises(FailedPrecondition, match="VIEWER_OPEN"):
            await viewer.__aenter__()
        assert (await first(viewer, 1))[0].time > 0.5
    with pytest.raises(FailedPrecondition, match="VIEWER_NOT_OPEN"):
        await first(viewer, 1)
    async with viewer:
        assert (await first(viewer, 1))[0].time == 0, "a new view, without what the one before left"
    # The wrong way round: the hub goes first.
    async with Hub(place.running.url, "zhang", PASSWORD) as caller:
        last = await Viewer(caller, CAMERA, "patrol").__aenter__()
        await first(last, 1)
    with pytest.raises(FailedPrecondition, match="HUB_CLOSED"):
        await caller.call("AuthService/WhoAmI")
    await last.__aexit__(None, None, None)
    async with asyncio.timeout(30):
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)


async def test_a_viewer_that_is_cancelled_while_it_opens_leaves_no_session_open(place: Site):
    async with Hub(place.running.url, "zhang", PASSWORD) as caller:
        opening = asyncio.create_task(Viewer(caller, CAMERA, "patrol").__aenter__())
        opened: list[str] = []

        async def cancel(answer: httpx.Response) -> None:
            """The hub has opened it, and the program does not know yet."""
            if answer.url.path.endswith("/OpenSession"):
                opened.append(json.loads(await answer.aread())["session"]["id"])
                opening.cancel()
                await asyncio.sleep(0)  # whoever waits for the answer hears of it here

        caller._client.event_hooks["response"].append(cancel)
        with pytest.raises(asyncio.CancelledError):
            await opening
        listed = await caller.call("SessionService/ListSessions", cameraId=CAMERA, includeEnded=True)
        ends = {session["id"]: session.get("endReason") for session in listed["sessions"]}
        assert [ends[session] for session in opened] == ["SESSION_CLOSED"]


async def test_who_reads_pictures_is_not_cancelled_when_another_task_closes_the_viewer(zhang: Hub):
    viewer = await Viewer(zhang, CAMERA, "patrol").__aenter__()

    async def read() -> int:
        return sum([1 async for _ in viewer.frames()])

    reading = asyncio.create_task(read())
    while viewer.pictures < FPS:
        await asyncio.wait_for(viewer._arrived.wait(), 10)
        await asyncio.sleep(0)
    await viewer.__aexit__(None, None, None)
    assert await asyncio.wait_for(reading, 30) > 0


async def test_a_program_that_is_too_slow_gets_the_newest(zhang: Hub):
    async with Viewer(zhang, CAMERA, "patrol", waiting=3) as viewer:
        await first(viewer, 1)
        # Nobody takes a picture for a second and a half.
        async with asyncio.timeout(30):
            while viewer.pictures < 2 * FPS:
                await asyncio.wait_for(viewer._arrived.wait(), 10)
                viewer._arrived.clear()
        dropped = viewer.dropped
        late = (await first(viewer, 1))[0]
    assert dropped >= 2 * FPS - 5
    assert late.time > 1.5


async def test_a_login_that_has_run_out_is_made_anew(place: Site):
    async with Hub(place.running.url, "zhang", PASSWORD) as caller:
        caller._token = "a.b.c"
        # By the refresh cookie first, and by the password when that is no good either.
        await caller.call("AuthService/WhoAmI")
        caller._token = "a.b.c"
        caller._client.cookies.clear()
        assert (await caller.call("AuthService/WhoAmI"))["username"] == "zhang"


async def test_pictures_go_on_after_the_hub_has_been_restarted_or_killed(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vidhub.client.viewer.STALL_S", 4.0)
    data = tmp_path / "data"
    flags = standing("http", "grpc", "rtsp", "webrtc", "metrics")
    async with gst_camera(clip=clip, fps=FPS) as camera, site(data, *flags) as before:
        await before.register(1, camera.url)
        await before.operator("zhang")
        caller = Hub(before.running.url, "zhang", PASSWORD)
        viewer = await Viewer(caller, CAMERA, "patrol").__aenter__()
        try:
            seen = (await first(viewer, 5))[-1].time
            opened = viewer.session.id
            assert await before.running.end() == 0
            async with hub(data, *flags, **HERE) as again:
                frames = await first(viewer, FPS)
                assert viewer.connections >= 2
                assert viewer.session.id == opened, "a clean stop keeps sessions"
                again.process.kill()
                await again.process.wait()
            async with hub(data, *flags, **HERE):
                more = await until_connections(viewer, 3)
                assert viewer.session.id != opened, "a crash costs the session: it is opened anew"
        finally:
            await viewer.__aexit__(None, None, None)
            await caller.close()
    times = [seen, *(frame.time for frame in frames + more)]
    assert all(later >= earlier for earlier, later in itertools.pairwise(times))
    assert times[-1] - seen > 1


async def test_a_camera_s_outage_is_waited_for(place: Site, zhang: Hub, clip: Path):
    async with gst_camera(clip=clip, fps=FPS) as camera:
        identifier = await place.register(3, camera.url)
        async with Viewer(zhang, identifier, "patrol") as viewer:
            before = await first(viewer, FPS)
            await camera.kill()
            async with gst_camera(clip=clip, fps=FPS, port=camera.port):
                after = await first(viewer, 3 * FPS)
            assert viewer.connections == 1, "the hub keeps the viewer, and the viewer its connection"
    assert after[-1].time > before[-1].time + 2


async def test_a_camera_of_h265_is_refused_with_the_reason_by_a_program_that_has_none(place: Site, zhang: Hub):
    async with gst_camera(codec="h265", width=320, height=180, fps=10, key_interval=10) as camera:
        identifier = await place.register(4, camera.url)
        with pytest.raises(FailedPrecondition) as refused:
            async with Viewer(zhang, identifier, "patrol"):
                pass
    assert refused.value.reason == "CODEC_NOT_OFFERED"


async def test_a_hub_with_a_certificate_of_its_own_authority_is_trusted_by_that(tmp_path: Path):
    certificate, key = self_signed(tmp_path)
    flags = ("--tls-cert", str(certificate), "--tls-key", str(key))
    async with hub(tmp_path / "data", *flags) as running:
        await running.ask("user_add", name="zhang", roles=["operator"], password=PASSWORD)
        url = f"https://{running.ready['http']}"
        async with Hub(url, "zhang", PASSWORD, ca=certificate) as caller:
            # By the cookie, which is for HTTPS alone here.
            caller._token = "a.b.c"
            assert (await caller.call("AuthService/WhoAmI"))["username"] == "zhang"
        with pytest.raises(Unavailable) as untrusted:
            async with Hub(url, "zhang", PASSWORD):
                pass
        assert "certificate" in str(untrusted.value).lower()


async def until_connections(viewer: Viewer, count: int) -> list[Frame]:
    """The pictures up to the first of that connection."""
    found: list[Frame] = []
    async with asyncio.timeout(60), aclosing(viewer.frames()) as frames:
        async for frame in frames:
            found.append(frame)
            if viewer.connections >= count:
                break
    return found


async def example(name: str, place: HubProcess, *words: str | Path) -> dict[str, Any]:
    """Runs one of the documented programs as its reader would."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / name), place.url, "zhang", CAMERA, "patrol", *map(str, words)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
            "VIDHUB_PASSWORD": PASSWORD,
        },
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return dict(json.loads(out))


async def test_the_example_counts_motion(place: Site):
    counted = await example("count_motion.py", place.running, 3)
    # The test picture moves all the time.
    assert counted["pictures"] > FPS
    assert counted["moving"] > counted["pictures"] / 2
    assert counted["motions"] >= 1


async def test_the_example_saves_a_clip(place: Site, tmp_path: Path):
    saved = await example("save_clip.py", place.running, tmp_path / "clip.mp4", 3)
    assert saved["pictures"] > FPS
    with av.open(str(tmp_path / "clip.mp4")) as container:
        video = container.streams.video[0]
        pictures = list(container.decode(video))
        assert (video.width, video.height) == (320, 180)
    assert len(pictures) == saved["pictures"]
    times = [float(picture.time or 0) for picture in pictures]
    assert times[-1] - times[0] == pytest.approx(saved["seconds"], abs=0.1)
