"""Saves a clip of a camera: save_clip.py URL USER CAMERA PURPOSE FILE.mp4 [SECONDS], password in VIDHUB_PASSWORD.

Prints one line at the end: {"pictures": …, "seconds": …, "dropped": …}; dropped: pictures that came while this program
was too slow for them.
"""

import asyncio
import json
import os
import sys

from vidhub.client import ClipWriter, Hub, Viewer


async def main(url: str, user: str, camera: str, purpose: str, file: str, seconds: float = 10.0) -> None:
    pictures, begun, lasts = 0, None, 0.0
    with ClipWriter(file) as clip:
        async with Hub(url, user, os.environ["VIDHUB_PASSWORD"]) as hub, Viewer(hub, camera, purpose) as viewer:
            async for frame in viewer.frames():
                # Encoding takes milliseconds: in a thread, so that the connection is served meanwhile.
                await asyncio.to_thread(clip.add, frame)
                # The first one need not be at 0: while a program is still busy, pictures are dropped.
                begun = frame.time if begun is None else begun
                pictures, lasts = pictures + 1, frame.time - begun
                if lasts >= seconds:
                    break
    print(json.dumps({"pictures": pictures, "seconds": round(lasts, 2), "dropped": viewer.dropped}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:6], *map(float, sys.argv[6:])))
