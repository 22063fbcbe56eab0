"""Nobody sees what they may not: refused, or cut at once, on each protocol and on record."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from support.cameras import GstCamera, gst_camera
from support.hub import PASSWORD, Person, camera_message, enrol
from support.rtsp import RtspClient
from support.site import Site, camera_id, opened, person, site
from support.whep import Refused, WhepViewer, offer_sdp, post_offer, whep_viewer

from vidhub.v1 import (
    camera_service_pb2,
    camera_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
module = pytest_asyncio.fixture(scope="module", loop_scope="module")

# Between the end of a right and the end of the picture the contract allows a second; a machine that is busy with other
# tests may take three, and no lease or look that comes round is so short. The properties tell.
CUT_S = 3.0
# For what is only waited for.
AT_ONCE_S = 10.0
# Refusals fold on record by reason and address, so whoever wants to see one of their own comes from a new address.
_hosts: Iterator[int] = itertools.count(1)


def new_address() -> str:
    return f"127.0.9.{next(_hosts)}"


@module
async def camera() -> AsyncIterator[GstCamera]:
    async with gst_camera(width=320, height=180, fps=15, key_interval=15, user="admin", password="secret") as running:
        yield running


@module
async def place(tmp_path_factory: pytest.TempPathFactory, camera: GstCamera) -> AsyncIterator[Site]:
    """Cameras 1 and 2 are the same gst-rtsp-server."""
    async with site(tmp_path_factory.mktemp("refused") / "data", VIDHUB_STREAM__LINGER_S="1") as ready:
        for number in (1, 2):
            await ready.register(number, camera.url, username="admin", password="secret")
        yield ready


@module
async def hasty(tmp_path_factory: pytest.TempPathFactory, camera: GstCamera) -> AsyncIterator[Site]:
    """Tickets of one second, sessions of three."""
    quick = {"VIDHUB_ACCESS__TICKET_TTL_S": "1", "VIDHUB_ACCESS__SESSION_TTL_S": "3"}
    async with site(tmp_path_factory.mktemp("hasty") / "data", **quick) as ready:
        await ready.register(1, camera.url, username="admin", password="secret")
        await ready.operator("hasty")
        yield ready


@module
async def viewer(place: Site) -> AsyncIterator[Person]:
    await place.operator("zhang")
    async with person(place.running, "zhang") as caller:
        yield caller


@module
async def offer() -> str:
    return await offer_sdp()


# Refused at the API.


@pytest.mark.parametrize(
    ("purpose", "code", "reason"),
    [
        ({}, "invalid_argument", "PURPOSE_MISSING"),
        ({"kind": "curiosity"}, "invalid_argument", "PURPOSE_UNKNOWN"),
        ({"kind": "investigation"}, "invalid_argument", "PURPOSE_REFERENCE_MISSING"),
        ({"kind": "traffic"}, "permission_denied", "PURPOSE_NOT_GRANTED"),
    ],
)
async def test_without_a_granted_purpose_there_is_no_session(place: Site, viewer: Person, purpose, code, reason):
    refused = await viewer.call("SessionService/OpenSession", cameraId=camera_id(1), purpose=purpose)
    assert (refused["code"], refused["reason"]) == (code, reason)
    entry = await place.on_record(action="session.refused", result=reason)
    assert (entry["principal"], entry["resource"]) == ("user/zhang", f"camera/{camera_id(1)}")


async def test_without_a_grant_there_is_no_session(place: Site):
    await place.running.ask("user_add", name="li", roles=["operator"], password=PASSWORD)
    async with person(place.running, "li") as caller:
        refused = await caller.call("SessionService/OpenSession", cameraId=camera_id(1), purpose={"kind": "patrol"})
    assert (refused["code"], refused["reason"]) == ("permission_denied", "NO_GRANT")
    await place.on_record(action="session.refused", result="NO_GRANT", principal="user/li")


async def test_an_unknown_camera_has_no_session(place: Site, viewer: Person):
    refused = await viewer.call("SessionService/OpenSession", cameraId=camera_id(99), purpose={"kind": "patrol"})
    assert (refused["code"], refused["reason"]) == ("not_found", "CAMERA_NOT_FOUND")


async def test_the_api_without_credentials_is_refused_on_record(place: Site):
    async with person(place.running, "zhang") as caller:
        del caller._client.headers["Authorization"]
        refused = await caller.call("SessionService/OpenSession", cameraId=camera_id(1), purpose={"kind": "patrol"})
    assert (refused["code"], refused["reason"]) == ("unauthenticated", "TOKEN_MISSING")
    await place.on_record(result="TOKEN_MISSING")


# Refused at the media ports: every row of the contract's table.

Ticket = Callable[[], Awaitable[str]]


@dataclass(frozen=True)
class Shown:
    """What is shown at which camera's address."""

    ticket: str
    camera: str


