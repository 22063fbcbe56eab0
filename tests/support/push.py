"""Units that push: the session that lets them, and encoders that are not ours."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.mediastreams import AudioStreamTrack
from support.hub import PATIENCE_S, UnitIdentity, camera_message
from support.site import Site
from support.whep import Refused, post_offer

from vidhub.v1 import (
    camera_pb2,
    camera_service_pb2,
    camera_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)


async def register_pushed(site: Site, number: int) -> str:
    """A camera without an address to pull from; its id."""
    message = camera_message(number)
    message.streams[0].CopyFrom(camera_pb2.CameraStream(profile=camera_pb2.STREAM_PROFILE_MAIN))
    async with site.unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        await stub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=message), timeout=PATIENCE_S)
    return message.id


async def open_to_push(
    unit: UnitIdentity, camera_id: str, profile: camera_pb2.StreamProfile = camera_pb2.STREAM_PROFILE_UNSPECIFIED
) -> session_service_pb2.OpenSessionResponse:
    """The unit's session, opened as a program of its own would."""
    request = session_service_pb2.OpenSessionRequest(
        camera_id=camera_id, purpose=session_service_pb2.Purpose(kind="publish"), profile=profile
    )
    async with unit.channel() as channel:
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        return await stub.OpenSession(request, timeout=PATIENCE_S)


def with_login(opened: session_service_pb2.OpenSessionResponse) -> str:
    """The RTSP address without ticket, with user and password."""
    address = opened.rtsp_url.partition("?")[0].removeprefix("rtsp://")
    return f"rtsp://{opened.rtsp_user}:{opened.rtsp_password}@{address}"


def make_movie(path: Path, *, codec: str = "libx264", seconds: int = 4, fps: int = 15) -> Path:
    """Pictures and sound, a keyframe a second, no B-frames."""
    key = f"keyint={fps}:min-keyint={fps}:scenecut=0:bframes=0"
    parameters = ["-x265-params", f"{key}:log-level=none"] if codec == "libx265" else ["-x264-params", key]
    subprocess.run(
        [
            *("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size=320x180:rate={fps}"),
            *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", str(seconds)),
            *("-c:v", codec, "-pix_fmt", "yuv420p", "-preset", "ultrafast", *parameters),
            *("-c:a", "aac", "-b:a", "64k", str(path)),
        ],
        check=True,
        timeout=120,
    )
    return path


@contextlib.asynccontextmanager
async def running(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that ends with the test."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def ffmpeg(
    url: str, movie: Path, *, transport: str = "tcp", options: tuple[str, ...] = ("-c", "copy")
) -> contextlib.AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """ffmpeg pushing a file in a loop, as fast as it plays."""
    return running(
        *("ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", str(movie), *options),
        *("-f", "rtsp", "-rtsp_transport", transport, url),
    )


def rtspclientsink(
    opened: session_service_pb2.OpenSessionResponse, protocols: str
) -> contextlib.AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """GStreamer pushing what it makes up, with the session's login. protocols: "tcp", "udp"."""
    return running(
        *("gst-launch-1.0", "-q", "videotestsrc", "is-live=true", "!"),
        *("video/x-raw,width=320,height=180,framerate=15/1", "!"),
        *("x264enc", "tune=zerolatency", "key-int-max=15", "speed-preset=ultrafast", "!", "h264parse", "!"),
        *("rtspclientsink", f"location={opened.rtsp_url.partition('?')[0]}", f"protocols={protocols}"),
        *(f"user-id={opened.rtsp_user}", f"user-pw={opened.rtsp_password}"),
    )


class Clock(VideoStreamTrack):
    """Pictures of 320 x 180 that change, 30 a second."""

    async def recv(self) -> Any:
        frame = await super().recv()
        shade = frame.pts // 3000 % 200
        small = frame.reformat(width=320, height=180)
        for plane in small.planes:
            plane.update(bytes([shade]) * plane.buffer_size)
        small.pts, small.time_base = frame.pts, frame.time_base
        return small


@contextlib.asynccontextmanager
async def whip_publisher(
    url: str, ticket: str, *, sound: bool = False, through: int = 0
) -> AsyncIterator[RTCPeerConnection]:
    """aiortc pushing pictures by WHIP; `.location` is its resource. Raises Refused when the offer is.

    through: a UDP port of this machine that leads to the hub's.
    """
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        peer.addTrack(Clock())
        if sound:
            peer.addTrack(AudioStreamTrack())
        await peer.setLocalDescription(await peer.createOffer())
        answer = await post_offer(url, peer.localDescription.sdp, ticket)
        if answer.status_code != 201:
            raise Refused(answer.status_code, answer.json().get("reason", ""), answer.headers.get("Retry-After", ""))
        told = answer.text
        if through:
            candidate = re.compile(r"^(a=candidate:\S+ \d+ udp \d+ \S+) \d+", re.MULTILINE | re.IGNORECASE)
            told = candidate.sub(rf"\g<1> {through}", told)
        await peer.setRemoteDescription(RTCSessionDescription(told, "answer"))
        peer.location = answer.headers["Location"]  # type: ignore[attr-defined]
        yield peer
    finally:
        await peer.close()
