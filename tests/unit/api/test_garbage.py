"""Bytes from outside never make a failure of the hub's own."""

from __future__ import annotations

import random
from collections.abc import Iterator

import grpc
import pytest
from support.edges import Edges

from vidhub.api import METHODS, Method
from vidhub.v1 import camera_pb2, camera_service_pb2

SEED = 20261123
ROUNDS = 12
SERVED = [
    method
    for method in METHODS.values()
    # The catalogue in memory fails on purpose when a camera is updated.
    if method.service in {"vidhub.v1.CameraService", "vidhub.v1.SystemService"} and method.name != "UpdateCamera"
]


def garbage(method: Method, dice: random.Random) -> Iterator[bytes]:
    """Noise, valid messages cut short, and valid messages with bytes changed."""
    camera = camera_pb2.Camera(id="1" * 20, name="门", streams=[camera_pb2.CameraStream(url="rtsp://host/1")])
    whole = camera_service_pb2.BatchRegisterCamerasRequest(cameras=[camera] * 3).SerializeToString()
    for _ in range(ROUNDS):
        yield dice.randbytes(dice.randrange(40))
        yield whole[: dice.randrange(len(whole))]
        changed = bytearray(whole)
        for _ in range(dice.randrange(1, 6)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        yield bytes(changed)


def json_garbage(dice: random.Random) -> Iterator[bytes]:
    words = [
        '{"',
        '"}',
        "cameras",
        "id",
        '":',
        "[",
        "]",
        "{",
        "}",
        "null",
        "1e400",
        '"\\ud800"',
        "-1",
        "NaN",
        ",",
        "true",
    ]
    for _ in range(ROUNDS):
        yield "".join(dice.choices(words, k=dice.randrange(12))).encode()


@pytest.mark.parametrize("method", SERVED, ids=lambda method: method.name)
async def test_no_bytes_are_the_hubs_fault(edges: Edges, method: Method) -> None:
    dice = random.Random(f"{SEED} {method.path}")
    kind = "connect+" if method.gives_stream else ""
    async with edges.channel("unit/u1") as channel, edges.http("unit") as client:
        for data in garbage(method, dice):
            codes = {await on_grpc(channel, method, data)}
            if method.access.http is not None and not method.gives_stream:
                answer = await client.post(
                    f"/{method.path}", content=data, headers={"content-type": "application/proto"}
                )
                codes.add(answer.json()["code"].upper() if answer.status_code != 200 else "OK")
            assert not codes & {"INTERNAL", "UNKNOWN"}, data.hex()
        for data in json_garbage(dice):
            body = b"\0" + len(data).to_bytes(4, "big") + data if kind else data
            headers = {"content-type": f"application/{kind}json", "connect-timeout-ms": "500"}
            if method.gives_stream:
                # What is cut off in the middle of an envelope.
                body = body[: dice.randrange(len(body) + 1)]
            answer = await client.post(f"/{method.path}", content=body, headers=headers)
            assert answer.status_code < 500 or answer.status_code == 501, data
            assert b'"internal"' not in answer.content, data
            assert b'"unknown"' not in answer.content, data


async def on_grpc(channel: grpc.aio.Channel, method: Method, data: bytes) -> str:
    path = f"/{method.path}"
    try:
        if method.takes_stream:
            async for _ in channel.stream_stream(path)(iter([data])):
                pass
        elif method.gives_stream:
            stream = channel.unary_stream(path)(data)
            await stream.read()
            stream.cancel()
        else:
            await channel.unary_unary(path)(data)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"
