"""What both edges make of the same calls: answers, errors with their details, and what is malformed or too much."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
from collections import Counter
from datetime import datetime
from typing import Any

import grpc
import pytest
from support.edges import NOW, Edges, details_of, refused, refused_json
from support.hub import camera_message

from vidhub.api import MESSAGE_MAX_BYTES
from vidhub.v1 import (
    camera_pb2,
    camera_service_pb2,
    camera_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
)

ID = "36060211111321000001"
CAMERAS = "/vidhub.v1.CameraService"


def camera(**fields: Any) -> camera_pb2.Camera:
    return camera_pb2.Camera(**{"id": ID, "name": "gate", **fields})


async def test_both_edges_give_the_same_answer(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel, edges.http("unit") as client:
        grpc_answer = await system_service_pb2_grpc.SystemServiceStub(channel).GetStatus(
            system_service_pb2.GetStatusRequest()
        )
        http_answer = await client.post("/vidhub.v1.SystemService/GetStatus", json={})
    told = http_answer.json()
    assert datetime.fromisoformat(told.pop("time")) == NOW
    assert told == {"hubId": "h1", "hubName": "hub", "version": "0", "uptimeS": 1.5}
    assert (grpc_answer.hub_id, grpc_answer.uptime_s) == ("h1", 1.5)


async def test_an_error_of_the_domain_is_the_same_on_both(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel, edges.http("operator") as client:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        on_grpc = await refused(stub.GetCamera(camera_service_pb2.GetCameraRequest(id=ID)))
        on_http = refused_json(await client.post(f"{CAMERAS}/GetCamera", json={"id": ID}))
    assert on_grpc == ("NOT_FOUND", "CAMERA_NOT_FOUND", [])
    assert on_http == (404, "not_found", "CAMERA_NOT_FOUND", [])


async def test_field_violations_are_the_same_on_both(edges: Edges) -> None:
    wrong = camera(name="n\n", location=camera_pb2.Location(latitude=91), place_category=55)  # type: ignore[arg-type]
    expected = [
        ("camera.name", "NAME_INVALID"),
        ("camera.place_category", "PLACE_UNKNOWN"),
        ("camera.location.latitude", "LOCATION_INVALID"),
    ]
    async with edges.channel("unit/u1") as channel, edges.http("unit") as client:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        on_grpc = await refused(stub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=wrong)))
        body = {"camera": {"id": ID, "name": "n\n", "location": {"latitude": 91}, "placeCategory": 55}}
        on_http = refused_json(await client.post(f"{CAMERAS}/RegisterCamera", json=body))
    assert on_grpc == ("INVALID_ARGUMENT", "REQUEST_INVALID", expected)
    assert on_http == (400, "invalid_argument", "REQUEST_INVALID", expected)


async def test_a_violation_of_the_catalogue_is_named_by_its_path_in_the_request(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        request = camera_service_pb2.RegisterCameraRequest(camera=camera(name="bad"))
        assert await refused(stub.RegisterCamera(request)) == (
            "INVALID_ARGUMENT",
            "NAME_MISSING",
            [("camera.name", "NAME_MISSING")],
        )


async def test_a_bad_record_rejects_itself_alone(edges: Edges) -> None:
    batch = [
        camera(id="1" * 20),
        camera(id="nonsense"),
        camera(id="2" * 20, name="bad"),
        camera(id="3" * 20, location=camera_pb2.Location(latitude=float("nan"))),
        camera(id="4" * 20, streams=[camera_pb2.CameraStream(url="rtsp://u:p@host/")]),
        camera(id="5" * 20),
    ]
    ids = ["1" * 20, "", "", "", "", "5" * 20]
    rejected = [
        (1, "nonsense", [("id", "ID_INVALID")]),
        (2, "2" * 20, [("name", "NAME_MISSING")]),
        (3, "3" * 20, [("location.latitude", "LOCATION_INVALID")] * 2),
        (4, "4" * 20, [("streams[0].url", "URL_HAS_CREDENTIALS")]),
    ]
    async with edges.channel("unit/u1") as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        once = await stub.BatchRegisterCameras(camera_service_pb2.BatchRegisterCamerasRequest(cameras=batch))
        stream = stub.RegisterCameras(iter([camera_service_pb2.RegisterCamerasRequest(cameras=batch)] * 3))
        answers = [once, *[answer async for answer in stream]]
    assert len(answers) == 4
    for answer in answers:
        assert list(answer.ids) == ids
        seen = [(row.index, row.id, [(v.field, v.reason) for v in row.violations]) for row in answer.rejected]
        assert [(index, name, sorted(set(found))) for index, name, found in seen] == [
            (index, name, sorted(set(found))) for index, name, found in rejected
        ]
    assert set(edges.catalogue.cameras) == {"1" * 20, "5" * 20}


def batch_of(*digits: int) -> camera_service_pb2.RegisterCamerasRequest:
    return camera_service_pb2.RegisterCamerasRequest(cameras=[camera(id=str(digit) * 20) for digit in digits])


async def test_a_stream_of_batches_is_answered_in_order_also_to_who_waits_for_each_answer(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel, asyncio.timeout(30):
        call = camera_service_pb2_grpc.CameraServiceStub(channel).RegisterCameras()
        for digit in range(1, 5):
            await call.write(batch_of(digit))
            assert list((await call.read()).ids) == [str(digit) * 20]
        for digit in range(5, 9):
            await call.write(batch_of(digit, 1))
        for digit in range(5, 9):
            assert list((await call.read()).ids) == [str(digit) * 20, "1" * 20]
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF


async def test_a_batch_is_read_alike_whatever_a_newer_client_puts_into_it(edges: Edges) -> None:
    """Fields of a newer version, in the request and in a record, and a claim written the long way."""
    record = camera_message(1)
    record.id = "1" * 20
    octets = record.SerializeToString()
    newer = octets + b"\xf8\x3f\x01"
    plain = camera_service_pb2.RegisterCamerasRequest(cameras=[record], dry_run=True).SerializeToString()
    async with edges.channel("unit/u1") as channel, asyncio.timeout(30):
        call = channel.stream_stream(f"{CAMERAS}/RegisterCameras")()
        for data in (plain, plain + b"\xf8\x3f\x01", plain[:-1] + b"\x81\x00"):
            await call.write(data)
            answer = camera_service_pb2.RegisterCamerasResponse.FromString(await call.read())
            assert (list(answer.ids), list(answer.rejected), answer.created) == (["1" * 20], [], 1)
            assert edges.catalogue.cameras == {}
        await call.write(b"\x0a" + bytes([len(newer) & 127 | 128, len(newer) >> 7]) + newer)
        assert list(camera_service_pb2.RegisterCamerasResponse.FromString(await call.read()).ids) == ["1" * 20]
        assert edges.catalogue.cameras["1" * 20].name == record.name
        await call.write(b"\x0a\x02\x0a\x05")  # a record that ends too soon
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "RegisterCamerasRequest" in (caught.value.details() or "") or "Camera" in (caught.value.details() or "")


async def test_a_bad_batch_ends_a_stream_after_the_answers_before_it(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel, asyncio.timeout(30):
        call = camera_service_pb2_grpc.CameraServiceStub(channel).RegisterCameras()
        await call.write(batch_of(1))
        await call.write(camera_service_pb2.RegisterCamerasRequest(cameras=[camera()] * 1_001))
        assert list((await call.read()).ids) == ["1" * 20]
        with pytest.raises(grpc.aio.AioRpcError) as refused_:
            await call.read()
        assert refused_.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def working() -> Counter[str]:
    """The kinds of tasks that there are; client and server share this loop."""
    return Counter(str(getattr(task.get_coro(), "__qualname__", "anext")) for task in asyncio.all_tasks())


async def test_who_leaves_a_stream_of_batches_leaves_no_task_behind(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel, asyncio.timeout(30):
        warm = camera_service_pb2_grpc.CameraServiceStub(channel).BatchRegisterCameras
        await warm(camera_service_pb2.BatchRegisterCamerasRequest(cameras=[camera()]))
        before = working()
        call = camera_service_pb2_grpc.CameraServiceStub(channel).RegisterCameras()
        await call.write(batch_of(1))
        assert list((await call.read()).ids) == ["1" * 20]
        call.cancel()
        del call
        while working() - before:  # noqa: ASYNC110 - the end of a task is told to nobody else
            await asyncio.sleep(0.01)


async def test_a_batch_of_more_than_a_thousand_is_refused(edges: Edges) -> None:
    request = camera_service_pb2.BatchRegisterCamerasRequest(cameras=[camera()] * 1001)
    async with edges.channel("unit/u1") as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        assert await refused(stub.BatchRegisterCameras(request)) == (
            "INVALID_ARGUMENT",
            "CAMERAS_TOO_LONG",
            [("cameras", "CAMERAS_TOO_LONG")],
        )


async def test_what_we_did_not_foresee_is_internal_and_tells_nothing(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel, edges.http("unit") as client:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.UpdateCamera(camera_service_pb2.UpdateCameraRequest(camera=camera()))
        answer = await client.post(f"{CAMERAS}/UpdateCamera", json={"camera": {"id": ID}})
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert details_of(caught.value)[0].reason == "INTERNAL"
    assert refused_json(answer) == (500, "internal", "INTERNAL", [])
    for text in (caught.value.details() or "", answer.text):
        assert "hunter2" not in text
        assert "ZeroDivision" not in text


async def test_a_stream_that_fails_says_why_on_both(edges: Edges) -> None:
    request = camera_service_pb2.WatchCamerasRequest(**{"from": camera_pb2.Revision(epoch="old", number=1)})
    body = json.dumps({"from": {"epoch": "old", "number": 1}}).encode()
    envelope = b"\0" + len(body).to_bytes(4, "big") + body
    async with edges.channel("unit/u1") as channel, edges.http("operator") as client:
        stream = camera_service_pb2_grpc.CameraServiceStub(channel).WatchCameras(request)
        on_grpc = await refused(stream.read())
        answer = await client.post(
            f"{CAMERAS}/WatchCameras", content=envelope, headers={"content-type": "application/connect+json"}
        )
    assert on_grpc == ("OUT_OF_RANGE", "REVISION_TOO_OLD", [])
    flags, end = answer.content[0], json.loads(answer.content[5:])
    assert (answer.status_code, flags) == (200, 2)
    assert end["error"]["code"] == "out_of_range"
    assert end["error"]["details"][0]["debug"]["reason"] == "REVISION_TOO_OLD"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"id": "1", "ids": 2}', "MESSAGE_INVALID"),
        (b"{", "MESSAGE_INVALID"),
        (b"\xff\xfe", "MESSAGE_INVALID"),
        (b"[" * 100_000, "MESSAGE_INVALID"),
        (b'{"id": 1e999}', "MESSAGE_INVALID"),
        (b"{}", "ID_MISSING"),
        (b'{"id": "' + b"1" * 65 + b'"}', "ID_INVALID"),
    ],
)
async def test_json_that_is_none_of_ours_is_refused(edges: Edges, body: bytes, reason: str) -> None:
    async with edges.http("operator", headers={"content-type": "application/json"}) as client:
        answer = await client.post(f"{CAMERAS}/GetCamera", content=body)
    status, code, seen, _ = refused_json(answer)
    assert (status, code, seen) == (400, "invalid_argument", reason)
    assert len(answer.content) < 4_000


async def test_bytes_that_are_no_message_are_refused_on_both(edges: Edges) -> None:
    junk = b"\x0a\xff\xff\xff\xff\x0f"
    async with edges.channel("unit/u1") as channel, edges.http("operator") as client:
        on_grpc = await refused(channel.unary_unary(f"{CAMERAS}/GetCamera")(junk))
        on_http = refused_json(
            await client.post(f"{CAMERAS}/GetCamera", content=junk, headers={"content-type": "application/proto"})
        )
    assert on_grpc == ("INVALID_ARGUMENT", "MESSAGE_INVALID", [])
    assert on_http == (400, "invalid_argument", "MESSAGE_INVALID", [])


async def test_the_caller_is_judged_before_the_message(edges: Edges) -> None:
    async with (
        edges.channel("claim/c1") as channel,
        edges.http("", headers={"content-type": "application/json"}) as client,
    ):
        on_grpc = await refused(channel.unary_unary(f"{CAMERAS}/GetCamera")(b"\xff"))
        on_http = refused_json(await client.post(f"{CAMERAS}/GetCamera", content=b"{"))
    assert on_grpc[:2] == ("PERMISSION_DENIED", "CLAIM_ENROLS_ONLY")
    assert on_http[1:3] == ("unauthenticated", "TOKEN_MISSING")


@pytest.mark.parametrize("surplus", [1, 1024 * 1024])
async def test_a_message_over_the_limit_is_refused_on_both(edges: Edges, surplus: int) -> None:
    data = b"\x0a" + b"x" * (MESSAGE_MAX_BYTES + surplus - 1)
    async with edges.channel("unit/u1") as channel, edges.http("unit") as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"{CAMERAS}/BatchRegisterCameras")(data)
        on_http = refused_json(
            await client.post(
                f"{CAMERAS}/BatchRegisterCameras", content=data, headers={"content-type": "application/proto"}
            )
        )
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert on_http == (429, "resource_exhausted", "LIMIT_MESSAGE_BYTES", [])


async def test_a_message_of_just_the_limit_is_read_on_both(edges: Edges) -> None:
    unknown_fields = b"\x78\x01" * (MESSAGE_MAX_BYTES // 2)
    async with edges.channel("unit/u1") as channel, edges.http("unit") as client:
        await channel.unary_unary(f"{CAMERAS}/BatchRegisterCameras")(unknown_fields)
        answer = await client.post(
            f"{CAMERAS}/BatchRegisterCameras", content=unknown_fields, headers={"content-type": "application/proto"}
        )
    assert answer.status_code == 200


async def test_a_compressed_bomb_costs_no_memory(edges: Edges) -> None:
    bomb = gzip.compress(bytes(512 * 1024 * 1024), compresslevel=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    async with edges.http("unit", headers=headers) as client:
        answer = await client.post(f"{CAMERAS}/BatchRegisterCameras", content=bomb)
    assert refused_json(answer)[1:3] == ("resource_exhausted", "LIMIT_MESSAGE_BYTES")
    async with edges.channel("unit/u1", compression=grpc.Compression.Gzip) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(f"{CAMERAS}/GetCamera")(bytes(64 * 1024 * 1024))
    assert caught.value.code() in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 200 * 1024, "64 MiB of it the client's own message, twice"


async def test_grpc_frames_on_the_port_of_people_are_told_where_to_go(edges: Edges) -> None:
    async with edges.http("operator") as client:
        for kind in ("application/grpc", "application/grpc+proto", "application/grpc-web+proto"):
            answer = await client.post(f"{CAMERAS}/GetCamera", content=b"", headers={"content-type": kind})
            assert (answer.status_code, answer.json()["reason"]) == (415, "CONTENT_TYPE")
            assert "50051" in answer.json()["detail"]


async def test_methods_that_do_not_exist(edges: Edges) -> None:
    async with edges.http("operator") as client:
        for path in (
            "/vidhub.v1.CameraService/Nothing",
            "/vidhub.v1.Nothing/Get",
            "/vidhub.v1.CameraService",
            "/vidhub.v1.",
        ):
            answer = await client.post(path, json={})
            assert refused_json(answer) == (404, "unimplemented", "METHOD_UNKNOWN", [])
        assert (await client.get("/grpc.health.v1.Health/Check")).status_code == 404
    async with edges.channel("unit/u1") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/vidhub.v1.CameraService/Nothing")(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_get_is_not_a_way_to_call(edges: Edges) -> None:
    async with edges.http("operator") as client:
        answer = await client.get(f"{CAMERAS}/ListCameras", params={"encoding": "json", "message": "{}"})
    assert (answer.status_code, answer.json()["reason"]) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("method", "headers", "status", "reason"),
    [
        ("ListCameras", {"content-type": "text/plain"}, 415, "CONTENT_TYPE"),
        ("ListCameras", {"content-type": "application/connect+json"}, 415, "CONTENT_TYPE"),
        ("WatchCameras", {"content-type": "application/json"}, 415, "CONTENT_TYPE"),
        ("ListCameras", {"connect-timeout-ms": "-5"}, 400, "HEADER_INVALID"),
        ("ListCameras", {"connect-timeout-ms": "12345678901"}, 400, "HEADER_INVALID"),
        ("ListCameras", {"connect-protocol-version": "9"}, 400, "HEADER_INVALID"),
    ],
)
async def test_what_is_no_connect_is_refused_with_a_reason(
    edges: Edges, method: str, headers: dict[str, str], status: int, reason: str
) -> None:
    async with edges.http("operator") as client:
        answer = await client.post(
            f"{CAMERAS}/{method}", content=b"{}", headers={"content-type": "application/json", **headers}
        )
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json()["detail"]


async def test_a_charset_behind_the_content_type_is_no_other_type(edges: Edges) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8", "connect-timeout-ms": "20000"}
    async with edges.http("operator") as client:
        answer = await client.post(f"{CAMERAS}/ListCameras", content=b"{}", headers=headers)
    assert answer.status_code == 200


async def test_a_header_beyond_ascii_is_refused(edges: Edges) -> None:
    async with edges.http("operator") as client:
        answer = await client.post(f"{CAMERAS}/ListCameras", json={}, headers={"x-name": "月湖".encode()})
    assert (answer.status_code, answer.json()["reason"]) == (400, "HEADER_INVALID")


async def test_api_answers_are_kept_nowhere_and_framed_by_nobody(edges: Edges) -> None:
    async with edges.http("operator") as client:
        for answer in (await client.post(f"{CAMERAS}/ListCameras", json={}), await client.get("/nothing")):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert "access-control-allow-origin" not in answer.headers
        assert (await client.post(f"{CAMERAS}/ListCameras", json={})).headers["cache-control"] == "no-store"


async def test_a_header_of_the_hub_is_said_once_whatever_the_answer_says(edges: Edges) -> None:
    async with edges.http("operator") as client:
        for answer in (
            await client.post(f"{CAMERAS}/ListCameras", json={}),
            await client.get(f"{CAMERAS}/ListCameras"),
            await client.post("/vidhub.v1.NoService/Nothing", json={}),
            await client.get("/nothing"),
        ):
            names = [name.lower() for name, _ in answer.headers.raw]
            assert sorted(names) == sorted(set(names))


async def test_the_front_names_the_client(edges: Edges) -> None:
    async with edges.http("") as client:
        for value in ("203.0.113.7", "203.0.113.7:5", "198.51.100.1, [2001:db8::7]:5", "hidden", ""):
            await client.post(f"{CAMERAS}/ListCameras", json={}, headers={"x-forwarded-for": value})
        await client.post(f"{CAMERAS}/ListCameras", json={}, headers={"forwarded": "for=203.0.113.9"})
    assert [entry.source_address for entry in edges.refusals] == [
        "203.0.113.7",
        "203.0.113.7",
        "2001:db8::7",
        "127.0.0.1",
        "127.0.0.1",
        "127.0.0.1",
    ]


async def read_all(stream: grpc.aio.UnaryStreamCall) -> None:
    async for _ in stream:
        pass


async def test_a_caller_that_does_not_wait_is_told_so(edges: Edges) -> None:
    envelope = b"\0\0\0\0\x02{}"
    headers = {"content-type": "application/connect+json", "connect-timeout-ms": "50"}
    async with edges.http("operator", headers=headers) as client:
        answer = await client.post(f"{CAMERAS}/WatchCameras", content=envelope)
    assert b"deadline_exceeded" in answer.content
    async with edges.channel("unit/u1") as channel:
        stream = camera_service_pb2_grpc.CameraServiceStub(channel).WatchCameras(
            camera_service_pb2.WatchCamerasRequest(), timeout=0.5
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read_all(stream)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_calls_are_counted_by_method_and_code(edges: Edges) -> None:
    async with edges.channel("unit/u1") as channel, edges.http("operator") as client:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        await refused(stub.GetCamera(camera_service_pb2.GetCameraRequest(id=ID)))
        await client.post(f"{CAMERAS}/ListCameras", json={})
        await client.post(f"{CAMERAS}/ListCameras", json={"filtre": {}})
    read = edges.telemetry.registry.get_sample_value
    labels = {"method": "vidhub.v1.CameraService/GetCamera", "code": "NOT_FOUND"}
    assert read("vidhub_grpc_requests_total", labels) == 1
    for code in ("OK", "INVALID_ARGUMENT"):
        labels = {"method": "vidhub.v1.CameraService/ListCameras", "code": code}
        assert read("vidhub_connect_requests_total", labels) == 1
