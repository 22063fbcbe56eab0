"""Cameras that linked hubs share with this one: what happens to a chunk of them inside one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Connection

from vidhub.audit import AuditLog
from vidhub.catalogue.remote import RemoteCameras
from vidhub.catalogue.watch import Watches
from vidhub.core import Core
from vidhub.errors import FailedPrecondition, NotFound
from vidhub.model import AuditRecord, Camera, Principal, PrincipalKind, Revision
from vidhub.store import Secrets, Store, cameras, changes, hubs, meta, remote_cameras
from vidhub.store.remote_cameras import Conflict, Holder

# Rows in one transaction: interactive writes get in between (`store/writer.py`).
CHUNK = 200


@dataclass(frozen=True, slots=True)
class Received:
    """A camera as a linked hub tells of it, and the digest of what it said."""

    camera: Camera
    digest: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one transaction takes.

    refused: what breaks a rule before the store is asked. ranges: (after, last) of ids that the chunk brings whole, the
    empty `last` is open. have: up to where the catalogue of the other hub is known with this; None leaves it.
    """

    cameras: Sequence[Received] = ()
    removed: Sequence[str] = ()
    refused: Sequence[Conflict] = ()
    ranges: Sequence[tuple[str, str]] = ()
    have: Revision | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a chunk came to. conflicts_moved: whether other cameras are refused than before. freed: offers of other
    links that were refused for the sake of a camera that has gone now. dropped: those of `removed` that break a rule of
    this hub's now. displaced: cameras of other hubs whose ids were given to the one that brings them now, with those
    hubs, and the revision at which they went."""

    number: int = 0
    upserted: tuple[Camera, ...] = ()
    removed: tuple[str, ...] = ()
    refused: tuple[Conflict, ...] = ()
    conflicts_moved: bool = False
    freed: tuple[Conflict, ...] = ()
    dropped: tuple[Conflict, ...] = ()
    displaced: tuple[Conflict, ...] = ()
    displaced_at: int = 0


class ReceivedCameras:
    """The one way for cameras of other hubs into the catalogue: store first, then core, index and watchers."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: Secrets,
        audit: AuditLog,
        core: Core,
        remote: RemoteCameras,
        watches: Watches,
        hub_id: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._audit = audit
        self._core = core
        self._remote = remote
        self._watches = watches
        self._hub_id = hub_id
        self._clock = clock

    async def take(self, peer: str, chunk: Chunk) -> Taken:
        """Makes a chunk durable and known. Raises NotFound HUB_NOT_LINKED when the link has been ended for good."""

        def work(conn: Connection) -> Taken:
            hub = hubs.get(conn, peer)
            if hub is None or not hub.joined:
                raise NotFound("HUB_NOT_LINKED", "this hub is not linked any more: invite it anew")
            return self._write(conn, peer, chunk)

        return await self._store.write(work, bulk=True, apply=lambda taken: self._apply(peer, taken))

    async def forget(self, peer: str) -> None:
        """What is there of the peer's catalogue may not be what it was at any revision: the next link compares."""
        await self._store.write(lambda conn: hubs.set_have(conn, peer, None), bulk=True)

    async def remove_all(self, peer: str) -> tuple[Conflict, ...]:
        """The link has been ended for good: its cameras go. Returns offers of others that this made possible."""
        freed: list[Conflict] = []
        while True:
            taken = await self._store.write(
                lambda conn: self._remove_some(conn, peer), bulk=True, apply=lambda taken: self._apply(peer, taken)
            )
            freed.extend(taken.freed)
            if not taken.removed:
                return tuple(freed)

    async def assign(self, principal: Principal, camera_id: str, hub_id: str, reason: str) -> Taken:
        """Gives an id to one hub, which two claim. From a linked hub the camera is taken over as soon as it brings it;
        until then whoever has it keeps it. To this hub: another's camera of that id goes now, and none comes again.

        Raises NotFound CAMERA_NOT_FOUND when nobody claims the id; FailedPrecondition CAMERA_IS_OURS when a camera of
        this hub has it, HUB_NOT_JOINED, CAMERA_NOT_CLAIMED when that hub does not claim it, CAMERA_NOT_DISPUTED when it
        is to be this hub's and one hub alone claims it.
        """

        def work(conn: Connection) -> Taken:
            holder = remote_cameras.holders(conn, [camera_id]).get(camera_id)
            _check_claim(conn, camera_id, hub_id, holder, is_own=hub_id == self._hub_id)
            remote_cameras.assign(conn, camera_id, hub_id, self._clock())
            detail = {"hub": hub_id, "from": "" if holder is None else holder.hub_id, "reason": reason}
            record = AuditRecord.of(
                principal, "catalogue.assign", f"camera/{camera_id}", detail_json=json.dumps(detail, ensure_ascii=False)
            )
            self._audit.append(conn, [record])
            if holder is None or hub_id != self._hub_id:
                return Taken()
            number, displaced = self._displace(conn, hub_id, {camera_id: (holder.hub_id, "CAMERA_ID_TAKEN")})
            return Taken(displaced=displaced, displaced_at=number)

        return await self._store.write(work, apply=lambda taken: self._apply(hub_id, taken))

    # Inside.

    def _write(self, conn: Connection, peer: str, chunk: Chunk) -> Taken:
        named = (one.camera.id for one in chunk.cameras)
        holders = remote_cameras.holders(conn, [*named, *chunk.removed, *(one.camera_id for one in chunk.refused)])
        given = remote_cameras.assignments(conn, [one.camera.id for one in chunk.cameras])
        wanted: list[Received] = []
        conflicts = list(chunk.refused)
        displaced: dict[str, tuple[str, str]] = {}
        for one in chunk.cameras:
            holder, owner = holders.get(one.camera.id), given.get(one.camera.id)
            if holder is not None and holder.hub_id and owner == peer != holder.hub_id:
                displaced[one.camera.id] = holder.hub_id, _why_held(holder, one.camera.home_hub_id)
                wanted.append(one)
            elif holder is not None and holder.hub_id != peer:
                reason = _why_held(holder, one.camera.home_hub_id)
                conflicts.append(Conflict(peer, one.camera.id, reason, holder.hub_id or self._hub_id))
            elif holder is None and owner == self._hub_id:
                conflicts.append(Conflict(peer, one.camera.id, "CAMERA_ID_TAKEN", self._hub_id))
            elif holder is None or holder.digest != one.digest:
                wanted.append(one)
        refused = {one.camera_id for one in conflicts}
        brought = {one.camera.id for one in chunk.cameras} - refused
        # One that breaks a rule goes even if it was taken before: that is not what the other hub says any more.
        leaving = {*chunk.removed, *refused}
        gone = {camera_id for camera_id in leaving if (held := holders.get(camera_id)) and held.hub_id == peer}
        settled = set(chunk.removed) | brought
        for after, last in chunk.ranges:
            gone.update(remote_cameras.between(conn, peer, after, last))
            settled |= remote_cameras.conflicts_between(conn, peer, after, last)
        gone -= brought
        moved = self._note_conflicts(conn, peer, conflicts, settled - refused)
        number, told = self._displace(conn, peer, displaced) if displaced else (0, ())
        taken = self._change(conn, peer, wanted, sorted(gone))
        if chunk.have is not None:
            hubs.set_have(conn, peer, chunk.have)
        return replace(
            taken,
            refused=tuple(conflicts),
            conflicts_moved=moved,
            dropped=tuple(one for one in conflicts if one.camera_id in gone),
            displaced=told,
            displaced_at=number,
        )

    def _displace(
        self, conn: Connection, to: str, holders: dict[str, tuple[str, str]]
    ) -> tuple[int, tuple[Conflict, ...]]:
        """Takes ids from the hubs that hold them; the revision, and what is refused from now on. holders: the hub, and
        why, by id."""
        number = meta.next_revision(conn)
        remote_cameras.remove(conn, list(holders))
        changes.append(conn, [(number, "removed", camera_id) for camera_id in holders])
        told = tuple(Conflict(hub_id, one, reason, to) for one, (hub_id, reason) in holders.items())
        for one in told:
            remote_cameras.put_conflicts(conn, [one], self._clock())
            detail = json.dumps({"hub": to, "from": one.hub_id, "revision": number})
            who = Principal(PrincipalKind.HUB, to)
            self._audit.append(
                conn, [AuditRecord.of(who, "catalogue.takeover", f"camera/{one.camera_id}", detail_json=detail)]
            )
        return number, told

    def _remove_some(self, conn: Connection, peer: str) -> Taken:
        remote_cameras.clear_conflicts(conn, peer)
        remote_cameras.clear_assignments(conn, peer)
        return self._change(conn, peer, (), remote_cameras.first(conn, peer, CHUNK))

    def _note_conflicts(self, conn: Connection, peer: str, found: Sequence[Conflict], settled: set[str]) -> bool:
        """Whether other cameras are refused than before, or for other reasons."""
        if not found and not remote_cameras.conflict_count(conn, peer):
            return False
        named = [*(one.camera_id for one in found), *settled]
        known = {one.camera_id: one for one in remote_cameras.conflicts_over(conn, named) if one.hub_id == peer}
        over = sorted(settled & set(known))
        remote_cameras.clear_conflicts(conn, peer, over)
        remote_cameras.put_conflicts(conn, found, self._clock())
        return bool(over) or any(known.get(one.camera_id) != one for one in found)

    def _change(self, conn: Connection, peer: str, wanted: Sequence[Received], gone: Sequence[str]) -> Taken:
        if not wanted and not gone:
            return Taken()
        number = meta.next_revision(conn)
        revision = Revision(meta.epoch(conn), number)
        stored = tuple([one.camera.at(revision) for one in wanted])
        cameras.upsert_many(conn, stored, self._secrets, revision=number, now=self._clock())
        remote_cameras.put(conn, peer, [(one.camera.id, one.digest, one.camera.unit_name) for one in wanted])
        remote_cameras.remove(conn, gone)
        changes.append(conn, [(number, "upserted", one.id) for one in stored])
        changes.append(conn, [(number, "removed", camera_id) for camera_id in gone])
        self._audit.append(conn, [_entry(peer, number, stored, gone)])
        freed = tuple(one for one in remote_cameras.conflicts_over(conn, gone) if one.hub_id != peer)
        return Taken(number, stored, tuple(gone), freed=freed)

    def _apply(self, peer: str, taken: Taken) -> None:
        if taken.displaced:
            # Views of the camera that was there end: the one that comes now is another's.
            ids = [one.camera_id for one in taken.displaced]
            for one in taken.displaced:
                # The same camera by another way: a supervisor has ended what went by this one.
                reason = "CAMERA_ID_TAKEN" if one.reason != remote_cameras.OTHER_WAY else "SESSION_TERMINATED"
                self._core.cut_cameras([one.camera_id], reason)
            self._remote.drop(ids)
            self._core.apply_cameras(taken.displaced_at, (), ids)
            self._watches.wake()
        for one in taken.dropped:
            # Who watches is told what the camera's hub is told; nobody has retired it.
            self._core.cut_cameras([one.camera_id], _end_reason(one.reason))
        if taken.number:
            self._remote.drop(taken.removed)
            self._remote.put(peer, taken.upserted)
            self._core.apply_cameras(taken.number, taken.upserted, taken.removed)
            self._watches.wake()


