"""The records that a linked hub may have, read from the store and put into their form for the link."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence

from sqlalchemy import Connection

from vidhub.access.shares import Shares
from vidhub.link import shared
from vidhub.link.digest import Entry
from vidhub.model import Camera, CameraState
from vidhub.store import Store, cameras
from vidhub.v1 import camera_pb2

# Read at once: about ten milliseconds of a reader's thread.
_STEP = 256


class Records:
    """hub_id: this hub, whose own cameras bear it. unit_name: what people call a camera's unit."""

    def __init__(self, store: Store, shares: Shares, hub_id: str, unit_name: Callable[[Camera], str]) -> None:
        self._store = store
        self._shares = shares
        self._hub_id = hub_id
        self._unit_name = unit_name

    async def of(self, peer: str, ids: Collection[str]) -> AsyncIterator[camera_pb2.Camera]:
        """In the order of `ids`; those that are no more are left out. Who may know of them is the caller's to see."""
        wanted = list(ids)
        for start in range(0, len(wanted), _STEP):
            for record in await self._offers(peer, wanted[start : start + _STEP]):
                yield record

    async def with_fields(self, ids: Sequence[str], fields: frozenset[str]) -> list[camera_pb2.Camera]:
        """As they would go with these field groups."""
        return await self._store.read(
            lambda conn: [
                shared.offer(camera, fields, self._hub_id, self._unit_name(camera))
                for camera in cameras.list_full(conn, ids)
            ]
        )

    async def digests(self, peer: str) -> list[Entry]:
        """Of all that is shared with the hub, in order of id."""
        found: list[Entry] = []
        async for ids in self._shares.visible_ids(peer):
            for start in range(0, len(ids), _STEP):
                found += await self._digests(peer, ids[start : start + _STEP])
        return found

    async def _offers(self, peer: str, ids: Sequence[str]) -> list[camera_pb2.Camera]:
        return await self._store.read(lambda conn: self._read(conn, peer, ids))

    async def _digests(self, peer: str, ids: Sequence[str]) -> list[Entry]:
        return await self._store.read(
            lambda conn: [(record.id, shared.digest(record)) for record in self._read(conn, peer, ids)]
        )

    def _read(self, conn: Connection, peer: str, ids: Sequence[str]) -> list[camera_pb2.Camera]:
        return [
            shared.offer(camera, self._shares.fields_for(peer, camera), self._hub_id, self._unit_name(camera))
            for camera in cameras.list_full(conn, ids)
            if camera.state is not CameraState.RETIRED
        ]
