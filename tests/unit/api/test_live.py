"""Calls under way end when their caller loses the right to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from support.edges import Edges, details_of, fingerprint

from vidhub.api import adapter
from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

CAMERAS = "/vidhub.v1.CameraService"


def watch(channel: grpc.aio.Channel) -> grpc.aio.UnaryStreamCall:
    return camera_service_pb2_grpc.CameraServiceStub(channel).WatchCameras(camera_service_pb2.WatchCamerasRequest())


async def read_all(stream: grpc.aio.UnaryStreamCall) -> None:
    async for _ in stream:
        pass


async def cut_reason(stream: grpc.aio.UnaryStreamCall) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return details_of(caught.value)[0].reason


async def test_a_revoked_certificate_loses_its_live_calls_at_once(edges: Edges) -> None:
    mark = fingerprint(edges.identities["unit/u1"].certificate)
    async with edges.channel("unit/u1") as revoked, edges.channel("unit/u2") as other:
        streams = [watch(revoked), watch(revoked)]
        bidi = camera_service_pb2_grpc.CameraServiceStub(revoked).RegisterCameras()
        await bidi.write(camera_service_pb2.RegisterCamerasRequest())
        assert await bidi.read()
        kept = watch(other)
        for stream in (*streams, kept):
            assert (await stream.read()).HasField("synced")
        assert len(edges.live.tasks()) == 4
        edges.directory.revoked.add(mark)
        assert edges.grpc_server.cut(mark) == 3
        async with asyncio.timeout(30):
            assert [await cut_reason(stream) for stream in (*streams, bidi)] == ["CERTIFICATE_REVOKED"] * 3
        assert await cut_reason(watch(revoked)) == "CERTIFICATE_REVOKED"
        assert len(edges.live.tasks()) == 1
        kept.cancel()


async def test_cutting_ends_all_calls_of_a_certificate_and_each_caller_is_told(edges: Edges) -> None:
    mark = fingerprint(edges.identities["unit/u1"].certificate)
    async with edges.channel("unit/u1") as channel:
        streams = [watch(channel) for _ in range(50)]
        for stream in streams:
            await stream.read()
        assert edges.grpc_server.cut(mark) == 50
        async with asyncio.timeout(30):
            await asyncio.wait(edges.live.tasks())
            assert {await cut_reason(stream) for stream in streams} == {"CERTIFICATE_REVOKED"}
        assert not edges.live.tasks()


async def test_a_caller_that_reads_nothing_is_cut_all_the_same(edges: Edges) -> None:
    edges.catalogue.flood = True
    mark = fingerprint(edges.identities["unit/u1"].certificate)
    async with edges.channel("unit/u1") as channel:
        stream = watch(channel)
        await edges.catalogue.watching.wait()
        assert edges.grpc_server.cut(mark) == 1
        async with asyncio.timeout(30):
            await asyncio.wait(edges.live.tasks())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await read_all(stream)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_caller_that_leaves_ends_its_own_call(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel:
        stream = watch(channel)
        await stream.read()
        stream.cancel()
        async with asyncio.timeout(30):
            await asyncio.wait(edges.live.tasks())


@asynccontextmanager
async def watched_by_http(edges: Edges) -> AsyncIterator[AsyncIterator[bytes]]:
    """A stream on 8080 that has begun."""
    headers = {"content-type": "application/connect+json"}
    async with (
        edges.http("operator", headers=headers) as client,
        client.stream("POST", f"{CAMERAS}/WatchCameras", content=b"\0\0\0\0\x02{}") as answer,
    ):
        chunks = answer.aiter_bytes()
        assert b"synced" in await anext(chunks)
        yield chunks


async def test_a_stream_on_8080_ends_when_its_caller_is_no_longer_admitted(
    edges: Edges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "RECHECK_S", 0.05)
    async with watched_by_http(edges) as chunks:
        del edges.directory.people["operator"]
        end = b"".join([chunk async for chunk in chunks])
    assert b'"unauthenticated"' in end
    assert b"TOKEN_INVALID" in end


async def test_a_stream_outlives_its_token_but_not_for_ever(edges: Edges, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "RECHECK_S", 0.02)
    monkeypatch.setattr(adapter, "STREAM_LIFE_S", 0.2)
    started = time.monotonic()
    async with watched_by_http(edges) as chunks:
        edges.directory.expired.add("operator")
        end = b"".join([chunk async for chunk in chunks])
    assert time.monotonic() - started >= 0.2
    assert b'"unavailable"' in end
    assert b"STREAM_EXPIRED" in end


async def test_a_suspended_person_loses_their_streams(edges: Edges) -> None:
    async with watched_by_http(edges) as chunks:
        edges.live.logins_ended(frozenset({"login-operator"}), "USER_SUSPENDED")
        end = b"".join([chunk async for chunk in chunks])
    assert b"USER_SUSPENDED" in end
