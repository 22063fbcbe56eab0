"""A WHEP viewer on aiortc: what a browser without a screen sees, and when."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

PATIENCE_S = 60.0


@dataclass
class Refused(Exception):
    """The hub gave no answer to the offer."""

    status: int
    reason: str
    retry_after: str


@dataclass
class WhepViewer:
    location: str
    ticket: str
    peer: RTCPeerConnection
    times: list[float] = field(default_factory=list)
    media_times: list[float] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    first_s: float = 0.0

    def __post_init__(self) -> None:
        self.ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._arrived = asyncio.Event()

    @property
    def pictures(self) -> int:
        return len(self.times)

    async def until(self, reached: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        async with asyncio.timeout(within_s):
            while not reached():
                self._arrived.clear()
                assert not self.ended.done(), "the hub has ended the picture"
                await self._arrived.wait()

    async def end(self, within_s: float = PATIENCE_S) -> float:
        """When the hub closed the connection."""
        async with asyncio.timeout(within_s):
            return await asyncio.shield(self.ended)

    def _over(self) -> None:
        if not self.ended.done():
            self.ended.set_result(time.monotonic())
        self._arrived.set()

    async def follow(self, tracks: asyncio.Queue[MediaStreamTrack], began: float) -> None:
        track = await tracks.get()
        with contextlib.suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                now = time.monotonic()
                if not self.times:
                    self.first_s = now - began
                self.size = (frame.width, frame.height)
                self.times.append(now)
                self.media_times.append(frame.pts / 90_000)
                self._arrived.set()
        self._over()


async def offer_sdp() -> str:
    """A valid offer of nobody in particular."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        peer.addTransceiver("video", direction="recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        return peer.localDescription.sdp
    finally:
        await peer.close()


async def post_offer(
    url: str, offer: str, ticket: str = "", *, content_type: str = "application/sdp", local: str | None = None
) -> httpx.Response:
    """local: the address to come from."""
    headers = {"Content-Type": content_type}
    if ticket:
        headers["Authorization"] = f"Bearer {ticket}"
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(local_address=local), timeout=PATIENCE_S) as client:
        return await client.post(url, content=offer.encode(), headers=headers)


@contextlib.asynccontextmanager
async def whep_viewer(url: str, ticket: str) -> AsyncIterator[WhepViewer]:
    """Raises Refused when the offer is."""
    began = time.monotonic()
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    following: asyncio.Task[None] | None = None
    try:
        tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
        peer.on("track", tracks.put_nowait)
        peer.addTransceiver("video", direction="recvonly")
        await peer.setLocalDescription(await peer.createOffer())
        answer = await post_offer(url, peer.localDescription.sdp, ticket)
        if answer.status_code != 201:
            raise Refused(answer.status_code, answer.json().get("reason", ""), answer.headers.get("Retry-After", ""))
        viewer = WhepViewer(answer.headers["Location"], ticket, peer)

        def changed() -> None:
            if peer.connectionState in ("closed", "failed"):
                viewer._over()

        peer.on("connectionstatechange", changed)
        await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        following = asyncio.create_task(viewer.follow(tracks, began))
        yield viewer
    finally:
        await peer.close()
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
