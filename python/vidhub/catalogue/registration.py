"""Writing cameras: what happens to a chunk of records inside one transaction."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from vidhub.audit import AuditLog
from vidhub.catalogue import ids, records, rules
from vidhub.core import PlainRecord, camera_of, record_rows
from vidhub.errors import Violation
from vidhub.model import (
    AuditRecord,
    Camera,
    CameraState,
    Principal,
    RegistrationChange,
    RegistrationKind,
    RejectedCamera,
    Revision,
)
from vidhub.store import Secrets, cameras, changes, industries, meta

TAKEN = Violation("id", "CAMERA_ID_TAKEN", "the id is taken: correct it, or leave it empty for a new one")
_DUPLICATE = Violation("id", "ID_DUPLICATE_IN_BATCH", "the batch has this id before: send each camera once")


class Candidate(NamedTuple):
    """A record that keeps the rules, with its place in the batch. A tuple: an import makes one for each record."""

    place: int
    camera: Camera | PlainRecord


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a chunk came to. changes: of accepted records that are not new.

    changed: as stored, with passwords, for the core; the plain records are new cameras, under these ids.
    """

    ids: dict[int, str]
    rejected: tuple[RejectedCamera, ...]
    revision: Revision
    changes: tuple[RegistrationChange, ...] = ()
    changed: tuple[Camera, ...] = ()
    plain: tuple[PlainRecord, ...] = ()
    plain_ids: tuple[str, ...] = ()


class Sieve:
    """Parts the records of a batch that keep the rules, as the unit's own, from those that do not."""

    def __init__(self, unit_id: str, knows_region: Callable[[str], bool]) -> None:
        self._unit_id = unit_id
        self._knows_region = knows_region
        self._known: dict[tuple[str, str], bool] = {}
        self._seen: set[str] = set()
        self._candidates: list[Candidate] = []
        self.rejected: list[RejectedCamera] = []

    def put(self, index: int, given: Camera | PlainRecord) -> Camera | PlainRecord | None:
        """The record as it was accepted; None for one that is not."""
        if isinstance(given, PlainRecord):
            if self._takes(given):
                self._candidates.append(Candidate(index, given))
                return given
            given = camera_of(given, self._unit_id)
        camera = rules.tidy(given)
        found = rules.violations(camera, self._knows_region)
        if camera.unit_id not in ("", self._unit_id):
            found.append(Violation("unit_id", "UNIT_NOT_YOURS", "register cameras of your own unit, or leave it empty"))
        if camera.id and camera.id in self._seen:
            found.append(_DUPLICATE)
        self._seen.add(camera.id)
        if found:
            self.rejected.append(RejectedCamera(index, camera.id, tuple(found)))
            return None
        camera = replace(camera, unit_id=self._unit_id)
        self._candidates.append(Candidate(index, camera))
        return camera

    def _takes(self, record: PlainRecord) -> bool:
        """Whether a record that keeps the rules by itself keeps those too that know of others."""
        camera_id, region, industry, *_ = record.brief
        if camera_id and camera_id in self._seen:
            return False
        is_known = self._known.get((region, industry))
        if is_known is None:
            is_known = self._known[region, industry] = self._knows_region(region) and industries.knows(industry)
        if is_known:
            self._seen.add(camera_id)
        return is_known

    def candidates(self) -> list[Candidate]:
        """Ids that the batch names go first, so that none of them is given to another record of the same batch."""
        return sorted(self._candidates, key=lambda one: not one.camera.id)


