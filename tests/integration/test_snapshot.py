"""GetSnapshot: the camera's picture with who asked for it, on record before it is given, and not for everybody."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from support.cameras import gst_camera, make_clip, silence, tcp_camera
from support.hub import PASSWORD, Person, person
from support.site import Site, camera_id, opened, site

from vidhub.access.snapshots import MOST_OF_A_SESSION, MOST_UNDER_WAY
from vidhub.picture import watermark

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")

Image = npt.NDArray[np.uint8]
CAMERA = camera_id(1)
# Of the height: what is written in the foot.
FOOT = 0.13


@module
async def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return await asyncio.to_thread(make_clip, tmp_path_factory.mktemp("clip") / "clip.h264", seconds=4, size="640x360")


@module
async def place(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> AsyncIterator[Site]:
    quick = {"VIDHUB_SOURCE__CONNECT_TIMEOUT_S": "2", "VIDHUB_SOURCE__STALL_TIMEOUT_S": "2"}
    async with (
        gst_camera(clip=clip, fps=25) as camera,
        site(tmp_path_factory.mktemp("snapshot") / "data", VIDHUB_STREAM__LINGER_S="60", **quick) as ready,
    ):
        identifier = await ready.register(1, camera.url)
        await ready.until_state(identifier, "ONLINE")
        for name, shown in (("zhang", "张伟"), ("wang", "王芳")):
            await ready.running.ask(
                "user_add",
                name=name,
                display_name=shown,
                department="鹰潭市公安局指挥中心",
                roles=["operator"],
                password=PASSWORD,
            )
        await ready.grant("zhang", actions=["view_live", "snapshot"])
        await ready.grant("wang")
        yield ready


@module
async def zhang(place: Site) -> AsyncIterator[Person]:
    async with person(place.running, "zhang") as caller:
        yield caller


async def snapshot(caller: Person, session: dict[str, Any]) -> dict[str, Any]:
    return await caller.call("CameraService/GetSnapshot", sessionId=session["session"]["id"])


def image_of(answer: dict[str, Any]) -> Image:
    assert "jpeg" in answer, answer
    return cv2.imdecode(np.frombuffer(base64.b64decode(answer["jpeg"]), np.uint8), cv2.IMREAD_COLOR)  # type: ignore[return-value]


def keyframes(clip: Path) -> list[Image]:
    with av.open(str(clip)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0) if frame.key_frame]


def likeness(image: Image, keyframe: Image) -> tuple[float, float]:
    """PSNR of the brightness, in dB, above the foot and in it."""
    one, other = (cv2.cvtColor(each, cv2.COLOR_BGR2GRAY) for each in (image, keyframe))
    foot = round(image.shape[0] * (1 - FOOT))
    return cv2.PSNR(one[:foot], other[:foot]), cv2.PSNR(one[foot:], other[foot:])


async def test_the_picture_is_the_camera_s_and_says_who_has_it(place: Site, zhang: Person, clip: Path, record_property):
    session = await opened(zhang, CAMERA)
    answer = await snapshot(zhang, session)
    image = image_of(answer)
    assert image.shape == (360, 640, 3)
    above, below = max(likeness(image, keyframe) for keyframe in keyframes(clip))
    record_property("psnr_above_db", round(above, 1))
    record_property("psnr_foot_db", round(below, 1))
    assert above > 36
    assert below < 20
    entry = await place.on_record(action="camera.snapshot", sessionId=session["session"]["id"])
    assert (entry["principal"], entry["resource"]) == ("user/zhang", f"camera/{CAMERA}")
    assert (entry["purposeKind"], bool(entry["grantId"])) == ("patrol", True)
    detail = json.loads(entry["detailJson"])
    assert detail["sha256"] == hashlib.sha256(base64.b64decode(answer["jpeg"])).hexdigest()
    assert (detail["width"], detail["height"]) == (640, 360)


async def test_the_watermark_is_the_caller_s_own(place: Site, zhang: Person, record_property):
    """Written anew by OpenCV with the words that must stand there: the same strokes at the same places."""
    image = image_of(await snapshot(zhang, await opened(zhang, CAMERA)))

    def name_of(picture: Image) -> Image:
        rows = watermark(np.zeros_like(picture), ["", ""])
        return picture[-rows : -rows // 2, : 2 * rows]

    def written(name: str) -> Image:
        canvas = np.zeros_like(image)
        watermark(canvas, [f"{name} zhang", "9" * 46])
        return name_of(canvas)

    shown = name_of(image)
    right, wrong = agreement(shown, written("张伟")), agreement(shown, written("王芳"))
    record_property("agreement", round(right, 2))
    record_property("agreement_of_another_name", round(wrong, 2))
    assert right > 0.85
    assert wrong < right - 0.08


def agreement(shown: Image, expected: Image) -> float:
    """How alike two pieces of writing are: 1 is the same."""
    bright, drawn = (cv2.cvtColor(one, cv2.COLOR_BGR2GRAY).astype(float).ravel() for one in (shown, expected))
    return float(np.corrcoef(bright, drawn)[0, 1])


async def test_a_camera_of_h265_gives_stills_too(place: Site, zhang: Person):
    async with gst_camera(codec="h265", width=320, height=180, fps=10, key_interval=10) as camera:
        identifier = await place.register(4, camera.url)
        image = image_of(await snapshot(zhang, await opened(zhang, identifier)))
    assert image.shape == (180, 320, 3)
    # The test picture is a white ball on black.
    assert image[:140].max() > 200
    assert np.median(image[:140]) < 20


@pytest.mark.parametrize("case", ["foreign", "unknown", "ended", "no grant for snapshots", "no such purpose"])
async def test_who_may_not_have_it_learns_why_and_is_on_record(place: Site, zhang: Person, case: str):
    async with person(place.running, "wang") as wang:
        session = await opened(wang if case == "no grant for snapshots" else zhang, CAMERA)
        caller, reason, resource = zhang, "SESSION_NOT_FOUND", f"session/{session['session']['id']}"
        if case == "foreign":
            caller = wang
        elif case == "unknown":
            session, resource = {"session": {"id": "s-none"}}, "session/s-none"
        elif case == "ended":
            await zhang.call("SessionService/CloseSession", sessionId=session["session"]["id"])
            reason = "SESSION_ENDED"
        elif case == "no grant for snapshots":
            caller, reason, resource = wang, "NO_GRANT", f"camera/{CAMERA}"
        else:
            await place.grant("wang", purposes=("traffic",))
            await place.grant("wang", purposes=("patrol",), actions=("snapshot",))
            session = await opened(wang, CAMERA, kind="traffic")
            caller, reason, resource = wang, "PURPOSE_NOT_GRANTED", f"camera/{CAMERA}"
        answer = await snapshot(caller, session)
        assert (answer.get("reason"), "jpeg" in answer) == (reason, False), answer
        await place.on_record(action="camera.snapshot.refused", result=reason, resource=resource)


async def test_other_roles_have_no_snapshots(place: Site, zhang: Person):
    session = await opened(zhang, CAMERA)
    await place.running.ask("user_add", name="aud", roles=["auditor", "supervisor"], password=PASSWORD)
    async with person(place.running, "aud") as auditor:
        assert (await snapshot(auditor, session))["reason"] == "ROLE_SEES_NO_VIDEO"


async def test_fifty_at_once_are_bounded_and_hurt_nobody(place: Site, zhang: Person):
    sessions = [await opened(zhang, CAMERA) for _ in range(12)]
    answers = await asyncio.gather(*(snapshot(zhang, sessions[0]) for _ in range(50)))
    assert_bounded(answers, at_least=MOST_OF_A_SESSION)
    spread = await asyncio.gather(*(snapshot(zhang, session) for session in sessions for _ in range(4)))
    assert_bounded(spread, at_least=MOST_UNDER_WAY)
    # And then there is room again.
    image_of(await snapshot(zhang, sessions[0]))
    for session in sessions:
        await zhang.call("SessionService/CloseSession", sessionId=session["session"]["id"])


def assert_bounded(answers: list[dict[str, Any]], *, at_least: int) -> None:
    results = Counter(answer.get("reason", "jpeg") for answer in answers)
    assert set(results) <= {"jpeg", "LIMIT_SNAPSHOTS"}, results
    assert results["jpeg"] >= at_least
    for answer in answers:
        if "jpeg" in answer:
            assert image_of(answer).shape == (360, 640, 3)


async def test_a_camera_that_gives_nothing_is_named_as_to_viewers(place: Site, zhang: Person):
    async with tcp_camera(silence) as url:
        identifier = await place.register(2, url)
        answer = await snapshot(zhang, await opened(zhang, identifier))
        assert (answer["code"], answer["reason"]) == ("unavailable", "CAMERA_SILENT")


@pytest.mark.parametrize(
    ("number", "sessions", "each", "refused"),
    [(5, 1, MOST_OF_A_SESSION + 3, 3), (6, MOST_UNDER_WAY // MOST_OF_A_SESSION + 1, MOST_OF_A_SESSION, 4)],
    ids=["of one session", "of the hub"],
)
async def test_those_that_wait_for_their_camera_are_counted_too(
    place: Site, zhang: Person, number: int, sessions: int, each: int, refused: int
):
    async with tcp_camera(silence) as url:
        identifier = await place.register(number, url)
        open_ones = [await opened(zhang, identifier) for _ in range(sessions)]
        # All wait for a camera that says nothing, so none gives its place back meanwhile.
        answers = await asyncio.gather(*(snapshot(zhang, session) for session in open_ones for _ in range(each)))
    reasons = Counter(answer["reason"] for answer in answers)
    assert reasons == {"CAMERA_SILENT": sessions * each - refused, "LIMIT_SNAPSHOTS": refused}
    await place.on_record(action="camera.snapshot.refused", result="LIMIT_SNAPSHOTS", resource=f"camera/{identifier}")
    for session in open_ones:
        await zhang.call("SessionService/CloseSession", sessionId=session["session"]["id"])


async def test_a_session_that_ends_meanwhile_gives_none(place: Site, zhang: Person):
    async with tcp_camera(silence) as url:
        identifier = await place.register(3, url)
        session = await opened(zhang, identifier)
        asking = asyncio.create_task(snapshot(zhang, session))
        await asyncio.sleep(0)
        await zhang.call("SessionService/CloseSession", sessionId=session["session"]["id"])
        answer = await asking
    assert answer["reason"] in {"SESSION_CLOSED", "SESSION_ENDED", "SESSION_UNKNOWN"}, answer
