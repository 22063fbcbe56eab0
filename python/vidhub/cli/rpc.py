"""Calls to a hub's gRPC port, and its errors as ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import grpc

from vidhub.cli.identity_files import Identity
from vidhub.mtls import translate

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
