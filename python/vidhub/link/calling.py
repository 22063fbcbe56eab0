"""How a hub calls the one above it: the method, the connection, and what is read from the call."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from vidhub.v1 import link_service_pb2 as pb

METHOD = "/vidhub.v1.LinkService/Link"
OPTIONS = (
    # Each attempt is a new connection: nothing is kept of one that failed.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class Reading:
    """What the upper hub sends. To give up waiting for it does not cancel the call, as grpcio's own read would, and
    with it what we still have to say."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._reading: asyncio.Future[Any] | None = None
        self._last = b""

    async def next(self) -> Any:
        """Octets, or EOF. Raises grpc.aio.AioRpcError."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._call.read())
        data = await asyncio.shield(self._reading)
        self._reading = None
        if data is not grpc.aio.EOF:
            self._last = data
        return data

    async def rest(self, reason: str) -> bool:
        """Returns when the upper hub has nothing more to say; whether it has taken the farewell for this reason. It
        answers one with its own for the same reason, which comes last. A call that ends well is not enough: a hub that
        stops says farewell by itself, and reads no more."""
        try:
            while await self.next() is not grpc.aio.EOF:
                pass
            if await self._call.code() != grpc.StatusCode.OK:
                return False
            return bool(pb.LinkResponse.FromString(self._last).message.farewell.reason == reason)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, DecodeError):
            return False

    async def close(self) -> None:
        """After the call has been cancelled."""
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)


async def status(call: Any) -> grpc.aio.AioRpcError | None:
    """Why a call has ended, where it failed."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call.read()
        return None
    code, details = await call.code(), await call.details()
    return grpc.aio.AioRpcError(code, await call.initial_metadata(), await call.trailing_metadata(), details)
