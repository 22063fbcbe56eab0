"""Watches one camera: a session that is renewed, a connection that is made anew, and the newest pictures."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Self, cast

import av
import numpy as np
import numpy.typing as npt

from vidhub.client.connection import Connection
from vidhub.client.frame import Frame
from vidhub.client.hub import GOODBYE_S, Hub, Session
from vidhub.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    VidhubError,
)

# Without a picture for so long a connection is made anew; for the first picture, the viewer gives up.
STALL_S = 10.0
# Between attempts, doubled up to the longest.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
_SHORTEST_RENEWAL_S = 0.5

_PASSING = (Unavailable, DeadlineExceeded, ResourceExhausted)
_OVER = (FailedPrecondition, NotFound, Unauthenticated)
# Ends of sessions that are nobody's decision: a hub on the way, or the link to it, was away.
_REOPENED = frozenset({"SESSION_LOST", "HUB_DRAINING", "HUB_STOPPED", "LINK_DOWN", "LINK_LEASE_EXPIRED"})


class Viewer:
    """A camera's pictures, for as long as the session is open.

    A camera's outage, a lost connection and a hub that restarts are waited for, and pictures go on by themselves. The
    session is renewed before its time is over. When it has ended for good, `frames` raises with the reason. It may be
    opened again once it was closed: a new view.
    """

    def __init__(self, hub: Hub, camera: str, purpose: str, *, waiting: int = 8) -> None:
        """camera: its id. purpose: as "patrol" or "investigation:CASE-1". waiting: pictures kept for a program that is
        slower than the camera, of which the oldest then goes; each takes 1.5 octets a pixel."""
        self._hub = hub
        self._camera = camera
        self._purpose = purpose
        self._waiting: deque[tuple[av.VideoFrame, float]] = deque(maxlen=max(1, waiting))
        self._arrived = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._session: Session | None = None
        self._connection: Connection | None = None
        self._is_open = False
        # Where this connection's clock stands on the viewer's; None before its first picture.
        self._origin: float | None = None
        self._last: tuple[float, float] | None = None
        self._lost = 0
        self.pictures = 0
        self.dropped = 0
        self.connections = 0

    @property
    def session(self) -> Session:
        """The session, for `Hub.snapshot`."""
        if self._session is None:
            raise _not_open()
        return self._session

    async def __aenter__(self) -> Self:
        """Opens the session and the connection. Raises what the hub says: NO_GRANT, CAMERA_UNREACHABLE, …; and
        FailedPrecondition VIEWER_OPEN."""
        if self._is_open:
            raise FailedPrecondition("VIEWER_OPEN", "this viewer is open already: make a second Viewer")
        self._is_open = True
        try:
            self._begin()
            self._session = await self._open_session()
            try:
                self._connection = await Connection.open(self._hub, self._session)
            except BaseException:
                await self._close_session()
                raise
        except BaseException:
            self._is_open = False
            raise
        self.connections = 1
        watching = asyncio.create_task(self._watch(self._connection))
        watching.add_done_callback(lambda _: self._arrived.set())
        self._tasks = [watching, asyncio.create_task(self._keep())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            if self._connection is not None:
                await self._connection.close()
        finally:
            await self._close_session()
            self._is_open = False

    async def frames(self) -> AsyncGenerator[Frame]:
        """The pictures, as they come; one program reads them. What waits longer than there is room goes (`dropped`).
        They end when the viewer is closed.

        Raises Unavailable NO_PICTURE when none comes at all; else, when the session has ended, FailedPrecondition with
        the reason: GRANT_REVOKED, SESSION_EXPIRED, USER_SUSPENDED, …; VIEWER_NOT_OPEN where no `async with` is around.
        """
        if not self._tasks:
            raise _not_open()
        watching = self._tasks[0]
        while True:
            while self._waiting:
                picture, moment = self._waiting.popleft()
                yield Frame(await asyncio.to_thread(_image, picture), moment)
            if watching.done():
                # Cancelled: whoever opened the viewer closed it. That is not to cancel whoever reads.
                if not watching.cancelled():
                    watching.result()
                return
            self._arrived.clear()
            if not self._waiting:
                await self._arrived.wait()

    async def lost_packets(self) -> int:
        """RTP packets that never came, over all connections."""
        return self._lost + (await self._connection.lost_packets() if self._connection is not None else 0)

    # Inside.

    def _begin(self) -> None:
        """As new: a view before this one leaves no picture, no time and no count."""
        self._waiting.clear()
        self._arrived.clear()
        self._connection = self._origin = self._last = None
        self._lost = self.pictures = self.dropped = self.connections = 0

    async def _watch(self, connection: Connection) -> None:
        """Until the session has ended: pictures, from one connection after the other."""
        while True:
            await connection.follow(self._take, stall_s=STALL_S)
            self._lost += await connection.lost_packets()
            self._connection = None
            await connection.close()
            connection = self._connection = await self._again()
            self.connections += 1
            self._origin = None

    async def _again(self) -> Connection:
        """A new connection of the same session, tried for as long as that is open."""
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            pause = min(max(FIRST_PAUSE_S, pause * 2), LONGEST_PAUSE_S)
            try:
                self._session = await self._hub.renew_session(self.session)
                if self.pictures:
                    return await Connection.open(self._hub, self._session)
            except _PASSING:
                continue
            except _OVER as error:
                await self._reopen(error)
                continue
            raise Unavailable("NO_PICTURE", f"no picture came in {STALL_S:.0f} s: check the way to the WebRTC port")

    async def _reopen(self, error: VidhubError) -> None:
        """Raises why the session has ended. One that an outage cost is opened again, for the same purpose."""
        try:
            reason = await self._hub.end_reason(self.session)
            if reason in _REOPENED:
                self._session = await self._open_session()
                return
        except _PASSING:
            return
        if not reason:
            raise error
        raise FailedPrecondition(reason, f"the session has ended ({reason}): open a new one") from error

    async def _keep(self) -> None:
        """Renews the session at half of its time, again and again."""
        while True:
            await asyncio.sleep(max(_SHORTEST_RENEWAL_S, self.session.life_s / 2))
            # Whatever is wrong, the connection's end will show it.
            with contextlib.suppress(VidhubError):
                self._session = await self._hub.renew_session(self.session)

    def _take(self, picture: av.VideoFrame) -> None:
        now = time.monotonic()
        own = float((picture.pts or 0) * (picture.time_base or 0))
        if self._origin is None:
            last, at = self._last or (0.0, now)
            self._origin = last + (now - at) - own
        moment = self._origin + own
        self._last = (moment, now)
        self.pictures += 1
        self.dropped += len(self._waiting) == self._waiting.maxlen
        self._waiting.append((picture, moment))
        self._arrived.set()

    async def _open_session(self) -> Session:
        """One that the hub opens while this is cancelled is closed again: it would count until its time is over."""
        opening = asyncio.create_task(self._hub.open_session(self._camera, self._purpose))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            with contextlib.suppress(VidhubError, TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._hub.close_session(await opening)
            raise

    async def _close_session(self) -> None:
        if self._session is not None:
            # It may have ended, and the hub may be away: then its time runs out.
            with contextlib.suppress(VidhubError, TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._hub.close_session(self._session)


def _not_open() -> FailedPrecondition:
    return FailedPrecondition("VIEWER_NOT_OPEN", "open the viewer first: async with Viewer(…) as viewer")


def _image(picture: av.VideoFrame) -> npt.NDArray[np.uint8]:
    return cast("npt.NDArray[np.uint8]", picture.to_ndarray(format="bgr24"))
