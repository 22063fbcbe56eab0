"""One WebRTC connection to a hub (WHEP, aiortc), from the offer to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

import av
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpTransceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from vidhub.client.assembly import take_large_pictures
from vidhub.client.hub import GOODBYE_S, Hub, Session
from vidhub.errors import VidhubError


class Connection:
    """Pictures as they come, decoded."""

    def __init__(self, hub: Hub, session: Session) -> None:
        self._hub = hub
        self._session = session
        self._resource = ""
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
        self._over = asyncio.Event()
        self._peer.on("track", self._tracks.put_nowait)
        self._peer.on("connectionstatechange", self._changed)
        self._video: RTCRtpTransceiver = self._peer.addTransceiver("video", direction="recvonly")
        take_large_pictures(self._video.receiver)

    @classmethod
    async def open(cls, hub: Hub, session: Session) -> Connection:
        """Raises what the hub answers: Unavailable CAMERA_…, Unauthenticated SESSION_UNKNOWN, …"""
        connection = cls(hub, session)
        try:
            peer = connection._peer
            await peer.setLocalDescription(await peer.createOffer())
            answer, connection._resource = await hub.whep(session, peer.localDescription.sdp)
            await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        except BaseException:
            await connection.close()
            raise
        return connection

    async def follow(self, take: Callable[[av.VideoFrame], None], *, stall_s: float) -> None:
        """Gives each picture to `take`; returns when the connection is over, or no picture has come for `stall_s`."""
        pictures = asyncio.create_task(self._receive(take, stall_s))
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait({pictures, over}, return_when=asyncio.FIRST_COMPLETED)
            if pictures.done():
                pictures.result()
        finally:
            pictures.cancel()
            over.cancel()
            await asyncio.gather(pictures, over, return_exceptions=True)

    async def lost_packets(self) -> int:
        """RTP packets that never came, as the receiver counts them."""
        reports = (await self._video.receiver.getStats()).values()
        lost: int = sum(report.packetsLost for report in reports if report.type == "inbound-rtp")
        return max(0, lost)

    async def close(self) -> None:
        try:
            if self._resource:
                # The hub may be away, or have ended it itself.
                with contextlib.suppress(VidhubError, TimeoutError):
                    async with asyncio.timeout(GOODBYE_S):
                        await self._hub.leave(self._session, self._resource)
        finally:
            await self._peer.close()

    async def _receive(self, take: Callable[[av.VideoFrame], None], stall_s: float) -> None:
        with contextlib.suppress(MediaStreamError, TimeoutError):
            track = await self._tracks.get()
            while True:
                async with asyncio.timeout(stall_s):
                    frame = await track.recv()
                take(cast("av.VideoFrame", frame))

    def _changed(self) -> None:
        if self._peer.connectionState in {"closed", "failed"}:
            self._over.set()
