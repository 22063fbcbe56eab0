"""Cameras that misbehave (`tests/vectors/rtsp`): what the viewer sees, what state and metrics say. All of them play at
once, a few at a time, each to a hub of its own; a test looks at what came of one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import pytest
import pytest_asyncio
from support.cameras import slice_hashes
from support.hub import person
from support.rtsp import RtpPacket, RtspClient, gaps
from support.scripted_camera import FPS, Clips, Script, scripted_camera
from support.site import Site, opened, scrape, site
from support.whep import offer_sdp, post_offer

pytestmark = pytest.mark.asyncio(loop_scope="module")

VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "rtsp").glob("*.toml"))
AT_ONCE = 4
STALL_S = 1.5
QUICK = {
    "VIDHUB_SOURCE__CONNECT_TIMEOUT_S": "2",
    "VIDHUB_SOURCE__STALL_TIMEOUT_S": str(STALL_S),
    "VIDHUB_STREAM__LINGER_S": "1",
}
DROP_REASONS = ("slow_viewer", "source_gap", "malformed", "over_budget")


@dataclass
class Expected:
    """The keys of `expect`: see the corpus's README."""

    seconds: float = 5.0
    rtsp: int = 200
    rtsp_reason: str = ""
    whep: int = 201
    whep_reason: str = ""
    audio: str = ""
    pictures: float = 0.0
    step_s: float = 0.2
    dropped: list[str] = field(default_factory=list)
    reconnects: bool = False
    state: str = "ONLINE"
    state_reason: str = ""
    login: str = ""
    sizes: int = 1
    sdp: str = ""
    late_joiner: bool = False
    ffmpeg_is_content: bool = False


@dataclass
class Outcome:
    """What was seen of one camera."""

    answers: dict[str, tuple[int, str]] = field(default_factory=dict)
    audio: str = ""
    sdp: str = ""
    packets: list[RtpPacket] = field(default_factory=list)
    nals: list[bytes] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    late_first_s: float = 0.0
    ffmpeg_said: str = ""
    state: str = ""
    state_reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    logins: list[str] = field(default_factory=list)
    failures: int = 0
    connections: int = 0
    is_connected: bool = True