def _why_held(holder: Holder, home_hub_id: str) -> str:
    """Why a camera that this hub registered is not taken beside what is there."""
    return remote_cameras.OTHER_WAY if holder.hub_id and holder.home_hub_id == home_hub_id else "CAMERA_ID_TAKEN"


def _end_reason(rule: str) -> str:
    """Why views end of a camera that breaks the rule from now on: which field of a record is wrong is nothing to those
    who watch."""
    return rule if rule in ("REGION_NOT_OF_PEER", "PATH_CYCLE") else "CAMERA_RECORD_INVALID"


def _check_claim(conn: Connection, camera_id: str, hub_id: str, holder: Holder | None, *, is_own: bool) -> None:
    """That the id may be given to the hub. Raises as `ReceivedCameras.assign`."""
    offers = remote_cameras.conflicts_over(conn, [camera_id])
    claimants = {one.hub_id for one in offers if one.is_claim}
    if holder is None and not claimants:
        raise NotFound("CAMERA_NOT_FOUND", f"no hub claims a camera {camera_id} here")
    if holder is not None and not holder.hub_id:
        raise FailedPrecondition(
            "CAMERA_IS_OURS",
            f"{camera_id} is a camera of a unit of this hub, or was: register the other one under another id",
        )
    if is_own:
        # Else one word would take a camera away that nobody else says is theirs.
        if not claimants:
            raise FailedPrecondition(
                "CAMERA_NOT_DISPUTED",
                f"no other hub claims {camera_id} than the one that shares it: have it retired or shared no more there",
            )
        return
    hub = hubs.get(conn, hub_id)
    if hub is None or not hub.joined:
        raise FailedPrecondition("HUB_NOT_JOINED", f"{hub_id} is not linked: it has no cameras here")
    if hub_id not in claimants and (holder is None or holder.hub_id != hub_id):
        raise FailedPrecondition(
            "CAMERA_NOT_CLAIMED",
            f"{hub_id} has shared no camera {camera_id}: see `vidhub hub explain` for the hubs that have",
        )


def _entry(peer: str, number: int, stored: Sequence[Camera], gone: Sequence[str]) -> AuditRecord:
    ids = [*(camera.id for camera in stored), *gone]
    detail: dict[str, object] = {"revision": number, "count": len(stored), "removed": len(gone)}
    resource = "camera/*"
    if len(ids) == 1:
        resource = f"camera/{ids[0]}"
    else:
        detail["ids_sha256"] = hashlib.sha256("\n".join(ids).encode()).hexdigest()
    return AuditRecord.of(
        Principal(PrincipalKind.HUB, peer), "catalogue.receive", resource, detail_json=json.dumps(detail)
    )
