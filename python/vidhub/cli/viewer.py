"""Watches a camera for a while and says what came: for `vidhub view`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import cv2

from vidhub.client import ClipWriter, Frame, Hub, Viewer
from vidhub.errors import InvalidArgument


async def watch(
    url: str,
    user: str,
    password: str,
    camera: str,
    purpose: str,
    *,
    seconds: float,
    save: Path | None,
    snapshot: Path | None,
) -> dict[str, Any]:
    """Watches for `seconds` from the first picture on, and tells what was received."""
    clip = ClipWriter(save) if save is not None else None
    began = time.monotonic()
    first_s, width, height = 0.0, 0, 0
    try:
        async with Hub(url, user, password) as hub, Viewer(hub, camera, purpose) as viewer:
            try:
                async with asyncio.timeout(None) as limit:
                    async for frame in viewer.frames():
                        if not width:
                            first_s = time.monotonic() - began
                            limit.reschedule(asyncio.get_running_loop().time() + seconds)
                            height, width = frame.image.shape[:2]
                            if snapshot is not None:
                                await asyncio.to_thread(_write_picture, frame, snapshot)
                        if clip is not None:
                            await asyncio.to_thread(clip.add, frame)
            except TimeoutError:
                pass  # the time is over
            return {
                "frames": viewer.pictures,
                "first_frame_s": round(first_s, 3),
                "width": width,
                "height": height,
                "lost_packets": await viewer.lost_packets(),
            }
    finally:
        if clip is not None:
            await asyncio.to_thread(clip.close)


def _write_picture(frame: Frame, path: Path) -> None:
    kind = path.suffix.lower()
    if kind not in {".jpg", ".jpeg", ".png"}:
        raise InvalidArgument("FILE_NOT_WRITTEN", f"{path}: choose a name that ends in .jpg or .png")
    try:
        path.write_bytes(cv2.imencode(kind, frame.image)[1].tobytes())
    except OSError as cause:
        raise InvalidArgument(
            "FILE_NOT_WRITTEN", f"{path}: {cause.strerror}: choose another place, or make room"
        ) from cause
