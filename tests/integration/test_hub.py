"""A whole hub, from the enrolment of a unit to the end of a session, over its real ports."""

import asyncio
import contextlib
import json
import signal
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from support.hub import PASSWORD, PATIENCE_S, Ended, HubProcess, Person, camera_message, enrol, hub, person

from vidhub import app, config
from vidhub.errors import VidhubError
from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

PATROL = {"kind": "patrol"}


async def operator(running: HubProcess, name: str = "zhang") -> dict[str, Any]:
    """An operator who may watch Yingtan; returns the grant."""
    await running.ask("user_add", name=name, roles=["operator"], password=PASSWORD, department="指挥中心")
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    return await running.ask(
        "grant_create",
        username=name,
        region_prefixes=["3606"],
        actions=["view_live"],
        purposes=["patrol"],
        not_after=until,
    )


async def connect_cameras(running: HubProcess, *numbers: int) -> None:
    unit = await enrol(running)
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        answer = await stub.BatchRegisterCameras(
            camera_service_pb2.BatchRegisterCamerasRequest(cameras=[camera_message(number) for number in numbers])
        )
    assert (len(answer.ids), len(answer.rejected)) == (len(numbers), 0)


async def opened(caller: Person, number: int = 1) -> dict[str, Any]:
    answer = await caller.call("SessionService/OpenSession", cameraId=camera_message(number).id, purpose=PATROL)
    assert "ticket" in answer, answer
    return answer


async def end_of(caller: Person, session_id: str) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = await caller.call("SessionService/ListSessions", includeEnded=True)
        session = next(one for one in answer["sessions"] if one["id"] == session_id)
        if session.get("endReason") or time.monotonic() > deadline:
            return session.get("endReason", "")


async def drained(watch: Any) -> None:
    while True:
        await watch.read()


async def test_a_camera_is_registered_found_watched_and_taken_away(tmp_path):
    async with hub(tmp_path / "data") as running:
        await connect_cameras(running, 1, 2)
        given = await operator(running)
        async with person(running, "zhang") as caller:
            found = await caller.call("CameraService/ListCameras", filter={"text": "东门1"})
            assert [one["id"] for one in found["cameras"]] == [camera_message(1).id]
            answer = await opened(caller)
            assert answer["whepUrl"] == f"{running.url}/whep/{camera_message(1).id}"
            assert answer["rtspUrl"].startswith(f"rtsp://{running.ready['rtsp']}/{camera_message(1).id}?ticket=")
            assert len(answer["rtspPassword"]) == 24
            assert answer["watermark"].endswith("127.0.0.1")
            session_id = answer["session"]["id"]

            await running.ask("grant_revoke", id=given["id"], reason="调岗")
            assert await end_of(caller, session_id) == "GRANT_REVOKED"
            refused = await caller.call("SessionService/OpenSession", cameraId=camera_message(1).id, purpose=PATROL)
            assert (refused["code"], refused["reason"]) == ("permission_denied", "NO_GRANT")

        async with asyncio.timeout(PATIENCE_S):
            while True:  # whoever watched is told of the end before it is on record
                actions = [entry["action"] for entry in reversed((await running.ask("audit_list"))["entries"])]
                if "session.close" in actions:
                    break
                await asyncio.sleep(0.02)
        for action in (
            "unit.token",
            "camera.register",
            "grant.create",
            "session.open",
            "grant.revoke",
            "session.close",
        ):
            assert action in actions
        assert actions.index("session.open") < actions.index("grant.revoke") < actions.index("session.close")
        verdict = await running.ask("audit_verify")
        assert (verdict["intact"], verdict["first_bad"]) == (True, None)
        assert await running.end() == 0
        log = "".join(running.said)
        for secret in ("hunter22", PASSWORD, answer["ticket"], answer["rtspPassword"]):
            assert secret not in log


async def test_a_suspended_user_is_out_at_once(tmp_path):
    async with hub(tmp_path / "data") as running:
        await connect_cameras(running, 1)
        await operator(running)
        await running.ask("user_add", name="sup", roles=["supervisor"], password=PASSWORD)
        async with person(running, "zhang") as caller, person(running, "sup") as supervisor:
            session_id = (await opened(caller))["session"]["id"]
            await running.ask("user_suspend", name="zhang")
            assert await end_of(supervisor, session_id) == "USER_SUSPENDED"
            refused = await caller.call("SessionService/ListSessions")
            assert refused["code"] == "unauthenticated"


