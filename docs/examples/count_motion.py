"""Counts motion before a camera: count_motion.py URL USER CAMERA PURPOSE [SECONDS], password in VIDHUB_PASSWORD.

A picture moves when more than one pixel in 500 differs from the picture before by more than 25 grey levels; a still
picture ends a motion. Prints one line at the end: {"pictures": …, "moving": …, "motions": …}.
"""

import asyncio
import json
import os
import sys

import cv2
import numpy as np

from vidhub.client import Hub, Viewer

GREY_LEVELS = 25
SHARE = 1 / 500


async def main(url: str, user: str, camera: str, purpose: str, seconds: float = 10.0) -> None:
    pictures = moving = motions = 0
    before: np.ndarray | None = None
    was_moving = False
    async with Hub(url, user, os.environ["VIDHUB_PASSWORD"]) as hub, Viewer(hub, camera, purpose) as viewer:
        async for frame in viewer.frames():
            grey = cv2.GaussianBlur(cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY), (5, 5), 0)
            if before is not None and before.shape == grey.shape:
                changed = np.count_nonzero(cv2.absdiff(grey, before) > GREY_LEVELS)
                is_moving = bool(changed > grey.size * SHARE)
                moving += is_moving
                motions += is_moving and not was_moving
                was_moving = is_moving
            before = grey
            pictures += 1
            if frame.time >= seconds:
                break
    print(json.dumps({"pictures": pictures, "moving": moving, "motions": motions}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5], *map(float, sys.argv[5:])))
