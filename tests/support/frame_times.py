"""A process that watches one camera three ways and tells when each picture came: `python -m support.frame_times
CAMERA RTSP WHEP TICKET`.

CAMERA is the camera's own address, RTSP and WHEP are the hub's. Prints one line when all three play, and the times,
as [monotonic seconds, media time in seconds], when standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from support.rtsp import RtpPacket, RtspClient
from support.whep import whep_viewer

ENOUGH = 20


async def main(camera: str, rtsp: str, whep: str, ticket: str) -> None:
    times: dict[str, list[tuple[float, float]]] = {"camera": [], "rtsp": [], "whep": []}

    def note(name: str) -> Any:
        def take(packet: RtpPacket) -> None:
            if packet.marker:
                times[name].append((packet.at, packet.timestamp / 90_000))

        return take

    async with (
        await RtspClient.connect(rtsp) as through_hub,
        await RtspClient.connect(camera) as direct,
        whep_viewer(whep, ticket) as viewer,
    ):
        through_hub.on_packet, direct.on_packet = note("rtsp"), note("camera")
        await through_hub.watch()
        await direct.watch()
        await through_hub.until(lambda: len(times["rtsp"]) >= ENOUGH)
        await direct.until(lambda: len(times["camera"]) >= ENOUGH)
        await viewer.until(lambda: viewer.pictures >= ENOUGH)
        print(json.dumps({"playing": True}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        times["whep"] = list(zip(viewer.times, viewer.media_times, strict=True))
    print(json.dumps(times), flush=True)


asyncio.run(main(*sys.argv[1:]))
