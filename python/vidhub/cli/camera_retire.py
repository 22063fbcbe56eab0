"""What `camera register --retire-missing` does after an import: cameras that the file does not name are retired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import grpc

from vidhub.errors import FailedPrecondition
from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

# Calls on their way at once: the hub commits together what waits together.
_AT_ONCE = 8
_TIMEOUT_S = 30.0


async def own_ids(stub: camera_service_pb2_grpc.CameraServiceStub) -> AsyncIterator[str]:
    """Of the unit's cameras, in order."""
    token = ""
    while True:
        page = await stub.ListCameras(
            camera_service_pb2.ListCamerasRequest(page_size=1_000, page_token=token), timeout=_TIMEOUT_S
        )
        for camera in page.cameras:
            yield camera.id
        token = page.next_page_token
        if not token:
            return


def check(missing: Sequence[str], *, of: int, rejected: int, yes: bool, confirm: Callable[[str], bool] | None) -> None:
    """Whether the missing ones may go. of: cameras that the unit had before; confirm: asks a person, None without one.

    Raises FailedPrecondition RETIRE_AFTER_REJECTED, RETIRE_TOO_MANY, RETIRE_NOT_CONFIRMED.
    """
    if not missing:
        return
    if rejected:  # the camera of a line that was rejected may be one of those that seem to be missing
        raise FailedPrecondition(
            "RETIRE_AFTER_REJECTED",
            f"{rejected} lines were rejected, so nothing was retired: correct them, run again",
        )
    if yes:
        return
    what = f"{len(missing)} of the unit's {of} cameras are not in the file"
    if 2 * len(missing) > of:
        raise FailedPrecondition(
            "RETIRE_TOO_MANY", f"{what}, more than half, so nothing was retired: give --yes if that is meant"
        )
    if confirm is None or not confirm(f"{what}. Retire them for good?"):
        raise FailedPrecondition("RETIRE_NOT_CONFIRMED", f"{what}; nothing was retired: give --yes if they shall go")


async def retire(
    channel: grpc.aio.Channel, ids: Sequence[str], reason: str, tell: Callable[[str, bool], object]
) -> None:
    """tell: called with each id and whether it went; one that was gone already is passed over."""
    stub = camera_service_pb2_grpc.CameraServiceStub(channel)
    waiting = iter(ids)

    async def work() -> None:
        for camera_id in waiting:
            request = camera_service_pb2.RetireCameraRequest(id=camera_id, reason=reason)
            went = True
            try:
                await stub.RetireCamera(request, timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                went = False
            tell(camera_id, went)

    workers = [asyncio.create_task(work()) for _ in range(min(_AT_ONCE, len(ids)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
