"""CameraService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Protocol

from vidhub.api import convert, validate
from vidhub.api.call import Call
from vidhub.core import PlainRecord, RecordBatch
from vidhub.errors import VidhubError, Violation
from vidhub.model import (
    BatchResult,
    Camera,
    CameraCounts,
    CameraFilter,
    CameraGrouping,
    CameraPage,
    CameraPoints,
    Principal,
    RejectedCamera,
    Revision,
    WatchEvent,
    WrittenPage,
)
from vidhub.telemetry import Telemetry
from vidhub.v1 import camera_pb2
from vidhub.v1 import camera_service_pb2 as pb

# Records read, and records judged by every rule, in one turn of the loop (about a millisecond each), so that an import
# holds up no other call.
_READ = 50
_TURN = 25
MOST_IN_BATCH = 1_000


class Catalogue(Protocol):
    """What this service needs of `catalogue.cameras.Catalogue`."""

    async def register(
        self,
        principal: Principal,
        batch: Sequence[Camera | PlainRecord],
        *,
        dry_run: bool = False,
        bulk: bool = False,
    ) -> BatchResult: ...
    async def register_one(self, principal: Principal, camera: Camera) -> Camera: ...
    async def update(self, principal: Principal, camera: Camera, mask: Sequence[str]) -> Camera: ...
    async def retire(self, principal: Principal, camera_id: str, reason: str) -> None: ...
    async def get(self, principal: Principal, camera_id: str) -> Camera: ...
    async def list(
        self,
        principal: Principal,
        wanted: CameraFilter,
        *,
        page_size: int = 0,
        page_token: str = "",
        full: bool = False,
    ) -> CameraPage: ...
    async def list_written(
        self,
        principal: Principal,
        wanted: CameraFilter,
        *,
        page_size: int = 0,
        page_token: str = "",
        unit_name: Callable[[str], str],
        region_name: Callable[[str], str],
    ) -> WrittenPage: ...
    async def give_way(self) -> None: ...
    async def count(
        self, principal: Principal, wanted: CameraFilter, grouping: CameraGrouping, *, region_digits: int = 6
    ) -> CameraCounts: ...
    async def points(
        self, principal: Principal, wanted: CameraFilter, *, page_size: int = 0, page_token: str = ""
    ) -> CameraPoints: ...
    def watch(
        self, principal: Principal, from_revision: Revision | None, wanted: CameraFilter, state_from: int = 0
    ) -> AsyncGenerator[WatchEvent]: ...


class Snapshots(Protocol):
    """What this service needs of `access.snapshots.Snapshots`."""

    async def take(self, principal: Principal, session_id: str) -> bytes: ...


class CameraServicer:
    def __init__(
        self,
        catalogue: Catalogue,
        telemetry: Telemetry,
        names: convert.Names = convert.NAMELESS,
        *,
        snapshots: Snapshots,
    ) -> None:
        self._catalogue = catalogue
        self._telemetry = telemetry
        self._names = names
        self._snapshots = snapshots

    async def register_camera(self, request: pb.RegisterCameraRequest, call: Call) -> pb.RegisterCameraResponse:
        with _under("camera"):
            camera = await self._catalogue.register_one(call.caller, convert.from_camera(request.camera))
        return pb.RegisterCameraResponse(camera=convert.to_camera(camera, self._names))

    async def register_cameras(
        self, requests: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[pb.RegisterCamerasResponse]:
        """One batch after the other, so that answers keep the order and a client's pace is the writer's. The next one
        is read while this one is written."""
        batches = self._read_all(requests, call.caller)
        following = asyncio.ensure_future(anext(batches, None))
        writing: asyncio.Task[BatchResult] | None = None
        try:
            while (batch := await following) is not None:
                writing = asyncio.create_task(self._write(call.caller, batch))
                following = asyncio.ensure_future(anext(batches, None))
                result = await writing
                yield pb.RegisterCamerasResponse(**convert.to_batch(result, dry_run=batch.dry_run))
        finally:
            left = [task for task in (following, writing) if task is not None and not task.done()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await batches.aclose()

    async def batch_register_cameras(
        self, request: pb.BatchRegisterCamerasRequest, call: Call
    ) -> pb.BatchRegisterCamerasResponse:
        result = await self._write(call.caller, await self._read(call.caller, _known(request)))
        return pb.BatchRegisterCamerasResponse(**convert.to_batch(result, dry_run=request.dry_run))

    async def update_camera(self, request: pb.UpdateCameraRequest, call: Call) -> pb.UpdateCameraResponse:
        with _under("camera"):
            camera = await self._catalogue.update(
                call.caller, convert.from_camera(request.camera), tuple(request.update_mask.paths)
            )
        return pb.UpdateCameraResponse(camera=convert.to_camera(camera, self._names))

    async def retire_camera(self, request: pb.RetireCameraRequest, call: Call) -> pb.RetireCameraResponse:
        await self._catalogue.retire(call.caller, request.id, request.reason)
        return pb.RetireCameraResponse()

    async def get_camera(self, request: pb.GetCameraRequest, call: Call) -> pb.GetCameraResponse:
        found = await self._catalogue.get(call.caller, request.id)
        return pb.GetCameraResponse(camera=convert.to_camera(found, self._names))

    async def list_cameras(self, request: pb.ListCamerasRequest, call: Call) -> pb.ListCamerasResponse:
        page: CameraPage | WrittenPage
        wanted, size, token = convert.from_filter(request.filter), request.page_size, request.page_token
        if request.view == pb.CAMERA_VIEW_FULL:
            page = await self._catalogue.list(call.caller, wanted, page_size=size, page_token=token, full=True)
            answer = pb.ListCamerasResponse(cameras=[convert.to_camera(one, self._names) for one in page.cameras])
        else:
            names = self._names
            page = await self._catalogue.list_written(
                call.caller, wanted, page_size=size, page_token=token, unit_name=names.unit, region_name=names.region
            )
            answer = pb.ListCamerasResponse.FromString(page.message)
        answer.MergeFrom(
            pb.ListCamerasResponse(
                next_page_token=page.next_page_token,
                total_size=page.total_size,
                revision=convert.to_revision(page.revision),
            )
        )
        return answer

    async def count_cameras(self, request: pb.CountCamerasRequest, call: Call) -> pb.CountCamerasResponse:
        grouping = convert.from_grouping(request.group_by)
        # Half a code is no region's: a province's stands with its zeros in the table of regions.
        counts = await self._catalogue.count(
            call.caller, convert.from_filter(request.filter), grouping, region_digits=request.region_digits or 6
        )
        return convert.to_counts(counts, grouping, self._names)

    async def list_points(self, request: pb.ListPointsRequest, call: Call) -> pb.ListPointsResponse:
        page = await self._catalogue.points(
            call.caller,
            convert.from_filter(request.filter),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListPointsResponse(
            ids=page.ids,
            latitudes_e6=page.latitudes_e6,
            longitudes_e6=page.longitudes_e6,
            states=page.states,  # type: ignore[arg-type]
            stale=page.stale,
            next_page_token=page.next_page_token,
            total_size=page.total_size,
            revision=convert.to_revision(page.revision),
        )

    async def watch_cameras(
        self, request: pb.WatchCamerasRequest, call: Call
    ) -> AsyncGenerator[pb.WatchCamerasResponse]:
        events = self._catalogue.watch(
            call.caller,
            convert.from_revision(request, "from"),
            convert.from_filter(request.filter),
            request.state_from,
        )
        async with aclosing(events):
            async for event in events:
                yield convert.to_watch_event(event, self._names)

    async def get_snapshot(self, request: pb.GetSnapshotRequest, call: Call) -> pb.GetSnapshotResponse:
        return pb.GetSnapshotResponse(jpeg=await self._snapshots.take(call.caller, request.session_id))

    async def _read_all(self, requests: AsyncIterator[bytes], principal: Principal) -> AsyncGenerator[_Batch]:
        async for request in requests:
            yield await self._read(principal, request)

    async def _read(self, principal: Principal, request: bytes) -> _Batch:
        """The records of a request where they lie: what keeps every rule beyond doubt is never made a message.

        A record that breaks a rule of the protos is rejected alone, like one that breaks a rule of the catalogue.
        """
        records = RecordBatch.of(request)
        if records is None or len(records) > MOST_IN_BATCH:
            whole = validate.parsed(pb.RegisterCamerasRequest, request)
            validate.check(whole)
            records = RecordBatch.of(_known(whole))
            assert records is not None
        batch = _Batch(len(records), records.dry_run)
        looked_at = 0
        for start in range(0, len(records), _READ):
            for index, record in enumerate(records.read(start, start + _READ, principal.unit_id), start):
                if isinstance(record, PlainRecord):
                    batch.take(index, record)
                    continue
                looked_at += 1
                if looked_at % _TURN == 0:
                    await self._catalogue.give_way()
                message = validate.parsed(camera_pb2.Camera, record)
                if broken := validate.violations(message):
                    batch.rejected.append(RejectedCamera(index, message.id, broken))
                else:
                    batch.take(index, convert.from_camera(message))
            await self._catalogue.give_way()
        return batch

    async def _write(self, principal: Principal, batch: _Batch) -> BatchResult:
        if batch.rejected and not batch.dry_run:
            self._telemetry.registered(accepted=0, rejected=len(batch.rejected))
        places = batch.places
        result = await self._catalogue.register(principal, batch.cameras, dry_run=batch.dry_run, bulk=True)
        ids = [""] * batch.size
        for place, camera_id in zip(places, result.ids, strict=True):
            ids[place] = camera_id
        rejected = [*batch.rejected, *(replace(row, index=places[row.index]) for row in result.rejected)]
        rejected.sort(key=lambda row: row.index)
        changes = tuple(replace(change, index=places[change.index]) for change in result.changes)
        warned = tuple((places[index], found) for index, found in result.warned)
        return BatchResult(tuple(ids), tuple(rejected), result.revision, changes, warned)


@dataclass(slots=True)
class _Batch:
    """Records that keep the rules of the protos, with their places among the `size` of the request, and the others."""

    size: int
    dry_run: bool
    places: list[int] = field(default_factory=list)
    cameras: list[Camera | PlainRecord] = field(default_factory=list)
    rejected: list[RejectedCamera] = field(default_factory=list)

    def take(self, place: int, camera: Camera | PlainRecord) -> None:
        self.places.append(place)
        self.cameras.append(camera)


def _known(request: pb.RegisterCamerasRequest | pb.BatchRegisterCamerasRequest) -> bytes:
    """The octets of a batch of records without what a newer version may have put into them."""
    request.DiscardUnknownFields()
    return request.SerializeToString()


class _under:
    """Names violations by their path in the request: the catalogue's "name" is the request's "camera.name"."""

    def __init__(self, field: str) -> None:
        self._field = field

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, VidhubError) and error.violations:
            error.violations = tuple(
                Violation(f"{self._field}.{row.field}", row.reason, row.description) for row in error.violations
            )
