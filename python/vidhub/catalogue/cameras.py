"""The catalogue: which cameras exist, who registers them, and who may know of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection

from vidhub import paging
from vidhub.audit import AuditLog
from vidhub.catalogue import oddities, records, registration, rules
from vidhub.catalogue.duplicates import Duplicates
from vidhub.catalogue.registration import Candidate, Outcome
from vidhub.catalogue.remote import RemoteCameras
from vidhub.catalogue.watch import Watches
from vidhub.core import Core, PlainRecord
from vidhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Violation
from vidhub.model import (
    BatchResult,
    Camera,
    CameraCount,
    CameraCounts,
    CameraFilter,
    CameraGrouping,
    CameraPage,
    CameraPoints,
    CameraState,
    Principal,
    PrincipalKind,
    RegistrationChange,
    RejectedCamera,
    Revision,
    Role,
    WatchEvent,
    WrittenPage,
)
from vidhub.places import Outlines
from vidhub.store import Secrets, Store, cameras, meta
from vidhub.store.regions import RegionTable
from vidhub.telemetry import Telemetry

# Rows in one transaction: interactive writes get in between (`store/writer.py`).
CHUNK = 200
MOST_IN_BATCH = 1_000
# Of a map in one page: with ids about 300 KB.
MOST_POINTS = 10_000
# How long an import keeps the event loop from the calls beside it.
TURN_S = 0.001


class Catalogue:
    """Registers, changes, retires, tells and watches cameras."""

    def __init__(
        self,
        *,
        store: Store,
        secrets: Secrets,
        audit: AuditLog,
        core: Core,
        regions: RegionTable,
        watches: Watches,
        telemetry: Telemetry,
        remote: RemoteCameras,
        outlines: Outlines,
        duplicates: Duplicates,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._audit = audit
        self._core = core
        self._regions = regions
        self._watches = watches
        self._telemetry = telemetry
        self._remote = remote
        self._outlines = outlines
        self._duplicates = duplicates
        self._clock = clock

    async def give_way(self) -> None:
        """Between two pieces of bulk work."""
        await self._store.turns.give_way()

    # Writing.

    async def register(
        self,
        principal: Principal,
        batch: Sequence[Camera | PlainRecord],
        *,
        dry_run: bool = False,
        bulk: bool = False,
    ) -> BatchResult:
        """Upserts a batch of the caller's unit and answers when all of it is durable.

        A record that breaks a rule is rejected alone. dry_run: nothing is written, and an id yet to be assigned is "".
        bulk: the transactions give way to interactive ones.
        Raises PermissionDenied ROLE_NOT_PERMITTED, InvalidArgument BATCH_TOO_LARGE.
        """
        unit_id = _unit_of(principal)
        if len(batch) > MOST_IN_BATCH:
            raise InvalidArgument("BATCH_TOO_LARGE", f"{len(batch)} cameras: send at most {MOST_IN_BATCH} at once")
        sieve = registration.Sieve(unit_id, self._regions.knows)
        odd: dict[int, tuple[Violation, ...]] = {}
        began = time.monotonic()
        for index, camera in enumerate(batch):
            if (accepted := sieve.put(index, camera)) and (warnings := oddities.of(accepted, self._outlines)):
                odd[index] = warnings
            if time.monotonic() - began > TURN_S:
                await self.give_way()
                began = time.monotonic()
        candidates, rejected = sieve.candidates(), sieve.rejected
        chunks = [candidates[start : start + CHUNK] for start in range(0, len(candidates), CHUNK)]
        # All at once: what nothing interactive waits behind is committed together.
        outcomes = await asyncio.gather(
            *(
                self._judge(unit_id, chunk) if dry_run else self._write(principal, unit_id, chunk, bulk=bulk)
                for chunk in chunks
            ),
            return_exceptions=True,
        )
        found = [""] * len(batch)
        changes: list[RegistrationChange] = []
        revision: Revision | None = None
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            for index, camera_id in outcome.ids.items():
                found[index] = camera_id
            rejected.extend(outcome.rejected)
            changes.extend(outcome.changes)
            revision = outcome.revision
        if not dry_run:
            self._telemetry.registered(accepted=len(batch) - len(rejected), rejected=len(rejected))
        rejected.sort(key=lambda one: one.index)
        changes.sort(key=lambda one: one.index)
        if revision is None:
            revision = await self._store.read(meta.revision)
        refused = {one.index for one in rejected}
        warned = tuple((index, warnings) for index, warnings in sorted(odd.items()) if index not in refused)
        return BatchResult(tuple(found), tuple(rejected), revision, tuple(changes), warned)

    async def register_one(self, principal: Principal, camera: Camera) -> Camera:
        """Upserts one camera. Raises InvalidArgument with what is wrong, PermissionDenied UNIT_NOT_YOURS,
        AlreadyExists CAMERA_ID_TAKEN."""
        result = await self.register(principal, [camera])
        if result.rejected:
            raise _refusal(result.rejected[0])
        return await self.get(principal, result.ids[0])

    async def update(self, principal: Principal, camera: Camera, mask: Sequence[str]) -> Camera:
        """Changes the fields of `mask` of one of the unit's own cameras; an empty mask takes those that are set."""
        unit_id = _unit_of(principal)

        def work(conn: Connection) -> Outcome:
            old = self._own(conn, unit_id, camera.id)
            new = rules.tidy(records.masked(old, camera, mask))
            found = rules.violations(new, self._regions.knows)
            if found:
                raise _refusal(RejectedCamera(0, camera.id, tuple(found)))
            return registration.write(
                conn,
                principal,
                unit_id,
                [Candidate(0, new)],
                secrets=self._secrets,
                audit=self._audit,
                now=self._clock(),
                action="camera.update",
            )

        await self._store.write(work, apply=lambda outcome: self._apply(unit_id, outcome))
        return await self.get(principal, camera.id)

    async def retire(self, principal: Principal, camera_id: str, reason: str) -> None:
        """Takes a camera out until its unit registers it again; its sessions end with CAMERA_RETIRED."""
        unit_id = "" if principal.kind is PrincipalKind.SYSTEM else _unit_of(principal)
        reason = reason.strip()
        if not reason:
            raise InvalidArgument("REASON_MISSING", "say why the camera is retired")

        def work(conn: Connection) -> Revision:
            self._own(conn, unit_id, camera_id)
            return registration.retire(conn, principal, camera_id, reason, audit=self._audit, now=self._clock())

        def apply(revision: Revision) -> None:
            self._core.apply_cameras(revision.number, (), (camera_id,))
            self._watches.wake()

        await self._store.write(work, apply=apply)

    # Reading.

    async def get(self, principal: Principal, camera_id: str) -> Camera:
        """The whole record. Raises NotFound CAMERA_NOT_FOUND when it is unknown or hidden from the caller."""
        basic = self._core.get_camera(principal, camera_id)
        stored = await self._store.read(lambda conn: cameras.get(conn, camera_id))
        if stored is None or stored.state is CameraState.RETIRED:
            raise _unknown(camera_id)
        return self._shown(principal, self._remote.told(_with_state(stored, basic)))

    async def list(
        self,
        principal: Principal,
        wanted: CameraFilter,
        *,
        page_size: int = 0,
        page_token: str = "",
        full: bool = False,
    ) -> CameraPage:
        """One page in order of id: BASIC from the registry, FULL from the store."""
        question = (principal.ref, wanted)
        after = paging.after("cameras", question, page_token)
        page = await asyncio.to_thread(
            self._core.list_cameras, principal, wanted, limit=paging.size(page_size), after=after
        )
        rows = page.cameras
        if full:
            stored = await self._store.read(lambda conn: cameras.list_full(conn, [row.id for row in rows]))
            by_id = {camera.id: camera for camera in stored}
            rows = tuple(self._shown(principal, _with_state(by_id[row.id], row)) for row in rows if row.id in by_id)
        return CameraPage(
            cameras=tuple(self._remote.told(row) for row in rows),
            next_page_token=paging.token("cameras", question, page.next_after),
            total_size=page.total,
            revision=page.revision,
        )

    async def list_written(
        self,
        principal: Principal,
        wanted: CameraFilter,
        *,
        page_size: int = 0,
        page_token: str = "",
        unit_name: Callable[[str], str],
        region_name: Callable[[str], str],
    ) -> WrittenPage:
        """A BASIC page of `list` as callers get it: no value is made of a row, which cost most of a page's time.

        unit_name, region_name: what people call a unit of this hub, by its id, and a region, by its code, or "".
        """
        question = (principal.ref, wanted)
        after = paging.after("cameras", question, page_token)
        page = await asyncio.to_thread(
            self._core.list_rows, principal, wanted, limit=paging.size(page_size), after=after
        )
        message = page.message(
            {unit_id: unit_name(unit_id) for unit_id in page.unit_ids},
            {code: region_name(code) for code in page.region_codes},
            {
                camera_id: (self._remote.is_stale(camera_id), self._remote.unit_of(camera_id, unit_id))
                for camera_id, unit_id in page.foreign
            },
        )
        return WrittenPage(
            message=message,
            next_page_token=paging.token("cameras", question, page.next_after),
            total_size=page.total,
            revision=Revision(page.epoch, page.revision),
        )

    async def count(
        self, principal: Principal, wanted: CameraFilter, grouping: CameraGrouping, *, region_digits: int = 6
    ) -> CameraCounts:
        """How many cameras the caller may know of in each group, as the total of `list` has them."""
        found = await asyncio.to_thread(
            self._core.count_cameras,
            principal,
            wanted,
            grouping,
            region_digits=region_digits,
            stale=self._remote.stale_ids(),
        )
        is_unit = grouping is CameraGrouping.UNIT
        return CameraCounts(
            groups=tuple(
                _count(row, name=self._remote.unit_of(row[1], row[0]) if is_unit else "") for row in found.groups
            ),
            left_out=found.left_out,
            total=_count(found.total),
            revision=Revision(found.epoch, found.revision),
        )

    async def points(
        self, principal: Principal, wanted: CameraFilter, *, page_size: int = 0, page_token: str = ""
    ) -> CameraPoints:
        """Where the cameras are that the caller may know of: a page of at most 10,000, in order of id."""
        question = (principal.ref, wanted)
        found = await asyncio.to_thread(
            self._core.list_points,
            principal,
            wanted,
            limit=min(page_size or MOST_POINTS, MOST_POINTS),
            after=paging.after("points", question, page_token),
        )
        ids = found.ids
        return CameraPoints(
            ids=ids,
            latitudes_e6=found.latitudes_e6,
            longitudes_e6=found.longitudes_e6,
            states=found.states,
            stale=[place for place, camera_id in enumerate(ids) if self._remote.is_stale(camera_id)],
            next_page_token=paging.token("points", question, found.next_after),
            total_size=found.total,
            revision=Revision(found.epoch, found.revision),
        )

    def watch(
        self,
        principal: Principal,
        from_revision: Revision | None,
        wanted: CameraFilter,
        state_from: int = 0,
    ) -> AsyncGenerator[WatchEvent]:
        """Changes after `from_revision`, then as they happen; see `watch.py`."""
        return self._watches.follow(principal, from_revision, wanted, state_from)

    # Inside.

    def _shown(self, principal: Principal, camera: Camera) -> Camera:
        """As the caller may see it; what is odd in it is for those who may see all of it."""
        told = records.shown(principal, camera)
        if camera.home_hub_id or not records.sees_addresses(principal, camera):
            return told
        return replace(told, warnings=(*oddities.of(camera, self._outlines), *self._duplicates.of(camera.id)))

    async def _write(self, principal: Principal, unit_id: str, chunk: Sequence[Candidate], *, bulk: bool) -> Outcome:
        return await self._store.write(
            lambda conn: registration.write(
                conn, principal, unit_id, chunk, secrets=self._secrets, audit=self._audit, now=self._clock()
            ),
            bulk=bulk,
            apply=lambda outcome: self._apply(unit_id, outcome),
        )

    async def _judge(self, unit_id: str, chunk: Sequence[Candidate]) -> Outcome:
        return await self._store.read(lambda conn: registration.judge(conn, unit_id, chunk, self._secrets)[1])

    def _apply(self, unit_id: str, outcome: Outcome) -> None:
        if outcome.changed or outcome.plain:
            self._core.apply_records(
                outcome.revision.number, outcome.plain, outcome.plain_ids, unit_id, outcome.changed
            )
            self._watches.wake()

    def _own(self, conn: Connection, unit_id: str, camera_id: str) -> Camera:
        """unit_id empty: any camera of this hub will do. Another unit's is as unknown as one that is not there."""
        found = cameras.get(conn, camera_id, self._secrets)
        if found is None or found.state is CameraState.RETIRED or unit_id not in ("", found.unit_id):
            raise _unknown(camera_id)
        if found.home_hub_id:
            if unit_id:  # a unit of another hub may go by the same name
                raise _unknown(camera_id)
            raise FailedPrecondition("CAMERA_NOT_OURS", "the camera is another hub's: only there it can be retired")
        return found