async def test_a_crash_loses_no_record_and_closes_what_was_open(tmp_path):
    data = tmp_path / "data"
    async with hub(data) as running:
        await connect_cameras(running, 1)
        await operator(running)
        async with person(running, "zhang") as caller:
            session_id = (await opened(caller))["session"]["id"]
        assert await running.end(signal.SIGKILL) == -signal.SIGKILL
    async with hub(data) as running:
        async with person(running, "zhang") as caller:
            assert await end_of(caller, session_id) == "SESSION_LOST"
            found = await caller.call("CameraService/ListCameras")
            assert [one["id"] for one in found["cameras"]] == [camera_message(1).id]
        assert (await running.ask("audit_verify"))["intact"]
        closings = [
            entry for entry in (await running.ask("audit_list", action="session.close"))["entries"]
            if entry["sessionId"] == session_id
        ]  # fmt: skip
        assert [json.loads(entry["detailJson"])["end_reason"] for entry in closings] == ["SESSION_LOST"]


async def test_after_a_clean_stop_sessions_are_renewed(tmp_path):
    data = tmp_path / "data"
    async with hub(data) as running:
        await connect_cameras(running, 1)
        await operator(running)
        async with person(running, "zhang") as caller:
            first = await opened(caller)
        assert await running.end() == 0
    async with hub(data) as running, person(running, "zhang") as caller:
        renewed = await caller.call("SessionService/RenewSession", sessionId=first["session"]["id"])
        assert renewed["ticket"] != first["ticket"]
        assert renewed["session"]["id"] == first["session"]["id"]


async def test_a_watch_over_the_public_port_follows_a_registration(tmp_path):
    async with hub(tmp_path / "data") as running:
        unit = await enrol(running)
        async with unit.channel() as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            watch = stub.WatchCameras(camera_service_pb2.WatchCamerasRequest())
            first = await asyncio.wait_for(watch.read(), PATIENCE_S)
            assert first.WhichOneof("event") == "synced"
            await stub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=camera_message(7)))
            async with asyncio.timeout(PATIENCE_S):
                while (event := await watch.read()).WhichOneof("event") != "upserted":
                    pass
            assert event.upserted.id == camera_message(7).id
            assert event.upserted.streams[0].url == ""
            # A revoked certificate loses its running calls.
            await running.ask("unit_revoke", unit_id=unit.id, reason="lost")
            with pytest.raises(grpc.aio.AioRpcError) as cut:
                await asyncio.wait_for(drained(watch), PATIENCE_S)
            assert cut.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_hub_that_is_told_to_stop_does_not_wait_for_those_who_only_watch(tmp_path):
    async with hub(tmp_path / "data") as running:
        unit = await enrol(running)
        async with unit.channel() as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            watch = stub.WatchCameras(camera_service_pb2.WatchCamerasRequest())
            await asyncio.wait_for(watch.read(), PATIENCE_S)
            began = time.monotonic()
            assert await running.end() == 0
            assert time.monotonic() - began < 4
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await asyncio.wait_for(drained(watch), PATIENCE_S)
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_kill_in_the_middle_of_an_import_keeps_what_was_answered(tmp_path):
    data = tmp_path / "data"
    batches = [range(start, start + 200) for start in range(1, 8_001, 200)]
    answered: list[str] = []
    room = asyncio.Condition()
    async with hub(data) as running:
        unit = await enrol(running)

        async def requests() -> Any:
            for batch in batches:
                async with room:  # a few at once: the hub is not through with them all when it is killed
                    await room.wait_for(lambda batch=batch: len(answered) > batch.start - 5 * 200)
                yield camera_service_pb2.RegisterCamerasRequest(cameras=[camera_message(number) for number in batch])

        async with unit.channel() as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for answer in stub.RegisterCameras(requests()):
                    assert not answer.rejected
                    answered += answer.ids
                    if len(answered) == 3_000:
                        running.process.send_signal(signal.SIGKILL)
                    async with room:
                        room.notify_all()
        await running.end(signal.SIGKILL)
    assert 3_000 <= len(answered) < 8_000
    async with hub(data) as running:
        found = [one["id"] for one in (await running.ask("camera_list"))["cameras"]]
        assert len(found) == len(set(found))
        assert set(answered) <= set(found)
        assert len(found) % 200 == 0  # no batch by halves
        assert (await running.ask("audit_verify"))["intact"]