def read(path: Path) -> tuple[Script, Expected]:
    text = tomllib.loads(path.read_text(encoding="utf-8"))
    assert set(text) <= {"story", "seen_in", "camera", "expect"}
    return Script(**text["camera"]), Expected(**text["expect"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome | BaseException]:
    folder = tmp_path_factory.mktemp("misbehaving")
    clips = await asyncio.to_thread(Clips, folder)
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(path: Path) -> Outcome:
        script, expected = read(path)
        async with turn:
            return await play(folder / path.stem, script, expected, clips)

    found = await asyncio.gather(*(one(path) for path in VECTORS), return_exceptions=True)
    return {path.stem: outcome for path, outcome in zip(VECTORS, found, strict=True)}


async def play(data: Path, script: Script, expected: Expected, clips: Clips) -> Outcome:
    """One camera and one hub, from registration to the last look at its metrics."""
    outcome = Outcome()
    async with scripted_camera(script, clips) as camera, site(data, **QUICK) as place:
        await place.operator("zhang")
        identifier = await place.register(1, camera.url, username=script.username, password=script.password)
        async with person(place.running, "zhang") as caller:
            session = await opened(caller, identifier)
            async with await RtspClient.connect(session["rtspUrl"]) as viewer:
                described = await viewer.describe()
                outcome.answers["rtsp"] = (described.status, described.reason)
                outcome.sdp = described.body.decode()
                offered = await post_offer(session["whepUrl"], await offer_sdp(), session["ticket"])
                told = offered.json()["reason"] if offered.status_code != 201 else ""
                outcome.answers["whep"] = (offered.status_code, told)
                outcome.audio = offered.headers.get("x-vidhub-audio", "")
                if described.status == 200:
                    assert (await viewer.set_up()).status == 200
                    assert (await viewer.play()).status == 200
                    beside = [
                        watch(viewer, expected.seconds),
                        *(
                            [ffmpeg((await opened(caller, identifier))["rtspUrl"])]
                            if expected.ffmpeg_is_content
                            else []
                        ),
                    ]
                    if expected.late_joiner:
                        beside.append(join_late(viewer, (await opened(caller, identifier))["rtspUrl"]))
                    _, *others = await asyncio.gather(*beside)
                    for found in others:
                        if isinstance(found, str):
                            outcome.ffmpeg_said = found
                        else:
                            outcome.late_first_s = found
                    outcome.is_connected = not viewer.closed.done()
                    outcome.packets, outcome.nals = list(viewer.packets), list(viewer.nal_units())
            found = await settled(place, identifier, expected)
            outcome.state = found.get("state", "").removeprefix("CAMERA_STATE_")
            outcome.state_reason = found.get("stateReason", "")
        _, outcome.metrics = await scrape(place.running)
        outcome.logins, outcome.failures = camera.logins, camera.failures
        outcome.connections = camera.connections
        outcome.sent = set(slice_hashes(nal for unit in camera.units for nal in unit))
    return outcome


async def watch(viewer: RtspClient, seconds: float) -> None:
    """The viewer's own time is what is looked at: it ends with the first packet after it."""
    until = time.monotonic() + seconds
    await viewer.until(lambda: bool(viewer.packets) and viewer.packets[-1].at >= until, within_s=seconds + 20)


async def join_late(first: RtspClient, url: str) -> float:
    """Seconds from asking to the first picture, in the middle of a group."""
    await first.until(lambda: first.pictures > 2 * FPS)
    began = time.monotonic()
    async with await RtspClient.connect(url) as late:
        await late.watch()
        await late.until(lambda: late.pictures > 0)
        return late.packets[0].at - began


async def ffmpeg(url: str) -> str:
    """What it says while it copies some seconds."""
    process = await asyncio.create_subprocess_exec(
        *("ffmpeg", "-nostdin", "-v", "warning", "-rtsp_transport", "tcp", "-i", url, "-t", "4"),
        *("-map", "0:v", "-c", "copy", "-f", "null", "-"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    return said.decode() if process.returncode == 0 else f"exit code {process.returncode}: {said.decode()}"


async def settled(place: Site, identifier: str, expected: Expected) -> dict[str, Any]:
    """The camera's record; a state that is still to come is waited for, and another one is the test's to tell."""
    if not expected.reconnects:
        with contextlib.suppress(TimeoutError):
            return await place.until_state(identifier, expected.state, within_s=10)
    return await place.camera(identifier)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
async def test_a_camera_that_misbehaves(outcomes: dict[str, Outcome | BaseException], path: Path, record_property):
    script, expected = read(path)
    seen = outcomes[path.stem]
    if isinstance(seen, BaseException):
        raise seen
    assert seen.answers == {
        "rtsp": (expected.rtsp, expected.rtsp_reason),
        "whep": (expected.whep, expected.whep_reason),
    }
    if not expected.reconnects:
        assert seen.state == expected.state
        assert expected.state_reason in seen.state_reason
        assert bool(seen.state_reason) == bool(expected.state_reason)
    moved = [reason for reason in DROP_REASONS if seen.metrics[f"vidhub_media_dropped_total{{reason={reason}}}"] > 0]
    if not expected.reconnects:
        assert moved == expected.dropped
    else:
        assert seen.metrics["vidhub_source_reconnects_total{}"] > 0
        assert seen.connections > 1
    if script.challenges:
        assert set(seen.logins) == {expected.login}
        assert seen.failures == 0, "the hub shows no login that the camera has to refuse"
    if expected.rtsp != 200:
        assert not seen.packets
        return
    assert expected.sdp in seen.sdp
    assert expected.audio in seen.audio
    assert seen.is_connected
    share = see(seen, expected)
    record_property("pictures_share", round(share, 3))
    assert share >= expected.pictures - 0.05
    if expected.late_joiner:
        record_property("late_first_s", round(seen.late_first_s, 3))
        assert 0 < seen.late_first_s < 4, "a new keyframe was five seconds away at least"
    assert seen.ffmpeg_said == ""


def see(seen: Outcome, expected: Expected) -> float:
    """Looks at what the viewer got; the share of the pictures that it got."""
    assert gaps(seen.packets) == 0
    hashes = slice_hashes(iter(seen.nals))
    assert hashes
    assert set(hashes) <= seen.sent, "a damaged slice was passed on"
    # What was cached comes at once; after that it is live.
    live = [packet for packet in seen.packets if packet.at > seen.packets[0].at + 0.5]
    first = live[0]
    moments: dict[int, float] = {}
    for packet in live:
        moments.setdefault((packet.timestamp - first.timestamp + 2**31) % 2**32 - 2**31, packet.at - first.at)
    times = sorted(moments)
    steps = [(after - before) / 90_000 for before, after in itertools.pairwise(times)]
    assert max(steps) <= expected.step_s
    if not expected.reconnects:
        assert runs_away(moments) < 1, "time runs away"
    decoder: Any = av.CodecContext.create("h264", "r")
    data = b"".join(b"\0\0\0\1" + nal for nal in seen.nals)
    frames = [frame for packet in decoder.parse(data) + decoder.parse() for frame in decoder.decode(packet)]
    assert len(frames) >= len({packet.timestamp for packet in seen.packets}) * 0.9 - 5
    assert len({(frame.width, frame.height) for frame in frames}) == expected.sizes
    return len(times) / ((live[-1].at - first.at) * FPS)


def runs_away(moments: dict[int, float]) -> float:
    """How far the stream's time, in ticks, goes from that of its arrival, in seconds. Of two seconds the picture counts
    that came soonest: what a busy machine lets come late is followed by what comes in time."""
    spans: dict[int, list[float]] = {}
    for ticks, at in moments.items():
        spans.setdefault(int(at / 2), []).append(at - ticks / 90_000)
    soonest = [min(late) for late in spans.values() if len(late) >= FPS // 5]
    return max(soonest) - min(soonest)


async def test_every_field_of_a_script_is_used_by_a_vector():
    """A script that nobody plays proves nothing."""
    scripts = [read(path)[0] for path in VECTORS]
    plain = Script()
    for one in dataclasses.fields(Script):
        assert any(getattr(script, one.name) != getattr(plain, one.name) for script in scripts), one.name
