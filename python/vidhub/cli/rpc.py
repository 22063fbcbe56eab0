"""Calls to a hub's gRPC port, and its errors as ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from vidhub.cli.identity_files import Identity
from vidhub.errors import Internal, Unavailable, VidhubError, Violation, error_class

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs one command's calls. Raises VidhubError for every answer that is none."""
    return asyncio.run(work)


async def call(identity: Identity, work: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
    """Does the work on a channel of this identity."""
    async with identity.channel() as channel:
        return await translated(work(channel), identity.hub)


async def translated(work: Awaitable[T], hub: str) -> T:
    """Awaits; a gRPC error becomes the class that the hub raised."""
    try:
        return await work
    except grpc.aio.AioRpcError as error:
        raise translate(error, hub) from error


def translate(error: grpc.aio.AioRpcError, hub: str) -> VidhubError:
    """The error that the hub raised, with its reason and violations."""
    reason = ""
    violations: list[Violation] = []
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad_request):
            violations += [
                Violation(violation.field, violation.reason, violation.description)
                for violation in bad_request.field_violations
            ]
    message = error.details() or ""
    if not reason and error.code() is grpc.StatusCode.UNAVAILABLE:
        if "CERTIFICATE" in message.upper() or "SSL" in message.upper() or "handshake" in message:
            return Unavailable(
                "HUB_NOT_TRUSTED",
                f"{hub} did not accept our certificate, or showed one of another authority: enrol again at this hub",
            )
        return Unavailable("HUB_UNREACHABLE", f"no hub answers at {hub}: check the address and that it runs")
    kind = error_class(error.code().name.lower())
    return (kind or Internal)(reason or error.code().name, message, violations=violations)
