"""No viewer waits for Python: the interpreter is held for two seconds, and every picture comes in its time."""

from __future__ import annotations

import asyncio
import bisect
import ctypes
import json
import os
import statistics
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from support.cameras import gst_camera
from support.domain import HUB

from vidhub.core import Core
from vidhub.identity import HubKeys
from vidhub.model import (
    Action,
    Camera,
    CameraStream,
    Grant,
    LegalRecord,
    Location,
    Principal,
    PrincipalKind,
    Profile,
    Revision,
    Role,
    Scope,
)

CAMERA = "36060200111322000001"
HELD_S = 2.0
LATE_S = 0.050


async def test_while_python_is_held_no_picture_is_late(tmp_path: Path, record_property):
    options = {
        "hub_id": HUB,
        "ticket_key_pem": HubKeys.open(tmp_path).hub_pem.decode(),
        "listen": {"http": "127.0.0.1:0", "rtsp": "127.0.0.1:0", "webrtc": "127.0.0.1:0"},
        "source": {"allow": ["127.0.0.0/8"]},
        "probe": {"interval_s": 0},
    }
    core = Core(options)
    try:
        async with gst_camera(width=320, height=180, fps=25, key_interval=25) as camera:
            bound = await core.start()
            core.start_listening()
            ticket = session(core, camera.url)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "support.frame_times", camera.url),
                *(f"rtsp://{bound['rtsp']}/{CAMERA}?ticket={ticket}", f"http://{bound['http']}/whep/{CAMERA}", ticket),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))},
                limit=1 << 24,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            async with asyncio.timeout(30):
                assert json.loads(await process.stdout.readline())["playing"]
            began, ended, stood_still = hold_the_interpreter()
            process.stdin.close()
            async with asyncio.timeout(30):
                times = json.loads(await process.stdout.readline())
                await process.wait()
    finally:
        await core.stop()
    assert stood_still >= HELD_S * 0.95, "another Python thread ran meanwhile"
    for name in ("rtsp", "whep"):
        late, pictures = worst(times["camera"], times[name], began, ended)
        record_property(f"{name}_late_ms", round(late * 1000, 1))
        whole = max(late for due, _, late in lateness(times[name], began) if began <= due <= ended)
        record_property(f"{name}_late_with_the_camera_ms", round(whole * 1000, 1))
        record_property(f"{name}_pictures", pictures)
        assert pictures >= HELD_S * 25 - 3, name
        assert late <= LATE_S, (name, late)


def hold_the_interpreter() -> tuple[float, float, float]:
    """Begin and end of two seconds in which no other Python thread runs, and how long one that would stood still."""
    stop, longest = threading.Event(), 0.0

    def tick() -> None:
        nonlocal longest
        last = time.monotonic()
        while not stop.wait(0.005):
            longest = max(longest, time.monotonic() - last)
            last = time.monotonic()

    ticking = threading.Thread(target=tick)
    ticking.start()
    began = time.monotonic()
    # A call by `PyDLL` keeps the interpreter's lock until it returns.
    ctypes.PyDLL(None).usleep(int(HELD_S * 1_000_000))
    ended = time.monotonic()
    time.sleep(0.02)  # lets the other thread see how long it stood still
    stop.set()
    ticking.join()
    return began, ended, longest


def worst(camera: list[Any], seen: list[Any], began: float, ended: float) -> tuple[float, int]:
    """How late the latest picture was while the interpreter was held, beside the same picture straight from the camera,
    and how many came. Each way's usual delay is taken off, so that what is left is the holding's doing."""
    direct, hub = lateness(camera, began), lateness(seen, began)
    due_times = [due for due, _, _ in direct]
    latest, pictures = -1.0, 0
    for due, _, late in hub:
        if not began <= due <= ended:
            continue
        pictures += 1
        near = direct[max(0, bisect.bisect(due_times, due) - 1) :][:2]
        # What was late at the camera's own door, or in the watching process, is none of the hub's.
        excused = max((other for _, _, other in near), default=0.0)
        latest = max(latest, late - max(0.0, excused))
    return latest, pictures


def lateness(seen: list[Any], began: float) -> list[tuple[float, float, float]]:
    """(due, came, late by) of each picture; due by the delay that was usual before `began`."""
    usual = statistics.median(at - media for at, media in seen[5:] if at < began)
    return [(media + usual, at, at - media - usual) for at, media in seen]


def session(core: Core, url: str) -> str:
    """A ticket for a camera that an operator may watch."""
    viewer = Principal(PrincipalKind.USER, "zhang", hub_id=HUB, roles=frozenset({Role.OPERATOR}))
    now = datetime.now(UTC)
    camera = Camera(
        id=CAMERA,
        name="东门",
        unit_id="u1",
        region_code="360602",
        industry="11",
        place_category=5,
        location=Location(28.24, 117.03),
        streams=(CameraStream(Profile.MAIN, url),),
        legal=LegalRecord(),
    )
    core.load(Revision("e1", 1), [camera], [])
    grant = Grant(
        id="g1",
        username="zhang",
        department="",
        scope=Scope(region_prefixes=("3606",)),
        actions=(Action.VIEW_LIVE,),
        purposes=("patrol",),
        not_before=now - timedelta(minutes=1),
        not_after=now + timedelta(hours=1),
    )
    core.load_grants([grant])
    core.open_session(
        "s1",
        viewer,
        CAMERA,
        profile=Profile.AUTO,
        purpose="patrol",
        grant_id="g1",
        expire_time=now + timedelta(hours=1),
        rtsp_user="v1",
        rtsp_password="x" * 24,
    )
    return core.issue_ticket("s1", 60).text
