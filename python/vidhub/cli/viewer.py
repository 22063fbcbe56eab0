"""Watches a camera as an operator would, by WebRTC (aiortc): for `vidhub view`."""

from __future__ import annotations

import asyncio
import threading
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from vidhub.cli.operator import Operator
from vidhub.errors import InvalidArgument, Unavailable

# How long the first picture may take before the command gives up.
PATIENCE_S = 15.0


async def watch(
    hub: str,
    user: str,
    password: str,
    camera: str,
    kind: str,
    reference: str,
    *,
    seconds: float,
    save: Path | None,
    snapshot: Path | None,
) -> dict[str, Any]:
    """Logs in, opens a session for the purpose, watches for `seconds`, and tells what was received."""
    async with Operator(hub) as operator:
        await operator.login(user, password)
        session = await operator.open_session(camera, kind, reference)
        try:
            return await _watch(operator, session, seconds=seconds, save=save, snapshot=snapshot)
        finally:
            await operator.close_session(session["session"]["id"])
            await operator.logout()


async def _watch(
    operator: Operator, session: dict[str, Any], *, seconds: float, save: Path | None, snapshot: Path | None
) -> dict[str, Any]:
    started = time.monotonic()
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    recorder = _Recorder(save) if save is not None else None
    tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
    peer.on("track", tracks.put_nowait)
    transceiver = peer.addTransceiver("video", direction="recvonly")
    frames = width = height = 0
    first: float | None = None
    try:
        await peer.setLocalDescription(await peer.createOffer())
        answer = await operator.whep(session["whepUrl"], session["ticket"], peer.localDescription.sdp)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        track = await tracks.get()
        try:
            async with asyncio.timeout(PATIENCE_S) as patience:
                while first is None or time.monotonic() - started < first + seconds:
                    frame = cast("av.VideoFrame", await track.recv())
                    frames += 1
                    if first is None:
                        first = time.monotonic() - started
                        width, height = frame.width, frame.height
                        patience.reschedule(asyncio.get_running_loop().time() + seconds)
                        if snapshot is not None:
                            await asyncio.to_thread(_write_picture, frame, snapshot)
                    if recorder is not None:
                        await asyncio.to_thread(recorder.add, frame)
        except (TimeoutError, MediaStreamError) as cause:
            if first is None:
                raise Unavailable(
                    "NO_PICTURE", f"no picture came in {PATIENCE_S:.0f} s: check the WebRTC port"
                ) from cause
        lost = sum(
            getattr(report, "packetsLost", 0)
            for report in (await transceiver.receiver.getStats()).values()
            if report.type == "inbound-rtp"
        )
    finally:
        if recorder is not None:
            await asyncio.to_thread(recorder.close)
        await peer.close()
    return {
        "frames": frames,
        "first_frame_s": round(first or 0.0, 3),
        "width": width,
        "height": height,
        "lost_packets": max(0, lost),
    }


class _Recorder:
    """Encodes the pictures that came to a file, with their own times.

    A thread that was not waited for may still be in `add` when the watching is over: what it holds is not closed
    under it.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._container = av.open(str(path), "w")
        except (av.FFmpegError, OSError, ValueError) as cause:
            raise InvalidArgument(
                "FILE_NOT_WRITTEN", f"{path}: {cause}: choose a name that ends in .mp4 or .mkv"
            ) from cause
        self._stream: av.VideoStream | None = None
        self._start = 0
        self._lock = threading.Lock()
        self._is_closed = False

    def add(self, frame: av.VideoFrame) -> None:
        with self._lock:
            if not self._is_closed:
                self._add(frame)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._stream is not None:
                self._container.mux(self._stream.encode())
            self._container.close()

    def _add(self, frame: av.VideoFrame) -> None:
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
            self._stream.width, self._stream.height = frame.width, frame.height
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = frame.time_base or Fraction(1, 90_000)
            self._start = frame.pts or 0
        if (frame.width, frame.height) != (self._stream.width, self._stream.height):
            frame = frame.reformat(width=self._stream.width, height=self._stream.height)
        frame.pts = (frame.pts or 0) - self._start
        frame.pict_type = 0
        self._container.mux(self._stream.encode(frame))


def _write_picture(frame: av.VideoFrame, path: Path) -> None:
    if path.suffix.lower() not in {".jpg", ".jpeg", ".png"}:
        raise InvalidArgument("FILE_NOT_WRITTEN", f"{path}: choose a name that ends in .jpg or .png")
    try:
        frame.to_image().save(path)
    except OSError as cause:
        raise InvalidArgument("FILE_NOT_WRITTEN", f"{path}: {cause.strerror}") from cause