async def shown_to_be_refused(case: str, place: Site, viewer: Person, hasty: Site) -> Shown:
    if case == "missing":
        return Shown("", camera_id(1))
    if case == "no ticket at all":
        return Shown("x", camera_id(1))
    if case == "expired":
        raise AssertionError("has a test of its own")
    if case == "foreign":
        async with person(hasty.running, "hasty") as stranger:
            return Shown((await opened(stranger, camera_id(1)))["ticket"], camera_id(1))
    session = await opened(viewer, camera_id(1))
    ticket = session["ticket"]
    if case == "forged":
        head, claims, signature = ticket.split(".")
        other = (await opened(viewer, camera_id(2)))["ticket"].split(".")[1]
        assert other != claims
        return Shown(f"{head}.{other}.{signature}", camera_id(2))
    if case == "ended":
        await viewer.call("SessionService/CloseSession", sessionId=session["session"]["id"])
        return Shown(ticket, camera_id(1))
    return Shown(ticket, camera_id(2) if case == "other camera" else camera_id(99))


@pytest.mark.parametrize(
    ("case", "status", "reason"),
    [
        ("missing", 401, "TICKET_MISSING"),
        ("no ticket at all", 401, "TICKET_INVALID"),
        ("forged", 401, "TICKET_INVALID"),
        ("foreign", 401, "TICKET_INVALID"),
        ("ended", 401, "SESSION_UNKNOWN"),
        ("other camera", 403, "TICKET_OTHER_CAMERA"),
        ("no such camera", 404, "CAMERA_NOT_FOUND"),
    ],
)
@pytest.mark.parametrize("protocol", ["whep", "rtsp"])
async def test_what_is_shown_does_not_open(place, viewer, hasty, offer, protocol, case, status, reason):
    shown = await shown_to_be_refused(case, place, viewer, hasty)
    local = new_address()
    assert await attempt(place, protocol, shown, offer, local) == (status, reason)
    word = {"whep": "webrtc_udp", "rtsp": "rtsp_tcp"}[protocol]
    entry = await place.on_record(action="media.refused", result=reason, sourceAddress=local)
    assert entry["resource"] == f"camera/{shown.camera}"
    assert word in entry["detailJson"]
    if case in ("other camera", "no such camera"):
        assert entry["principal"] == "user/zhang"


async def attempt(place: Site, protocol: str, shown: Shown, offer: str, local: str) -> tuple[int, str]:
    """Status and reason of one attempt."""
    if protocol == "whep":
        answer = await post_offer(f"{place.running.url}/whep/{shown.camera}", offer, shown.ticket, local=local)
        if answer.status_code == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        if answer.status_code == 201:
            return 201, ""
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        return answer.status_code, answer.json()["reason"]
    query = f"?ticket={shown.ticket}" if shown.ticket else ""
    client = await RtspClient.connect(f"rtsp://{place.running.ready['rtsp']}/{shown.camera}{query}", local=local)
    async with client:
        reply = await client.describe()
        if reply.status == 401:
            assert [one.split()[0] for one in reply.headers["www-authenticate"]] == ["Digest", "Digest"]
        return reply.status, reply.reason


