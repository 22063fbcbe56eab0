"""Writing cameras: what happens to a chunk of records inside one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from vidhub.audit import AuditLog
from vidhub.catalogue import ids, records, rules
from vidhub.errors import Violation
from vidhub.model import AuditRecord, Camera, CameraState, Principal, RejectedCamera, Revision
from vidhub.store import Secrets, cameras, changes, meta

TAKEN = Violation("id", "CAMERA_ID_TAKEN", "the id is taken: correct it, or leave it empty for a new one")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record that keeps the rules, with its place in the batch."""

    index: int
    camera: Camera


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a chunk came to. changed: as stored, with passwords, for the core."""

    ids: dict[int, str]
    rejected: tuple[RejectedCamera, ...]
    changed: tuple[Camera, ...]
    revision: Revision


class Sieve:
    """Parts the records of a batch that keep the rules, as the unit's own, from those that do not."""

    def __init__(self, unit_id: str, knows_region: Callable[[str], bool]) -> None:
        self._unit_id = unit_id
        self._knows_region = knows_region
        self._seen: set[str] = set()
        self._candidates: list[Candidate] = []
        self.rejected: list[RejectedCamera] = []

    def put(self, index: int, given: Camera) -> None:
        camera = rules.tidy(given)
        found = rules.violations(camera, self._knows_region)
        if camera.unit_id not in ("", self._unit_id):
            found.append(Violation("unit_id", "UNIT_NOT_YOURS", "register cameras of your own unit, or leave it empty"))
        if camera.id and camera.id in self._seen:
            found.append(
                Violation("id", "ID_DUPLICATE_IN_BATCH", "the batch has this id before: send each camera once")
            )
        self._seen.add(camera.id)
        if found:
            self.rejected.append(RejectedCamera(index, camera.id, tuple(found)))
        else:
            self._candidates.append(Candidate(index, replace(camera, unit_id=self._unit_id)))

    def candidates(self) -> list[Candidate]:
        """Ids that the batch names go first, so that none of them is given to another record of the same batch."""
        return sorted(self._candidates, key=lambda one: not one.camera.id)


def judge(conn: Connection, chunk: Sequence[Candidate], secrets: Secrets) -> tuple[list[Candidate], Outcome]:
    """What of a chunk is to be written, and what is not: equal to what stands, or another unit's."""
    known = {
        camera.id: camera
        for camera in cameras.list_full(conn, (one.camera.id for one in chunk if one.camera.id), secrets)
    }
    settled: dict[int, str] = {}
    rejected: list[RejectedCamera] = []
    todo: list[Candidate] = []
    for one in chunk:
        old = known.get(one.camera.id)
        if old is not None and (old.unit_id != one.camera.unit_id or old.home_hub_id):
            rejected.append(RejectedCamera(one.index, one.camera.id, (TAKEN,)))
            continue
        settled[one.index] = one.camera.id
        new = records.succeed(old, one.camera)
        if old is None or not records.same(old, new):
            todo.append(Candidate(one.index, new))
    return todo, Outcome(settled, tuple(rejected), (), meta.revision(conn))


def write(
    conn: Connection,
    principal: Principal,
    chunk: Sequence[Candidate],
    *,
    secrets: Secrets,
    audit: AuditLog,
    now: datetime,
    action: str = "camera.register",
) -> Outcome:
    """Registers a chunk: rows, outbox and one entry in the register of use; nothing at all when nothing changed."""
    todo, outcome = judge(conn, chunk, secrets)
    if not todo:
        return outcome
    settled = dict(outcome.ids)
    number = meta.next_revision(conn)
    revision = Revision(meta.epoch(conn), number)
    stored = []
    reserved = {one.camera.id for one in todo}
    for one in todo:
        camera = one.camera
        if not camera.id:
            camera = replace(camera, id=ids.assign(conn, ids.prefix(camera.region_code, camera.industry), reserved))
            reserved.add(camera.id)
            settled[one.index] = camera.id
        stored.append(replace(camera, revision=revision))
    cameras.upsert_many(conn, stored, secrets, revision=number, now=now)
    changes.append(conn, [(number, "upserted", camera.id) for camera in stored])
    audit.append(conn, [_entry(principal, action, stored, outcome, number)])
    return Outcome(settled, outcome.rejected, tuple(stored), revision)


def retire(
    conn: Connection, principal: Principal, camera_id: str, reason: str, *, audit: AuditLog, now: datetime
) -> Revision:
    """The camera's row stays, so that its id is never given again and its past can be read."""
    number = meta.next_revision(conn)
    cameras.set_state(conn, camera_id, CameraState.RETIRED, reason, revision=number, now=now)
    changes.append(conn, [(number, "removed", camera_id)])
    detail = json.dumps({"reason": reason, "revision": number}, ensure_ascii=False)
    audit.append(conn, [AuditRecord.of(principal, "camera.retire", f"camera/{camera_id}", detail_json=detail)])
    return Revision(meta.epoch(conn), number)


def _entry(principal: Principal, action: str, stored: Sequence[Camera], outcome: Outcome, number: int) -> AuditRecord:
    if len(stored) == 1:
        detail: dict[str, object] = {"revision": number}
        resource = f"camera/{stored[0].id}"
    else:
        digest = hashlib.sha256("\n".join(camera.id for camera in stored).encode()).hexdigest()
        detail = {"revision": number, "count": len(stored), "ids_sha256": digest}
        resource = "camera/*"
    if outcome.rejected:
        detail["rejected"] = len(outcome.rejected)
    return AuditRecord.of(principal, action, resource, detail_json=json.dumps(detail))
