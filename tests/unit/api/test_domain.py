"""A camera's way through both edges, with the real catalogue, grants, sessions, register and core behind them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from support.domain import Domain, camera, person
from support.edges import Edges, refused, refused_json, served

from vidhub.access.addresses import MediaAddresses
from vidhub.access.explain import Explainer
from vidhub.access.purposes import Purposes
from vidhub.api import convert
from vidhub.api.audit import AuditServicer
from vidhub.api.cameras import CameraServicer
from vidhub.api.grants import GrantServicer
from vidhub.api.sessions import SessionServicer
from vidhub.model import Role
from vidhub.store import purposes
from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc

ID = camera().id
CAMERAS = "/vidhub.v1.CameraService"
SESSIONS = "/vidhub.v1.SessionService"
GRANTS = "/vidhub.v1.GrantService"


@pytest.fixture
async def hub(domain: Domain) -> AsyncIterator[Edges]:
    domain.sessions.serve_at(MediaAddresses(http="http://127.0.0.1:8080", rtsp="127.0.0.1:8554"))
    register = Purposes(await domain.store.read(purposes.load))
    explainer = Explainer(store=domain.store, core=domain.core, purposes=register)
    servicers: dict[str, object] = {
        "vidhub.v1.CameraService": CameraServicer(domain.catalogue, domain.telemetry, snapshots=domain.snapshots),
        "vidhub.v1.SessionService": SessionServicer(domain.sessions),
        "vidhub.v1.GrantService": GrantServicer(domain.grants, explainer),
        "vidhub.v1.AuditService": AuditServicer(domain.audit),
    }
    async with served(servicers, domain.audit.refusal) as edges:
        for name, role in (("zhang", Role.OPERATOR), ("wang", Role.OPERATOR), ("li", Role.APPROVER)):
            edges.directory.people[name] = await domain.add_user(person(name, role))
        yield edges


def message(number: int = 1, **changed: object) -> camera_pb2.Camera:
    given = camera(number, **changed)
    found = convert.to_camera(given)
    for stream, said in zip(found.streams, given.streams, strict=True):
        stream.password = said.password
    return found


async def register(hub: Edges, *cameras: camera_pb2.Camera) -> camera_service_pb2.BatchRegisterCamerasResponse:
    async with hub.channel("unit/u1") as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        answer: camera_service_pb2.BatchRegisterCamerasResponse = await stub.BatchRegisterCameras(
            camera_service_pb2.BatchRegisterCamerasRequest(cameras=cameras)
        )
        return answer


async def grant(hub: Edges, **changed: object) -> httpx.Response:
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    wanted = {
        "username": "zhang",
        "scope": {"cameraIds": [ID]},
        "actions": ["ACTION_VIEW_LIVE"],
        "purposes": ["patrol"],
        "notAfter": until,
        "reason": "night shift",
        **changed,
    }
    async with hub.http("li") as client:
        return await client.post(f"{GRANTS}/CreateGrant", json={"grant": wanted})


async def open_session(hub: Edges, who: str, **body: object) -> httpx.Response:
    async with hub.http(who) as client:
        return await client.post(f"{SESSIONS}/OpenSession", json={"cameraId": ID, **body})


async def test_cameras_are_counted_and_put_on_a_map_as_far_as_the_caller_may_know(hub: Edges) -> None:
    await register(hub, message(1), message(2))
    await grant(hub)
    async with hub.http("zhang") as client:
        counts = (await client.post(f"{CAMERAS}/CountCameras", json={"groupBy": "CAMERA_GROUPING_REGION"})).json()
        points = (await client.post(f"{CAMERAS}/ListPoints", json={})).json()
        wrong = await client.post(f"{CAMERAS}/CountCameras", json={"regionDigits": 3})
    row = {"cameras": "1", "states": [{"state": "CAMERA_STATE_UNKNOWN", "cameras": "1"}]}
    assert (counts["counts"], counts["total"]) == ([{"key": "360602", **row}], row)
    assert (points["ids"], points["latitudesE6"], points["longitudesE6"]) == ([ID], [28_240_000], [117_030_000])
    assert points["states"] == ["CAMERA_STATE_UNKNOWN"]
    assert wrong.status_code == 400


async def test_what_a_person_does_is_on_record_under_the_trace_of_the_call(hub: Edges) -> None:
    await register(hub, message())
    await grant(hub)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with hub.http("zhang") as client:
        client.headers["traceparent"] = f"00-{trace}-00f067aa0ba902b7-01"
        body = {"cameraId": ID, "purpose": {"kind": "patrol"}}
        session = (await client.post(f"{SESSIONS}/OpenSession", json=body)).json()["session"]["id"]
        refused = await client.post(f"{SESSIONS}/OpenSession", json={**body, "purpose": {"kind": "traffic"}})
        assert refused.status_code == 403
        del client.headers["traceparent"]
        await client.post(f"{SESSIONS}/CloseSession", json={"sessionId": session})
    hub.directory.people["sup"] = person("sup", Role.SUPERVISOR)
    async with hub.http("sup") as client:
        found = {}
        for action in ("session.open", "session.refused", "session.close", "grant.create"):
            page = await client.post("/vidhub.v1.AuditService/ListEntries", json={"action": action})
            found[action] = [entry["traceId"] for entry in page.json()["entries"]]
    assert found["session.open"] == found["session.close"] == found["session.refused"] == [trace]
    (own,) = found["grant.create"]
    assert re.fullmatch("[0-9a-f]{32}", own)
    assert own != trace


async def test_a_camera_is_registered_granted_watched_and_retired(hub: Edges, domain: Domain) -> None:
    assert list((await register(hub, message())).ids) == [ID]
    given = (await grant(hub)).json()["grant"]
    async with hub.http("zhang") as client:
        page = (await client.post(f"{CAMERAS}/ListCameras", json={"filter": {"regionPrefix": "36"}})).json()
        assert [one["id"] for one in page["cameras"]] == [ID]
        assert page["totalSize"] == "1"
        opened = (await open_session(hub, "zhang", purpose={"kind": "patrol"})).json()
        assert opened["whepUrl"] == f"http://127.0.0.1:8080/whep/{ID}"
        assert opened["session"]["grantId"] == given["id"]
        assert opened["session"]["profile"] == "STREAM_PROFILE_AUTO"
        assert opened["ticket"] in opened["rtspUrl"]
        assert len(opened["rtspPassword"]) == 24
        renewed = await client.post(f"{SESSIONS}/RenewSession", json={"sessionId": opened["session"]["id"]})
        assert renewed.json()["ticket"] != ""
        listed = (await client.post(f"{SESSIONS}/ListSessions", json={})).json()["sessions"]
        assert [one["id"] for one in listed] == [opened["session"]["id"]]
        assert "rtspPassword" not in str(listed)
        closed = await client.post(f"{SESSIONS}/CloseSession", json={"sessionId": opened["session"]["id"]})
        assert closed.status_code == 200
    async with hub.channel("unit/u1") as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        await stub.RetireCamera(camera_service_pb2.RetireCameraRequest(id=ID, reason="taken down"))
        assert (await refused(stub.GetCamera(camera_service_pb2.GetCameraRequest(id=ID))))[1] == "CAMERA_NOT_FOUND"
    actions = [entry.record.action for entry in await domain.entries()]
    assert actions[:3] == ["camera.register", "grant.create", "session.open"]
    assert "camera.retire" in actions


@pytest.mark.parametrize(
    ("who", "purpose", "code", "reason"),
    [
        ("zhang", None, "invalid_argument", "PURPOSE_MISSING"),
        ("zhang", {"kind": "curiosity"}, "invalid_argument", "PURPOSE_UNKNOWN"),
        ("zhang", {"kind": "investigation"}, "invalid_argument", "PURPOSE_REFERENCE_MISSING"),
        ("zhang", {"kind": "traffic"}, "permission_denied", "PURPOSE_NOT_GRANTED"),
        ("administrator", {"kind": "patrol"}, "permission_denied", "ROLE_SEES_NO_VIDEO"),
    ],
)
async def test_a_refused_session_says_why_and_is_on_record_once(
    hub: Edges, domain: Domain, who: str, purpose: Any, code: str, reason: str
) -> None:
    await register(hub, message())
    await grant(hub)
    answer = await open_session(hub, who, **({"purpose": purpose} if purpose else {}))
    assert refused_json(answer)[1:3] == (code, reason)
    (entry,) = await domain.entries("session.refused")
    assert (entry.record.principal, entry.record.result) == (f"user/{who}", reason)


async def test_what_is_not_granted_is_not_known(hub: Edges) -> None:
    await register(hub, message())
    await grant(hub)
    async with hub.http("wang") as client:
        assert (await client.post(f"{CAMERAS}/ListCameras", json={})).json().get("cameras") is None
        answer = await client.post(f"{CAMERAS}/GetCamera", json={"id": ID})
        assert refused_json(answer)[:3] == (404, "not_found", "CAMERA_NOT_FOUND")
    answer = await open_session(hub, "wang", purpose={"kind": "patrol"})
    assert refused_json(answer)[1] in {"not_found", "permission_denied"}


async def test_nobody_grants_to_themselves_and_it_is_on_record_once(hub: Edges, domain: Domain) -> None:
    answer = await grant(hub, username="li")
    assert refused_json(answer)[1:3] == ("permission_denied", "GRANT_TO_SELF")
    (entry,) = await domain.entries("grant.refused")
    assert entry.record.result == "GRANT_TO_SELF"


async def test_records_that_break_rules_say_which_in_one_vocabulary(hub: Edges) -> None:
    answer = await register(
        hub,
        message(1, name=""),
        message(2, region_code="999999"),
        message(3, region_code="abc"),
        message(4, industry="zz"),
        message(5, id="12"),
        message(6),
    )
    seen = {row.index: [(one.field, one.reason) for one in row.violations] for row in answer.rejected}
    assert seen == {
        0: [("name", "NAME_MISSING")],
        1: [("region_code", "REGION_UNKNOWN")],
        2: [("region_code", "REGION_UNKNOWN")],
        3: [("industry", "INDUSTRY_UNKNOWN")],
        4: [("id", "ID_INVALID")],
    }
    assert list(answer.ids)[:5] == [""] * 5
    read = hub.telemetry.registry.get_sample_value
    assert read("vidhub_registrations_total", {"result": "accepted"}) is not None


async def test_a_mask_changes_its_fields_alone(hub: Edges) -> None:
    await register(hub, message())
    async with hub.channel("unit/u1") as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        changed = await stub.UpdateCamera(
            camera_service_pb2.UpdateCameraRequest(
                camera=camera_pb2.Camera(id=ID, name="西门"), update_mask=FieldMask(paths=["name"])
            )
        )
        assert (changed.camera.name, changed.camera.region_code) == ("西门", "360602")
        wrong = camera_service_pb2.UpdateCameraRequest(
            camera=camera_pb2.Camera(id=ID), update_mask=FieldMask(paths=["revision"])
        )
        assert (await refused(stub.UpdateCamera(wrong)))[1] == "MASK_FIELD_READ_ONLY"
    hub.directory.people["school"] = person("school", Role.UNIT, unit_id="u1")
    async with hub.http("school") as client:
        body = {"camera": {"id": ID, "location": {"latitude": 28.5}}, "updateMask": "location.latitude"}
        answer = (await client.post(f"{CAMERAS}/UpdateCamera", json=body)).json()
        assert (answer["camera"]["location"]["latitude"], answer["camera"]["location"]["longitude"]) == (28.5, 117.03)
        assert "password" not in answer["camera"]["streams"][0]


async def test_another_units_camera_is_neither_taken_nor_told_of(hub: Edges) -> None:
    await register(hub, message())
    async with hub.channel("unit/u2") as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        taken = await refused(stub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=message())))
        assert taken[:2] == ("ALREADY_EXISTS", "CAMERA_ID_TAKEN")
        posing = camera_service_pb2.RegisterCameraRequest(camera=message(2, unit_id="u1"))
        assert (await refused(stub.RegisterCamera(posing)))[:2] == ("PERMISSION_DENIED", "UNIT_NOT_YOURS")
        retire = camera_service_pb2.RetireCameraRequest(id=ID, reason="mine now")
        assert (await refused(stub.RetireCamera(retire)))[:2] == ("NOT_FOUND", "CAMERA_NOT_FOUND")


async def test_changes_reach_a_watcher_as_they_happen(hub: Edges) -> None:
    async with hub.channel("unit/u1") as channel:
        stream = camera_service_pb2_grpc.CameraServiceStub(channel).WatchCameras(
            camera_service_pb2.WatchCamerasRequest()
        )
        assert (await stream.read()).WhichOneof("event") == "synced"
        await register(hub, message())
        seen = await stream.read()
        while seen.WhichOneof("event") != "upserted":
            seen = await stream.read()
        assert seen.upserted.id == ID
        stream.cancel()