@pytest.mark.parametrize("protocol", ["whep", "rtsp"])
async def test_a_ticket_is_of_no_use_after_its_time(hasty: Site, offer: str, protocol: str):
    async with person(hasty.running, "hasty") as caller:
        session = await opened(caller, camera_id(1))
        shown, local = Shown(session["ticket"], camera_id(1)), new_address()
        due, status = _seconds(session["ticketExpireTime"]), 200
        async with asyncio.timeout(AT_ONCE_S):
            while status in (200, 201):
                began = time.time()
                status, reason = await attempt(hasty, protocol, shown, offer, local)
                assert status in (200, 201) or time.time() >= due, "refused before its time"
                assert status == 401 or began < due + 0.1, "taken after its time"
    assert (status, reason) == (401, "TICKET_EXPIRED")
    entry = await hasty.on_record(action="media.refused", result="TICKET_EXPIRED", sourceAddress=local)
    assert entry["principal"] == "user/hasty"


async def test_a_wrong_rtsp_password_is_refused_on_record(place: Site, viewer: Person):
    session = await opened(viewer, camera_id(1))
    local = new_address()
    client = await RtspClient.connect(f"rtsp://{place.running.ready['rtsp']}/{camera_id(1)}", local=local)
    async with client:
        for algorithm in ("SHA-256", "MD5"):
            reply = await client.log_in(session["rtspUser"], "x" * 24, algorithm=algorithm)
            assert (reply.status, reply.reason) == (401, "TICKET_INVALID")
        reply = await client.log_in(session["rtspUser"], session["rtspPassword"], algorithm="MD5")
        assert reply.status == 200
    await place.on_record(action="media.refused", result="TICKET_INVALID", sourceAddress=local)
    # A challenge that is met is no refusal.
    assert not await place.entries(action="media.refused", result="TICKET_MISSING", sourceAddress=local)


async def test_an_rtsp_login_is_for_its_camera_alone(place: Site, viewer: Person):
    session = await opened(viewer, camera_id(1))
    client = await RtspClient.connect(f"rtsp://{place.running.ready['rtsp']}/{camera_id(2)}", local=new_address())
    async with client:
        reply = await client.log_in(session["rtspUser"], session["rtspPassword"])
        assert (reply.status, reply.reason) == (403, "TICKET_OTHER_CAMERA")


async def test_another_session_can_neither_end_nor_change_a_viewer(place: Site, viewer: Person):
    mine, other = await opened(viewer, camera_id(1)), await opened(viewer, camera_id(1))
    async with whep_viewer(mine["whepUrl"], mine["ticket"]) as watching, _http() as client:
        await watching.until(lambda: watching.pictures > 0)
        url = place.running.url + watching.location
        for ticket, status, reason in [
            ("", 401, "TICKET_MISSING"),
            (other["ticket"], 403, "TICKET_OTHER_SESSION"),
            ("x", 401, "TICKET_INVALID"),
        ]:
            headers = {"Authorization": f"Bearer {ticket}"} if ticket else {}
            answer = await client.delete(url, headers=headers)
            assert (answer.status_code, answer.json()["reason"]) == (status, reason)
        seen = watching.pictures
        await watching.until(lambda: watching.pictures > seen)
        answer = await client.delete(url, headers={"Authorization": f"Bearer {mine['ticket']}"})
        assert answer.status_code == 200
        await watching.end(within_s=AT_ONCE_S)


def _http() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=20, trust_env=False)


async def test_what_is_no_offer_is_refused(place: Site, viewer: Person, offer: str):
    session = await opened(viewer, camera_id(1))
    url, ticket = session["whepUrl"], session["ticket"]
    for body, kind, status, reason in [
        ("hello", "application/sdp", 400, "SDP_INVALID"),
        ("", "application/sdp", 400, "SDP_INVALID"),
        (offer.partition("a=ice-ufrag")[0], "application/sdp", 400, "SDP_INVALID"),
        (offer, "text/plain", 415, "CONTENT_TYPE"),
        (offer + "a=x\r\n" * 20_000, "application/sdp", 413, "TOO_LARGE"),
        (offer.replace("H264", "VP9"), "application/sdp", 406, "CODEC_NOT_OFFERED"),
        (offer.replace("recvonly", "sendonly"), "application/sdp", 406, "CODEC_NOT_OFFERED"),
    ]:
        answer = await post_offer(url, body, ticket, content_type=kind)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason), body[:40]
    assert (await post_offer(url, offer, ticket)).status_code == 201