async def test_a_data_directory_has_one_hub(tmp_path):
    async with hub(tmp_path / "data") as running:
        with pytest.raises(Ended) as second:
            async with hub(tmp_path / "data"):
                pass
        assert second.value.status == 1
        error = json.loads(second.value.said.splitlines()[-1])["error"]
        assert error["reason"] == "HUB_RUNNING"
        assert str(running.ready["pid"]) in error["message"]


@pytest.mark.parametrize("name", ["http", "grpc", "rtsp", "webrtc", "metrics"])
async def test_a_port_in_use_names_its_option(tmp_path, name):
    kind = socket.SOCK_DGRAM if name == "webrtc" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        with pytest.raises(Ended) as refused:
            async with hub(tmp_path / "data", f"--{name}", f"127.0.0.1:{taken.getsockname()[1]}"):
                pass
    assert refused.value.status == 1
    error = json.loads(refused.value.said.splitlines()[-1])["error"]
    assert error["reason"] == "LISTENER_IN_USE"
    assert f"--{name}" in error["message"]


async def test_what_is_off_is_null_and_a_long_path_is_no_obstacle(tmp_path):
    data = tmp_path / ("d" * 120) / "data"
    async with hub(data, "--rtsp", "off", "--webrtc", "off") as running:
        assert running.ready["rtsp"] is running.ready["webrtc"] is running.ready["sip"] is None
        options = config.load(environment={}, flags={"data_dir": data})
        found = await asyncio.to_thread(app.administer, options, "user_list", {})
        assert [user["name"] for user in found["users"]] == ["admin"]
        async with httpx.AsyncClient(trust_env=False) as client:
            metrics = (await client.get(f"http://{running.ready['metrics']}/metrics")).text
            assert "vidhub_registrations_total" in metrics
            assert (await client.get(f"http://{running.ready['metrics']}/readyz")).status_code == 200
            answer = await client.post(f"{running.url}/vidhub.v1.AuthService/WhoAmI", json={})
            assert answer.status_code == 401


async def test_the_first_administrator_changes_the_password_first(tmp_path):
    data = tmp_path / "data"
    async with hub(data) as running:
        initial = (data / "initial-password").read_text().strip()
        async with person(running, "admin", initial) as caller:
            refused = await caller.call("CameraService/ListCameras")
            assert (refused["code"], refused["reason"]) == ("failed_precondition", "PASSWORD_CHANGE_REQUIRED")
            await caller.call("AuthService/ChangePassword", oldPassword=initial, newPassword=PASSWORD)
        async with person(running, "admin") as caller:
            assert "code" not in await caller.call("CameraService/ListCameras")
            refused = await caller.call("SessionService/OpenSession", cameraId=camera_message(1).id, purpose=PATROL)
            assert refused["reason"] == "ROLE_SEES_NO_VIDEO"


async def test_the_command_line_works_before_the_first_start_and_finds_what_it_did(tmp_path):
    data: Path = tmp_path / "data"
    options = config.load(environment={"VIDHUB_HUB__ID": "yingtan"}, flags={"data_dir": data})
    added = await asyncio.to_thread(
        app.administer,
        options,
        "user_add",
        {"name": "root", "roles": ["administrator"], "password": PASSWORD},
    )
    assert added["role"] == "administrator"
    async with hub(data) as running, person(running, "root") as caller:
        assert not (data / "initial-password").exists()
        assert (await caller.call("AuthService/WhoAmI"))["roles"] == ["ROLE_ADMINISTRATOR"]
    other = config.load(environment={"VIDHUB_HUB__ID": "guixi"}, flags={"data_dir": data})
    with pytest.raises(VidhubError, match="HUB_ID_SETTLED"):
        await asyncio.to_thread(app.administer, other, "user_list", {})


async def test_a_terminal_that_is_closed_ends_a_hub_as_a_stop_does(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with hub(data) as running:
        assert await running.end(signal.SIGHUP) == 0
    async with hub(data) as running:
        await running.ask("user_add", name="li", roles=["supervisor"], password=PASSWORD)
        async with person(running, "li") as supervisor:
            events = (await supervisor.call("EventService/ListEvents")).get("events", [])
        assert "hub.crashed" not in {one["kind"] for one in events}
