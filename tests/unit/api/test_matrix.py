"""Who may reach what: every service and method, on both listeners, with every kind of caller."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from support.edges import Authority, Edges, served

from vidhub.api import METHODS, SERVICES, Access, Method
from vidhub.model import PrincipalKind, Role

# One hub serves the whole walk.
pytestmark = pytest.mark.asyncio(loop_scope="module")

OURS = [method for method in METHODS.values() if method.service.startswith("vidhub.")]
EVERY = list(METHODS.values())

# The contract's table, written a second time by hand: (service, method) -> (50051, 8080).
ALL = "operator unit approver supervisor auditor administrator"
CONTRACT: dict[str, tuple[str, str]] = {
    "AuthService/Login": ("", "everybody"),
    "AuthService/Refresh": ("", "everybody"),
    "AuthService/Logout": ("", "everybody"),
    "AuthService/WhoAmI": ("", ALL),
    "AuthService/ChangePassword": ("", ALL),
    "CameraService/RegisterCamera": ("unit", "unit"),
    "CameraService/RegisterCameras": ("unit", ""),
    "CameraService/BatchRegisterCameras": ("unit", "unit"),
    "CameraService/UpdateCamera": ("unit", "unit"),
    "CameraService/RetireCamera": ("unit", "unit"),
    "CameraService/GetCamera": ("unit", ALL),
    "CameraService/ListCameras": ("unit", ALL),
    "CameraService/CountCameras": ("unit", ALL),
    "CameraService/ListPoints": ("unit", ALL),
    "CameraService/WatchCameras": ("unit", ALL),
    "CameraService/GetSnapshot": ("", "operator"),
    "SessionService/OpenSession": ("unit", "operator"),
    "SessionService/RenewSession": ("unit", "operator"),
    "SessionService/CloseSession": ("unit", "operator"),
    "SessionService/ListSessions": ("unit", ALL),
    "SessionService/TerminateSession": ("unit", "unit supervisor administrator"),
    "GrantService/CreateGrant": ("", "approver supervisor administrator"),
    "GrantService/ListGrants": ("", ALL),
    "GrantService/RevokeGrant": ("", "approver supervisor administrator"),
    "GrantService/ExplainGrant": ("", ALL),
    "PurposeService/ListPurposes": ("", ALL),
    "PurposeService/CreatePurpose": ("", "supervisor administrator"),
    "PurposeService/UpdatePurpose": ("", "supervisor administrator"),
    "PurposeService/RetirePurpose": ("", "supervisor administrator"),
    "UserService/ListUsers": ("", "approver supervisor auditor administrator"),
    "UserService/CreateUser": ("", "administrator"),
    "UserService/UpdateUser": ("", "administrator"),
    "UserService/SuspendUser": ("", "administrator"),
    "UserService/ResumeUser": ("", "administrator"),
    "UserService/ResetPassword": ("", "administrator"),
    "UserService/ListLogins": ("", ALL),
    "UserService/EndLogin": ("", ALL),
    "UnitService/ListUnits": ("", "approver supervisor auditor administrator"),
    "UnitService/GetUnit": ("unit", "unit approver supervisor auditor administrator"),
    "UnitService/CreateEnrolmentToken": ("", "administrator"),
    "UnitService/RevokeUnit": ("", "administrator"),
    "AuditService/ListEntries": ("unit", "unit supervisor auditor"),
    "AuditService/VerifyChain": ("", "supervisor auditor administrator"),
    "EventService/WatchEvents": ("unit", ALL),
    "EventService/ListEvents": ("unit", ALL),
    "EventService/AcknowledgeEvent": ("", "operator supervisor administrator"),
    "EnrolmentService/EnrolUnit": ("claim", ""),
    "EnrolmentService/EnrolHub": ("claim", ""),
    "EnrolmentService/RenewCertificate": ("unit hub", ""),
    "LinkService/Link": ("hub", ""),
    "HubService/ListHubs": ("", "supervisor administrator"),
    "HubService/AcceptHub": ("", "administrator"),
    "HubService/EndHub": ("", "administrator"),
    "HubService/ListShares": ("", "supervisor administrator"),
    "HubService/PreviewShare": ("", "supervisor administrator"),
    "HubService/CreateShare": ("", "administrator"),
    "HubService/DeleteShare": ("", "administrator"),
    "HubService/ExplainCamera": ("", "supervisor administrator"),
    "HubService/ListConflicts": ("", "supervisor administrator"),
    "HubService/AssignCamera": ("", "supervisor administrator"),
    "SystemService/GetStatus": ("unit hub", ALL),
}
REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edges() -> AsyncIterator[Edges]:
    async with served() as both:
        yield both


def row(access: Access) -> tuple[str, str]:
    on_grpc = {kind.value for kind in access.grpc or ()}
    if access.is_open:
        return " ".join(sorted(on_grpc)), "everybody"
    return " ".join(sorted(on_grpc)), " ".join(sorted(role.value for role in access.http or ()))


async def test_the_table_is_the_contract() -> None:
    table = {method.path.removeprefix("vidhub.v1."): row(method.access) for method in OURS}
    assert table == {key: tuple(" ".join(sorted(who.split())) for who in rows) for key, rows in CONTRACT.items()}


async def test_no_method_of_ours_is_without_a_row() -> None:
    assert {method.service for method in OURS} == {name for name in SERVICES if name.startswith("vidhub.")}


async def call_grpc(channel: grpc.aio.Channel, method: Method, data: bytes = b"") -> str:
    """The code that a call ends with; a stream that gives an answer counts as OK."""
    path = f"/{method.path}"
    try:
        if method.gives_stream:
            stream = (
                channel.stream_stream(path)(iter([data])) if method.takes_stream else channel.unary_stream(path)(data)
            )
            async for _ in stream:
                stream.cancel()
                return "OK"
            return "OK"
        await channel.unary_unary(path)(data, timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def call_http(edges: Edges, method: Method, token: str) -> str:
    kind = "connect+json" if method.gives_stream else "json"
    body = b"\0\0\0\0\x02{}" if method.gives_stream else b"{}"
    async with (
        edges.http(token) as client,
        client.stream(
            "POST", f"/{method.path}", content=body, headers={"content-type": f"application/{kind}"}
        ) as answer,
    ):
        text = ""
        async for chunk in answer.aiter_text():
            text += chunk
            if "synced" in text or '"code"' in text:
                break
    found = re.search(r'"code": ?"(\w+)"', text)
    return found[1].upper() if found else "OK"


@pytest.mark.parametrize("method", OURS, ids=lambda method: method.path)
async def test_8080_answers_no_stranger(edges: Edges, method: Method) -> None:
    for token in ("", "forged", "forged with blanks", "x" * 5000):
        got = await call_http(edges, method, token)
        if method.access.is_open:
            assert got == "UNIMPLEMENTED", "the test serves no AuthService"
        else:
            assert got == ("UNIMPLEMENTED" if method.access.http is None else "UNAUTHENTICATED")


@pytest.mark.parametrize("method", EVERY, ids=lambda method: method.path)
async def test_50051_answers_no_stranger(edges: Edges, method: Method) -> None:
    foreign = Authority("foreign").issue(uri="vidhub://h1/unit/u1")
    for who in (None, foreign):
        async with edges.channel(who) as channel:
            assert await call_grpc(channel, method) == "UNAVAILABLE", "the handshake fails"


@pytest.mark.parametrize("who", ["unit/u1", "hub/h2", "claim/c1"])
async def test_50051_serves_each_kind_its_methods_alone(edges: Edges, who: str) -> None:
    kind = PrincipalKind(who.split("/")[0])
    async with edges.channel(who) as channel:
        for method in EVERY:
            got = await call_grpc(channel, method)
            allowed = method.access.grpc
            if allowed is None:
                assert got == "UNIMPLEMENTED", method.path
            elif kind in allowed:
                assert got not in REFUSED, method.path
            else:
                assert got == "PERMISSION_DENIED", method.path


@pytest.mark.parametrize("role", list(Role))
async def test_8080_serves_each_role_its_methods_alone(edges: Edges, role: Role) -> None:
    for method in OURS:
        got = await call_http(edges, method, role.value)
        allowed = method.access.http
        if allowed is None or method.access.is_open:
            assert got == "UNIMPLEMENTED", method.path
        elif role in allowed:
            assert got not in REFUSED, method.path
        else:
            assert got == "PERMISSION_DENIED", method.path


async def test_a_new_password_comes_before_everything_else(edges: Edges) -> None:
    for method in OURS:
        got = await call_http(edges, method, "fresh")
        name = method.path.removeprefix("vidhub.v1.")
        if method.access.http is None or name in {
            "AuthService/ChangePassword",
            "AuthService/WhoAmI",
            "AuthService/Logout",
            "AuthService/Login",
            "AuthService/Refresh",
        }:
            assert got == "UNIMPLEMENTED"
        else:
            assert got == "FAILED_PRECONDITION", method.path


async def test_refusals_are_on_record(edges: Edges) -> None:
    methods = METHODS
    edges.refusals.clear()
    await call_http(edges, methods["vidhub.v1.CameraService/GetCamera"], "")
    await call_http(edges, methods["vidhub.v1.SessionService/OpenSession"], "administrator")
    async with edges.channel("claim/c1") as channel:
        await call_grpc(channel, methods["vidhub.v1.CameraService/ListCameras"])
    seen = [(entry.principal, entry.action, entry.result, entry.source_address) for entry in edges.refusals]
    assert seen == [
        ("", "camera.refused", "TOKEN_MISSING", "127.0.0.1"),
        ("user/administrator", "session.refused", "ROLE_SEES_NO_VIDEO", "127.0.0.1"),
        ("claim/c1", "camera.refused", "CLAIM_ENROLS_ONLY", "127.0.0.1"),
    ]
    assert all(len(entry.trace_id) == 32 for entry in edges.refusals)
