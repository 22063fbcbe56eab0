"""What `camera register --retire-missing` does after an import: cameras that the file does not name are retired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import grpc
import typer

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


def check(
    missing: Sequence[str],
    *,
    of: int,
    named: int,
    rejected: int,
    yes: bool,
    most: bool,
    confirm: Callable[[str], bool] | None,
) -> None:
    """Whether the missing ones may go. of: cameras that the unit had before; named: those that the file names; most:
    more than half may go; confirm: asks a person, None without one.

    Raises FailedPrecondition RETIRE_AFTER_REJECTED, RETIRE_ALL, RETIRE_TOO_MANY, RETIRE_NOT_CONFIRMED.
    """
    if not missing:
        return
    if rejected:  # the camera of a line that was rejected may be one of those that seem to be missing
        raise FailedPrecondition(
            "RETIRE_AFTER_REJECTED",
            f"{rejected} lines were rejected, so nothing was retired: correct them, run again",
        )
    if not named:  # an export that went wrong, more likely than a unit without cameras
        raise FailedPrecondition(
            "RETIRE_ALL", "the file names no camera, so nothing was retired: `vidhub camera retire` takes one out"
        )
    what = f"{len(missing)} of the unit's {of} cameras are not in the file"
    if 2 * len(missing) > of and not most:
        raise FailedPrecondition(
            "RETIRE_TOO_MANY", f"{what}, more than half, so nothing was retired: give --retire-most if that is meant"
        )
    if yes:
        return
    if confirm is None or not _is_confirmed(confirm, f"{what}. Retire them?"):
        raise FailedPrecondition("RETIRE_NOT_CONFIRMED", f"{what}; nothing was retired: give --yes if they shall go")


def _is_confirmed(confirm: Callable[[str], bool], question: str) -> bool:
    try:
        return confirm(question)
    except typer.Abort:  # Ctrl-C, or the end of what is typed
        return False


def reason(file: Path) -> str:
    """What is put on record with each. A file's name may hold anything, of which the hub takes no control characters
    and gRPC nothing that is no Unicode."""
    name = "".join(letter if letter.isprintable() else "?" for letter in file.name[:100])
    return f"not in {name}"


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
