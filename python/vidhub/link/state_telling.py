"""States of cameras as one linked hub is told of them: the newest of each, many in a message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable

from vidhub.access.shares import Shares
from vidhub.api import convert
from vidhub.catalogue.remote import RemoteCameras
from vidhub.core import Core
from vidhub.link.live import BULK_BYTES, Link
from vidhub.model import Camera, CameraState
from vidhub.v1 import link_service_pb2 as pb

MOST_STATES = 2_000
# Between two looks at the log: what changes meanwhile goes in one message.
PAUSE_S = 0.05
_STEP = 250
_FEW = 1_000


class StateTeller:
    """Everything but `run` returns at once. What waits is at most one entry a camera."""

    def __init__(
        self, link: Link, *, shares: Shares, core: Core, remote: RemoteCameras, newest: Callable[[], int]
    ) -> None:
        """newest: number of the newest state there is, 0 when there was none."""
        self._link = link
        self._shares = shares
        self._core = core
        self._remote = remote
        self._newest = newest
        self._peer = link.hub.id
        self._number = 0
        self._due: dict[str, None] = {}
        self._moved = asyncio.Event()

    def wake(self) -> None:
        self._moved.set()

    def due(self, ids: Iterable[str]) -> None:
        """These are to be told of, whether they have changed or not."""
        self._due.update(dict.fromkeys(ids))
        self._moved.set()

    async def run(self, told: Callable[[], Collection[str]]) -> None:
        """Until the link ends (Unavailable LINK_DOWN). told: cameras that the other side knows of."""
        self._number = self._newest()
        self.due(told())
        while True:
            await self._moved.wait()
            self._moved.clear()
            self._look(told())
            due, self._due = list(self._due), {}
            await self._tell(due, told)
            await asyncio.sleep(PAUSE_S)

    def _look(self, told: Collection[str]) -> None:
        """Notes whose state has changed."""
        newest = self._newest()
        while self._number < newest:
            changes, complete = self._core.states_since(self._number, MOST_STATES)
            if not complete:
                self._due.update(dict.fromkeys(told))
                self._number = newest
                return
            if not changes:
                return
            self._due.update((change.id, None) for change in changes if change.id in told)
            self._number = changes[-1].number

    async def _tell(self, due: list[str], told: Callable[[], Collection[str]]) -> None:
        message, size = pb.CameraStates(), 0
        async for camera in self._cameras(due, len(told())):
            if camera.id not in told() or camera.state is CameraState.QUARANTINED:  # that goes with the record
                continue
            state = self._state(camera)
            octets = state.ByteSize() + 3  # and what stands before it
            if size + octets > BULK_BYTES or len(message.states) == MOST_STATES:
                await self._link.send_bulk(camera_states=message)
                message, size = pb.CameraStates(), 0
            message.states.append(state)
            size += octets
        if message.states:
            await self._link.send_bulk(camera_states=message)

    async def _cameras(self, due: list[str], known: int) -> AsyncIterator[Camera]:
        """Those that are due and that the hub may know of. Most of all come faster page by page than one by one."""
        if len(due) > _FEW and len(due) > known // 3:
            wanted = set(due)
            async for page in self._shares.visible(self._peer):
                for camera in page:
                    if camera.id in wanted:
                        yield camera
            return
        for place, camera_id in enumerate(due):
            if place % _STEP == _STEP - 1:
                await asyncio.sleep(0)
            found = self._shares.camera(self._peer, camera_id)
            if found is not None:
                yield found

    def _state(self, camera: Camera) -> pb.CameraStates.State:
        return pb.CameraStates.State(
            camera_id=camera.id,
            state=int(camera.state),  # type: ignore[arg-type]
            reason=camera.state_reason[:256],
            time=convert.to_time(camera.state_time),
            stale=self._remote.is_stale(camera.id),
        )
