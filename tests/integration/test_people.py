"""People, units and purposes through a whole hub: by browser on 8080, by a unit's certificate on 50051."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from support.hub import PASSWORD, PATIENCE_S, HubProcess, Person, enrol, person
from support.site import Site, cli, site

from vidhub.v1 import unit_service_pb2, unit_service_pb2_grpc

ADMIN = "root"


@asynccontextmanager
async def administrator(at: Site) -> AsyncIterator[Person]:
    await at.running.ask("user_add", name=ADMIN, roles=["administrator"], password=PASSWORD)
    async with person(at.running, ADMIN) as root:
        yield root


@asynccontextmanager
async def with_one_time_password(running: HubProcess, name: str, word: str) -> AsyncIterator[Person]:
    """As a person who was handed it: logs in, changes it, and goes on."""
    async with httpx.AsyncClient(base_url=running.url, timeout=PATIENCE_S, trust_env=False) as client:
        caller = Person(client)
        login = await caller.call("AuthService/Login", username=name, password=word)
        assert login["mustChangePassword"]
        client.headers["Authorization"] = f"Bearer {login['accessToken']}"
        assert (await caller.call("UserService/ListLogins"))["reason"] == "PASSWORD_CHANGE_REQUIRED"
        assert "code" not in await caller.call("AuthService/ChangePassword", oldPassword=word, newPassword=PASSWORD)
        yield caller


async def test_an_account_from_its_first_login_to_its_suspension(tmp_path: Path) -> None:
    async with site(tmp_path / "data") as at, administrator(at) as root:
        wanted = {"name": "zhang", "displayName": "张伟", "department": "治安", "roles": ["ROLE_OPERATOR"]}
        made = await root.call("UserService/CreateUser", user=wanted)
        assert made["user"]["state"] == "USER_STATE_NEW"
        again = await root.call("UserService/CreateUser", user=wanted)
        assert again["reason"] == "USER_EXISTS"
        bad = await root.call(
            "UserService/CreateUser", user={"name": "li", "roles": ["ROLE_OPERATOR", "ROLE_ADMINISTRATOR"]}
        )
        assert bad["reason"] == "ROLES_EXCLUDE"
        [row] = next(one["debug"]["fieldViolations"] for one in bad["details"] if "fieldViolations" in one["debug"])
        assert row["field"] == "user.roles"
        async with with_one_time_password(at.running, "zhang", made["oneTimePassword"]) as zhang:
            camera = await at.register(1, "rtsp://192.0.2.1/1")
            await at.grant("zhang")
            opened = await zhang.call("SessionService/OpenSession", cameraId=camera, purpose={"kind": "patrol"})
            assert "ticket" in opened
            [login] = (await zhang.call("UserService/ListLogins"))["logins"]
            assert (login["username"], login["current"], login["sourceAddress"]) == ("zhang", True, "127.0.0.1")
            assert login["client"].startswith("python-httpx/")
            assert (await zhang.call("UserService/ListLogins", username="*"))["reason"] == "ROLE_MISSING"
            assert (await zhang.call("UserService/ListUsers"))["reason"] == "ROLE_NOT_PERMITTED"
            everybody = (await root.call("UserService/ListLogins", username="*"))["logins"]
            assert {one["username"] for one in everybody} == {"zhang", ADMIN}
            moved = await root.call(
                "UserService/UpdateUser", user={"name": "zhang", "department": "交警"}, updateMask="department"
            )
            assert (moved["user"]["department"], moved["user"]["displayName"]) == ("交警", "张伟")
            assert (await zhang.call("AuthService/WhoAmI"))["reason"] == "LOGIN_REVOKED"
            [ended] = (await root.call("SessionService/ListSessions", includeEnded=True))["sessions"]
            assert ended["endReason"] == "POLICY_CHANGED"
        assert (await root.call("UserService/SuspendUser", name=ADMIN))["reason"] == "SELF_SUSPENSION"
        assert (await root.call("UserService/UpdateUser", user={"name": "zhang"}, updateMask="name"))[
            "reason"
        ] == "UPDATE_MASK"
        gone = await root.call("UserService/SuspendUser", name="zhang", reason="离职")
        assert gone["user"]["state"] == "USER_STATE_SUSPENDED"
        found = await root.call("UserService/ListUsers", state="USER_STATE_SUSPENDED")
        assert ([one["name"] for one in found["users"]], found["totalSize"]) == (["zhang"], 1)
        assert (await root.call("UserService/ResumeUser", name="zhang"))["user"]["state"] == "USER_STATE_ACTIVE"
        assert (await root.call("UserService/ResetPassword", name=ADMIN))["reason"] == "SELF_CHANGE"
        fresh = await root.call("UserService/ResetPassword", name="zhang")
        async with with_one_time_password(at.running, "zhang", fresh["oneTimePassword"]) as zhang:
            [login] = (await zhang.call("UserService/ListLogins"))["logins"]
            assert (await zhang.call("UserService/EndLogin", id=login["id"]))["reason"] == "LOGIN_CURRENT"
            async with person(at.running, "zhang") as elsewhere:
                assert "code" not in await elsewhere.call("UserService/EndLogin", id=login["id"])
                assert (await zhang.call("UserService/ListLogins"))["reason"] == "LOGIN_REVOKED"
        actions = [entry["action"] for entry in await at.entries(principal=f"user/{ADMIN}")]
        steps = ("add", "update", "suspend", "resume", "passwd")
        assert [one for one in reversed(actions) if one.startswith("user.")] == [f"user.{step}" for step in steps]
        said = "".join(at.running.said) + json.dumps(await at.entries())
        assert made["oneTimePassword"] not in said
        assert fresh["oneTimePassword"] not in said


async def test_an_owner_is_let_in_beside_a_guesser(tmp_path: Path) -> None:
    async with site(tmp_path / "data") as at:
        await at.operator()
        async with httpx.AsyncClient(base_url=at.running.url, timeout=PATIENCE_S, trust_env=False) as browser:
            owner = Person(browser)
            right = {"username": "zhang", "password": PASSWORD}
            assert "accessToken" in await owner.call("AuthService/Login", **right)
            mark = browser.cookies["vidhub_device"]
            async with httpx.AsyncClient(base_url=at.running.url, timeout=PATIENCE_S, trust_env=False) as other:
                guesser = Person(other)
                said = [
                    (await guesser.call("AuthService/Login", username="zhang", password=f"wrong {n}"))["reason"]
                    for n in range(8)
                ]
                assert said.count("LOGIN_FAILED") >= 5
                assert (await guesser.call("AuthService/Login", **right))["reason"] == "LOGIN_BACKOFF"
            assert "accessToken" in await owner.call("AuthService/Login", **right)
            assert browser.cookies["vidhub_device"] == mark
            assert (await Person(browser).call("AuthService/WhoAmI"))["reason"] == "TOKEN_MISSING"


async def test_a_unit_is_invited_enrols_sees_its_certificate_and_is_cut_off(tmp_path: Path) -> None:
    async with site(tmp_path / "data") as at, administrator(at) as root:
        await at.register(1, "rtsp://192.0.2.1/1")
        token = await root.call("UnitService/CreateEnrolmentToken", name="第二中学", regionCode="360602", industry="11")
        assert (token["fileName"], token["unit"]["state"]) == ("第二中学.enrolment.json", "UNIT_STATE_INVITED")
        assert set(json.loads(token["enrolmentJson"])) >= {"hub", "ca_pem", "claim_certificate_pem", "claim_key_pem"}
        unit = await enrol(at.running, "第二中学")
        assert unit.id == token["unit"]["id"]
        listed = await root.call("UnitService/ListUnits", regionPrefix="3606")
        rows = {one["name"]: one for one in listed["units"]}
        assert (listed["totalSize"], rows["第一中学"]["cameras"]) == (2, 1)
        assert "certificateExpireTime" in rows["第二中学"]
        async with unit.channel() as channel:
            stub = unit_service_pb2_grpc.UnitServiceStub(channel)
            own = await stub.GetUnit(unit_service_pb2.GetUnitRequest(), timeout=PATIENCE_S)
            assert own.unit.name == "第二中学"
            assert [one.state for one in own.certificates if not one.claim] == [1]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetUnit(unit_service_pb2.GetUnitRequest(id=at.unit.id), timeout=PATIENCE_S)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ListUnits(unit_service_pb2.ListUnitsRequest(), timeout=PATIENCE_S)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            await at.running.ask("user_add", name="laoshi", roles=["unit"], password=PASSWORD, unit_id=unit.id)
            async with person(at.running, "laoshi") as teacher:
                me = await teacher.call("AuthService/WhoAmI")
                assert (me["unitId"], me["unitName"]) == (unit.id, "第二中学")
                assert (await teacher.call("UnitService/GetUnit"))["unit"]["id"] == unit.id
                assert (await teacher.call("UnitService/GetUnit", id=at.unit.id))["reason"] == "UNIT_UNKNOWN"
                assert (await teacher.call("UnitService/ListUnits"))["reason"] == "ROLE_NOT_PERMITTED"
            revoked = await root.call("UnitService/RevokeUnit", id=unit.id, reason="设备被盗")
            assert (revoked["unit"]["state"], revoked["revoked"]) == ("UNIT_STATE_REVOKED", 1)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetUnit(unit_service_pb2.GetUnitRequest(), timeout=PATIENCE_S)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        found = await root.call("UnitService/GetUnit", id=unit.id)
        assert {one["revokeReason"] for one in found["certificates"] if not one.get("claim")} == {"设备被盗"}


async def test_the_register_of_purposes_is_kept_and_at_once_in_force(tmp_path: Path) -> None:
    async with site(tmp_path / "data") as at, administrator(at) as root:
        await at.operator()
        flood = {"kind": "flood", "name": "防汛", "nameEn": "Flood control"}
        async with person(at.running, "zhang") as zhang:
            assert (await zhang.call("PurposeService/CreatePurpose", purpose=flood))["reason"] == "ROLE_NOT_PERMITTED"
            assert (await root.call("PurposeService/CreatePurpose", purpose=flood))["purpose"]["kind"] == "flood"
            assert kinds(await zhang.call("PurposeService/ListPurposes"))[-1] == "flood"
            status = await zhang.call("SystemService/GetStatus")
            assert [one["kind"] for one in status["purposes"]][-1] == "flood"
            camera = await at.register(1, "rtsp://192.0.2.1/1")
            await at.grant("zhang", purposes=("flood",))
            wanted: dict[str, Any] = {"cameraId": camera, "purpose": {"kind": "flood"}}
            opened = await zhang.call("SessionService/OpenSession", **wanted)
            assert "ticket" in opened
            gone = await root.call("PurposeService/RetirePurpose", kind="flood", reason="汛期已过")
            assert "retireTime" in gone["purpose"]
            assert (await zhang.call("SessionService/OpenSession", **wanted))["reason"] == "PURPOSE_RETIRED"
            renewal = await zhang.call("SessionService/RenewSession", sessionId=opened["session"]["id"])
            assert renewal["reason"] == "PURPOSE_RETIRED"
            assert "flood" not in kinds(await zhang.call("PurposeService/ListPurposes"))
            assert "flood" in kinds(await zhang.call("PurposeService/ListPurposes", includeRetired=True))
        assert [entry["resource"] for entry in await at.entries(action="purpose.retire")] == ["purpose/flood"]


async def test_a_grant_of_weekly_hours_explained_by_api_and_command_line(tmp_path: Path) -> None:
    async with site(tmp_path / "data", TZ="Asia/Shanghai") as at, administrator(at) as root:
        camera = await at.register(1, "rtsp://192.0.2.1/1")
        data = ("--data-dir", at.running.data)
        await at.running.ask("user_add", name="zhang", roles=["operator"], password=PASSWORD)
        status = await root.call("SystemService/GetStatus")
        assert status["utcOffsetS"] == 8 * 3_600
        local = datetime.now(timezone(timedelta(hours=8)))
        later = local + timedelta(hours=2)
        hours = {
            "days": [later.isoweekday()],
            "startMinute": later.hour * 60 + later.minute,
            "endMinute": (later.hour * 60 + later.minute + 22 * 60) % 1440,
        }
        hours = {key: value for key, value in hours.items() if value}  # JSON leaves nothing out but what is nothing
        wanted = {
            "username": "zhang",
            "scope": {"cameraIds": [camera]},
            "actions": ["ACTION_VIEW_LIVE"],
            "purposes": ["patrol"],
            "notAfter": (local + timedelta(days=30)).isoformat(),
            "weeklyHours": [hours],
        }
        given = (await root.call("GrantService/CreateGrant", grant=wanted))["grant"]
        assert (given["createdBy"], given["weeklyHours"]) == (f"user/{ADMIN}", [hours])
        question = {"username": "zhang", "cameraId": camera, "action": "ACTION_VIEW_LIVE", "purpose": "patrol"}
        found = await root.call("GrantService/ExplainGrant", **question)
        assert (found.get("allowed", False), found["reason"]) == (False, "NO_GRANT")
        assert [miss["reason"] for miss in found["grants"][0]["misses"]] == ["OUTSIDE_HOURS"]
        async with person(at.running, "zhang") as zhang:
            refusal = await zhang.call("SessionService/OpenSession", cameraId=camera, purpose={"kind": "patrol"})
            assert refusal["reason"] == found["reason"]
            assert (await zhang.call("GrantService/ExplainGrant", **question))["reason"] == "CAMERA_NOT_FOUND"
            days = "mon,tue,wed,thu,fri,sat,sun"
            until = wanted["notAfter"]
            words = ("--camera", camera, "--action", "view_live", "--purpose", "patrol", "--until", until)
            made = await cli("grant", "create", "--user", "zhang", *words, "--hours", f"{days} 00:00-24:00", *data)
            assert made.status == 0, made.err
            told = await cli("grant", "explain", "zhang", camera, "view_live", "--purpose", "patrol", *data)
            assert (told.answer["allowed"], told.answer["grantId"]) == (True, made.answer["id"])
            assert "ticket" in await zhang.call(
                "SessionService/OpenSession", cameraId=camera, purpose={"kind": "patrol"}
            )
            assert (await zhang.call("GrantService/ExplainGrant", **question))["allowed"]
        assert (await cli("purpose", "add", "flood", "--name", "防汛", "--name-en", "Flood", *data)).status == 0
        await at.running.ask("purpose_retire", kind="flood", reason="over")
        listed = (await at.running.ask("purpose_list", include_retired=True))["purposes"]
        assert [one["kind"] for one in listed if "retireTime" in one] == ["flood"]


async def test_accounts_and_logins_by_command_line(tmp_path: Path) -> None:
    async with site(tmp_path / "data") as at:
        data = ("--data-dir", at.running.data)
        await at.running.ask("user_add", name="zhang", roles=["operator"], password=PASSWORD)
        made = (await cli("user", "reset", "zhang", *data)).answer
        async with with_one_time_password(at.running, "zhang", made["one_time_password"]) as zhang:
            [login] = (await at.running.ask("user_logins", name="zhang"))["logins"]
            assert (login["name"], login["source_address"]) == ("zhang", "127.0.0.1")
            assert (await cli("user", "end-login", login["id"], *data)).status == 0
            assert (await zhang.call("AuthService/WhoAmI"))["reason"] == "LOGIN_REVOKED"
        words = ("--role", "operator", "--role", "supervisor", "--department", "交警")
        changed = (await cli("user", "update", "zhang", *words, *data)).answer
        assert (changed["roles"], changed["department"]) == (["operator", "supervisor"], "交警")


def kinds(answer: dict[str, Any]) -> list[str]:
    return [one["kind"] for one in answer["purposes"]]
