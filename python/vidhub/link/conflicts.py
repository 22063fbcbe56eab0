"""What is not taken of the cameras that links bring: told to the hub that offers them, and asked for when it may be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection

from vidhub.errors import VidhubError
from vidhub.link import digest
from vidhub.link.live import Link
from vidhub.store import Store, remote_cameras
from vidhub.store.remote_cameras import Conflict
from vidhub.v1 import link_service_pb2 as pb

# Told at once of what is not taken; the number of all stands beside.
MOST_TOLD_CONFLICTS = 1_000
_NOTICE_PAUSE_S = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Telling:
    """One link's place."""

    link: Link
    notice: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Conflicts:
    """On the event loop alone."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tellings: dict[str, _Telling] = {}
        self._counts: dict[str, int] = {}

    def count(self, hub_id: str) -> int:
        """Cameras of the hub that are not taken, as of its last link; those that came by another way are."""
        return self._counts.get(hub_id, 0)

    def forget(self, hub_id: str) -> None:
        """The link has been ended for good."""
        self._counts.pop(hub_id, None)

    def opened(self, link: Link) -> None:
        telling = self._tellings[link.hub.id] = _Telling(link)
        telling.task = asyncio.create_task(self._tell(telling))
        telling.notice.set()

    def closed(self, hub_id: str) -> None:
        telling = self._tellings.pop(hub_id, None)
        if telling is not None and telling.task is not None:
            telling.task.cancel()

    def moved(self, hub_ids: Iterable[str]) -> None:
        """Other cameras of these hubs are refused than before."""
        for hub_id in hub_ids:
            if (telling := self._tellings.get(hub_id)) is not None:
                telling.notice.set()

    def ask(self, freed: Sequence[Conflict]) -> None:
        """Asks links for cameras that were refused and may be taken now; one that is down is asked when it is up."""
        by_hub: dict[str, list[str]] = {}
        for one in freed:
            if one.is_claim:
                by_hub.setdefault(one.hub_id, []).append(one.camera_id)
        for hub_id, ids in by_hub.items():
            telling = self._tellings.get(hub_id)
            if telling is None:
                continue
            for start in range(0, len(ids), digest.RANGES_A_MESSAGE):
                ranges = [
                    pb.RangeDigest(after=f"{int(one) - 1:020d}", last=one, sha256=bytes(32))
                    for one in ids[start : start + digest.RANGES_A_MESSAGE]
                ]
                telling.link.send(catalogue_difference=pb.CatalogueDifference(ranges=ranges))

    # Inside.

    async def _tell(self, telling: _Telling) -> None:
        """Tells the other side, at most once a second; asks once for what may be taken by now."""
        peer = telling.link.hub.id

        def work(conn: Connection) -> tuple[list[Conflict], int, list[Conflict]]:
            found = remote_cameras.conflicts(conn, peer, MOST_TOLD_CONFLICTS)
            ids = [one.camera_id for one in found]
            held, given = remote_cameras.holders(conn, ids), remote_cameras.assignments(conn, ids)
            free = [one for one in found if one.camera_id not in held or given.get(one.camera_id) == peer]
            return found, remote_cameras.dispute_count(conn, peer), free

        is_first = True
        while True:
            await telling.notice.wait()
            telling.notice.clear()
            try:
                found, total, free = await self._store.read(work)
                self._counts[peer] = total
                conflicts = [
                    pb.CameraConflicts.Conflict(
                        camera_id=one.camera_id, reason=one.reason, holder_hub_id=one.holder_hub_id
                    )
                    for one in found
                ]
                await telling.link.send_bulk(camera_conflicts=pb.CameraConflicts(conflicts=conflicts, total=total))
            except VidhubError as error:
                log.warning("conflicts could not be told", hub=peer, reason=error.reason)
                return
            if is_first:
                self.ask(free)
                is_first = False
            await asyncio.sleep(_NOTICE_PAUSE_S)
