"""The Python SDK: what an operator's program sees of a hub.

    async with Hub(url, "zhang", password) as hub, Viewer(hub, camera_id, "patrol") as viewer:
        async for frame in viewer.frames():
            ...  # frame.image: NumPy, (height, width, 3), uint8, BGR; frame.time: seconds

Errors are the classes of `vidhub.errors`: each has a stable `reason` and a sentence. See docs/guide/sdk.md.
"""

from vidhub.client.clip import ClipWriter
from vidhub.client.frame import Frame
from vidhub.client.hub import Camera, Hub, Session
from vidhub.client.viewer import Viewer

__all__ = ["Camera", "ClipWriter", "Frame", "Hub", "Session", "Viewer"]