def _unit_of(principal: Principal) -> str:
    """The unit whose cameras the caller may write."""
    is_unit = principal.kind is PrincipalKind.UNIT
    if not principal.unit_id or not (is_unit or Role.UNIT in principal.roles):
        raise PermissionDenied("ROLE_NOT_PERMITTED", "cameras are registered and changed by the unit they belong to")
    return principal.unit_id


def _count(row: tuple[str, str, list[tuple[int, int]], int], *, name: str = "") -> CameraCount:
    key, _first, states, stale = row
    return CameraCount(key, tuple((CameraState(state), cameras) for state, cameras in states), stale, name)


def _with_state(stored: Camera, basic: Camera) -> Camera:
    return replace(stored, state=basic.state, state_time=basic.state_time, state_reason=basic.state_reason)


def _unknown(camera_id: str) -> NotFound:
    return NotFound("CAMERA_NOT_FOUND", f"there is no camera {camera_id[:40]}, or it is not for you to know of")


def _refusal(rejected: RejectedCamera) -> InvalidArgument | PermissionDenied | AlreadyExists:
    reasons = {violation.reason for violation in rejected.violations}
    first = rejected.violations[0]
    if "UNIT_NOT_YOURS" in reasons:
        return PermissionDenied("UNIT_NOT_YOURS", "the camera belongs to another unit: register your own")
    if "CAMERA_ID_TAKEN" in reasons:
        return AlreadyExists("CAMERA_ID_TAKEN", registration.TAKEN.description)
    reason = first.reason if len(reasons) == 1 else "CAMERA_INVALID"
    sentence = "; ".join(f"{one.field}: {one.description}" for one in rejected.violations)
    return InvalidArgument(reason, sentence, violations=rejected.violations)