def judge(
    conn: Connection, unit_id: str, chunk: Sequence[Candidate], secrets: Secrets
) -> tuple[list[Candidate], Outcome]:
    """What of a chunk is to be written, and what is not: equal to what stands, or another unit's."""
    taken = cameras.known(conn, [one.camera.id for one in chunk if one.camera.id])
    standing = {camera.id: camera for camera in cameras.list_full(conn, taken, secrets)}
    settled: dict[int, str] = {}
    rejected: list[RejectedCamera] = []
    compared: list[RegistrationChange] = []
    todo: list[Candidate] = []
    for one in chunk:
        given, camera_id = one.camera, one.camera.id
        old = standing.get(camera_id)
        if old is None:
            settled[one.place] = camera_id
            todo.append(one if isinstance(given, PlainRecord) else Candidate(one.place, records.succeed(None, given)))
            continue
        if old.unit_id != unit_id or old.home_hub_id:
            rejected.append(RejectedCamera(one.place, camera_id, (TAKEN,)))
            continue
        settled[one.place] = camera_id
        new = records.succeed(old, camera_of(given, unit_id) if isinstance(given, PlainRecord) else given)
        if records.same(old, new):
            compared.append(RegistrationChange(one.place, RegistrationKind.UNCHANGED))
        else:
            compared.append(RegistrationChange(one.place, RegistrationKind.CHANGED, records.differences(old, new)))
            todo.append(Candidate(one.place, new))
    return todo, Outcome(settled, tuple(rejected), meta.revision(conn), tuple(compared))


def write(
    conn: Connection,
    principal: Principal,
    unit_id: str,
    chunk: Sequence[Candidate],
    *,
    secrets: Secrets,
    audit: AuditLog,
    now: datetime,
    action: str = "camera.register",
) -> Outcome:
    """Registers a chunk: rows, outbox and one entry in the register of use; nothing at all when nothing changed."""
    todo, outcome = judge(conn, unit_id, chunk, secrets)
    if not todo:
        return outcome
    settled = dict(outcome.ids)
    settled.update(_assigned(conn, todo))
    number = meta.next_revision(conn)
    revision = Revision(outcome.revision.epoch, number)
    plain: list[PlainRecord] = []
    plain_ids: list[str] = []
    whole: list[Camera] = []
    for one in todo:
        if isinstance(one.camera, PlainRecord):
            plain.append(one.camera)
            plain_ids.append(settled[one.place])
        else:
            whole.append(replace(one.camera, id=settled[one.place], revision=revision))
    if whole:
        cameras.upsert_many(conn, whole, secrets, revision=number, now=now)
    if plain:
        rows = record_rows(plain, plain_ids, *secrets.sealing())
        cameras.insert_rows(conn, rows, unit_id=unit_id, revision=number, now=now)
    stored = [*plain_ids, *(camera.id for camera in whole)]
    changes.upserted(conn, number, stored)
    audit.append(conn, [_entry(principal, action, stored, outcome, number)])
    return replace(
        outcome, ids=settled, revision=revision, changed=tuple(whole), plain=tuple(plain), plain_ids=tuple(plain_ids)
    )


def _assigned(conn: Connection, todo: Sequence[Candidate]) -> dict[int, str]:
    """Ids for the records that name none."""
    nameless: dict[str, list[int]] = {}
    for one in todo:
        if not one.camera.id:
            nameless.setdefault(ids.prefix(one.camera.region_code, one.camera.industry), []).append(one.place)
    reserved = {one.camera.id for one in todo} if nameless else set()
    given: dict[int, str] = {}
    for start, places in nameless.items():
        given.update(zip(places, ids.assign_many(conn, start, len(places), reserved), strict=True))
    return given


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


def _entry(principal: Principal, action: str, stored: Sequence[str], outcome: Outcome, number: int) -> AuditRecord:
    if len(stored) == 1:
        detail: dict[str, object] = {"revision": number}
        resource = f"camera/{stored[0]}"
    else:
        digest = hashlib.sha256("\n".join(stored).encode()).hexdigest()
        detail = {"revision": number, "count": len(stored), "ids_sha256": digest}
        resource = "camera/*"
    if outcome.rejected:
        detail["rejected"] = len(outcome.rejected)
    return AuditRecord.of(principal, action, resource, detail_json=json.dumps(detail))
