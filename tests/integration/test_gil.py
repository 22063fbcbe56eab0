"""No viewer waits for Python: the interpreter is held for two seconds, and every picture comes in its time."""

from __future__ import annotations

import asyncio
import bisect
import ctypes
import itertools
import json
import os
import statistics
import sys
import threading
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

from support.cameras import gst_camera
from support.live import CAMERA, live_core

HELD_S = 2.0
# Of two seconds; how much of it is the machine's own is in the properties of the test.
LATE_S = 0.5
# Pictures that play before Python is held.
ENOUGH = 20


async def test_while_python_is_held_no_picture_is_late(tmp_path: Path, record_property):
    async with (
        gst_camera(width=320, height=180, fps=25, key_interval=25) as camera,
        live_core(tmp_path, camera.url) as live,
        aclosing(live.core.frames(live.open("s2"))) as frames,
    ):
        before = await anext(frames)
        ticket = live.core.issue_ticket(live.open("s1"), 60).text
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "support.frame_times", camera.url),
            *(f"rtsp://{live.bound['rtsp']}/{CAMERA}?ticket={ticket}",),
            *(f"http://{live.bound['http']}/whep/{CAMERA}", ticket),
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
        # A reader in Python gets what came meanwhile, and nothing is missing.
        waited = [before] + [await anext(frames) for _ in range(int(HELD_S * 25) + ENOUGH)]
        async with asyncio.timeout(30):
            times = json.loads(await process.stdout.readline())
            await process.wait()
    assert [unit.dropped_before for unit in waited] == [0] * len(waited)
    assert all(later.dts > earlier.dts for earlier, later in itertools.pairwise(waited))
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