async def test_what_is_no_rtsp_is_refused(place: Site):
    reader, writer = await asyncio.open_connection(*place.running.ready["rtsp"].split(":"))
    writer.write(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
    async with asyncio.timeout(20):
        answer = await reader.read()
    assert answer.startswith(b"RTSP/1.0 400 ")
    assert b"MALFORMED_REQUEST" in answer
    writer.close()


async def test_too_many_strangers_from_one_address_are_refused(place: Site):
    local, url = new_address(), f"rtsp://{place.running.ready['rtsp']}/{camera_id(1)}"
    async with contextlib.AsyncExitStack() as stack:
        strangers = [await stack.enter_async_context(await RtspClient.connect(url, local=local)) for _ in range(257)]
        replies = [await stranger.describe() for stranger in strangers]
        answers = sorted((reply.status, reply.reason) for reply in replies)
        assert answers == [(401, "TICKET_MISSING")] * 256 + [(453, "LIMIT_CONNECTIONS_PER_ADDRESS")]
        # Another address is not their business.
        other = await stack.enter_async_context(await RtspClient.connect(url, local=new_address()))
        assert (await other.describe()).status == 401


# Cut while running.


@contextlib.asynccontextmanager
async def watching(caller: Person, identifier: str) -> AsyncIterator[tuple[dict[str, Any], WhepViewer, RtspClient]]:
    """One session seen by WebRTC and RTSP at once."""
    session = await opened(caller, identifier)
    async with playing(session) as (whep, rtsp):
        yield session, whep, rtsp


@contextlib.asynccontextmanager
async def playing(session: dict[str, Any]) -> AsyncIterator[tuple[WhepViewer, RtspClient]]:
    async with (
        await RtspClient.connect(session["rtspUrl"]) as rtsp,
        whep_viewer(session["whepUrl"], session["ticket"]) as whep,
    ):
        await rtsp.watch()
        await rtsp.until(lambda: rtsp.pictures > 2)
        await whep.until(lambda: whep.pictures > 2)
        yield whep, rtsp


Cut = Callable[[Site, dict[str, Any]], Awaitable[object]]


async def revoke_grant(place: Site, session: dict[str, Any]) -> None:
    await place.running.ask("grant_revoke", id=session["session"]["grantId"], reason="调岗")


async def suspend(place: Site, session: dict[str, Any]) -> None:
    await place.running.ask("user_suspend", name=session["name"])


async def retire(place: Site, session: dict[str, Any]) -> None:
    await place.running.ask("camera_retire", id=session["session"]["cameraId"], reason="拆除")


async def terminate(place: Site, session: dict[str, Any]) -> None:
    # By the unit that owns the camera, over gRPC.
    async with place.unit.channel() as channel:
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        wanted = session_service_pb2.TerminateSessionRequest(session_id=session["session"]["id"], reason="学生在场")
        await stub.TerminateSession(wanted, timeout=20)


async def close(place: Site, session: dict[str, Any]) -> None:
    answer = await session["caller"].call("SessionService/CloseSession", sessionId=session["session"]["id"])
    assert "code" not in answer


@pytest.mark.parametrize(
    ("number", "cut", "reason"),
    [
        (11, revoke_grant, "GRANT_REVOKED"),
        (12, suspend, "USER_SUSPENDED"),
        (13, retire, "CAMERA_RETIRED"),
        (14, terminate, "SESSION_TERMINATED"),
        (15, close, "SESSION_CLOSED"),
    ],
)
async def test_a_picture_is_cut_at_once(place, camera, number, cut: Cut, reason, record_property):
    identifier = await place.register(number, camera.url, username="admin", password="secret")
    name = f"op{number}"
    await place.operator(name)
    async with person(place.running, name) as caller, watching(caller, identifier) as (session, whep, rtsp):
        began = time.monotonic()
        cutting = asyncio.create_task(cut(place, {**session, "name": name, "caller": caller}))
        told, rtsp_at = await rtsp.end()
        whep_at = await whep.end()
        await cutting
        assert told == reason
        record_property("whep_s", round(whep_at - began, 3))
        record_property("rtsp_s", round(rtsp_at - began, 3))
        assert whep_at - began < CUT_S
        assert rtsp_at - began < CUT_S
        await asyncio.wait_for(rtsp.closed, AT_ONCE_S)
        entry = await place.on_record(action="session.close", sessionId=session["session"]["id"])
        assert reason in entry["detailJson"]
        # What is left of it opens nothing.
        with pytest.raises(Refused) as refused:
            async with whep_viewer(session["whepUrl"], session["ticket"]):
                pass
        assert (refused.value.status, refused.value.reason) in [(401, "SESSION_UNKNOWN"), (404, "CAMERA_NOT_FOUND")]


async def test_an_expired_session_is_cut_and_a_renewed_one_goes_on(hasty: Site):
    async with person(hasty.running, "hasty") as caller:
        session = await opened(caller, camera_id(1))
        due, play = _seconds(session["session"]["expireTime"]), asyncio.Event()

        async def renew() -> float:
            """Until both play, which may take longer than a session lasts here."""
            while True:
                last = play.is_set()
                renewed = await caller.call("SessionService/RenewSession", sessionId=session["session"]["id"])
                if last:
                    return _seconds(renewed["session"]["expireTime"])
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(play.wait(), 1)

        renewing = asyncio.create_task(renew())
        async with playing(session) as (whep, rtsp):
            play.set()
            renewed = await renewing
            assert renewed > due
            offset = time.time() - time.monotonic()
            told, rtsp_at = await rtsp.end()
            whep_at = await whep.end()
        assert told == "SESSION_EXPIRED"
        assert 0 <= rtsp_at + offset - renewed < CUT_S
        assert 0 <= whep_at + offset - renewed < CUT_S
        entry = await hasty.on_record(action="session.close", sessionId=session["session"]["id"])
        assert "SESSION_EXPIRED" in entry["detailJson"]


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


async def test_a_second_connection_of_one_protocol_replaces_the_first(place: Site, viewer: Person):
    async with (
        watching(viewer, camera_id(2)) as (session, whep, rtsp),
        await RtspClient.connect(session["rtspUrl"]) as second,
    ):
        await second.watch()
        await second.until(lambda: second.pictures > 2)
        told, _ = await rtsp.end(within_s=AT_ONCE_S)
        assert told == "CONNECTION_REPLACED"
        seen = whep.pictures
        await whep.until(lambda: whep.pictures > seen)


async def test_a_revoked_certificate_loses_its_calls_at_once(place: Site):
    unit = await enrol(place.running, "第二中学")
    async with unit.channel() as channel:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        watch = stub.WatchCameras(camera_service_pb2.WatchCamerasRequest())
        assert (await asyncio.wait_for(watch.read(), 10)).WhichOneof("event") == "synced"
        began = time.monotonic()
        cutting = asyncio.create_task(place.running.ask("unit_revoke", unit_id=unit.id, reason="遗失"))
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await asyncio.wait_for(_drained(watch), 20)
        took = time.monotonic() - began
        assert (await cutting)["revoked"] == 1
        assert cut.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert reason_of(cut.value) == "CERTIFICATE_REVOKED"
        assert took < AT_ONCE_S
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=camera_message(50)), timeout=20)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    await place.on_record(result="CERTIFICATE_REVOKED", principal=f"unit/{unit.id}")
    await place.on_record(action="unit.revoke", resource=f"unit/{unit.id}")


async def _drained(watch: Any) -> None:
    while await watch.read() is not grpc.aio.EOF:
        pass


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return info.reason
    return ""


async def test_the_register_is_intact_and_holds_no_secret(place: Site, tmp_path: Path):
    verdict = await place.running.ask("audit_verify")
    assert (verdict["intact"], verdict["first_bad"]) == (True, None)
    everything = str(await place.entries())
    # The last is how every token begins; shorter, it would turn up in the Base64 of a hash now and then.
    for secret in ("secret", PASSWORD, "eyJhbGciOi"):
        assert secret not in everything
