"""What a hub refuses by name: invitations and hubs that are not what they say."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from support.hub import HubProcess, enrol
from support.impostor import Impostor, request
from support.links import CITY, DISTRICT, OTHER_DISTRICT, PROVINCE, link, listed, placed, until
from support.site import cli

from vidhub.identity import CertificateAuthority
from vidhub.link.greeting import HELLO_S
from vidhub.link.live import VERSION
from vidhub.link.rules import to_level
from vidhub.mtls import new_key, secure_channel, signing_request, translate
from vidhub.v1 import enrolment_service_pb2, enrolment_service_pb2_grpc
from vidhub.v1 import link_service_pb2 as pb

# One city serves the whole file; each test invites hubs of its own.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def city(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    async with placed(tmp_path_factory.mktemp("city"), CITY) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def district(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    async with placed(tmp_path_factory.mktemp("district"), OTHER_DISTRICT) as running:
        yield running


async def refusal(running: HubProcess, operation: str, **arguments: object) -> tuple[str, str]:
    """(reason, message) by the admin socket."""
    with pytest.raises(AssertionError) as caught:
        await running.ask(operation, **arguments)
    error = json.loads(str(caught.value).splitlines()[0])["error"]
    return error["reason"], error["message"]


async def invited(city: HubProcess, name: str = "guixi") -> dict[str, Any]:
    answer = await city.ask("hub_invite", name=name, level="district", region_code="360681")
    return dict(answer["invitation"])


def other_authority(folder: Path) -> CertificateAuthority:
    return CertificateAuthority.open(folder, CITY[0])


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("no certificate", "INVITATION_DAMAGED"),
        ("cut short", "INVITATION_DAMAGED"),
        ("no media address", "INVITATION_DAMAGED"),
        ("level of nowhere", "INVITATION_DAMAGED"),
        ("address of nowhere", "INVITATION_DAMAGED"),
        ("region of nowhere", "INVITATION_DAMAGED"),
        ("key of another", "INVITATION_DAMAGED"),
        ("forged claim", "INVITATION_DAMAGED"),
        ("forged whole", "HUB_NOT_TRUSTED"),
        ("expired", "CLAIM_EXPIRED"),
        ("nobody there", "HUB_UNREACHABLE"),
        ("another upper named", "INVITATION_DAMAGED"),
    ],
)
async def test_an_invitation_that_is_none(
    city: HubProcess, district: HubProcess, tmp_path: Path, case: str, reason: str
):
    invitation = await invited(city)
    forger = other_authority(tmp_path)
    claim = forger.issue_claim("t1")
    forged = {"claim_certificate_pem": claim.certificate_pem, "claim_key_pem": claim.key_pem}
    match case:
        case "no certificate":
            invitation["ca_pem"] = "x"
        case "cut short":
            invitation["claim_certificate_pem"] = invitation["claim_certificate_pem"][:200]
        case "no media address":
            del invitation["media"]
        case "level of nowhere":
            invitation["upper_level"] = "village"
        case "address of nowhere":
            invitation["hub"] = "here"
        case "region of nowhere":
            invitation["upper_region_code"] = "x"
        case "key of another":
            invitation["claim_key_pem"] = claim.key_pem
        case "forged claim":
            invitation.update(forged)
        case "forged whole":
            invitation.update(forged, ca_pem=forger.ca_pem)
        case "expired":
            past = CertificateAuthority.open(
                tmp_path / "past", "yingtan", clock=lambda: datetime.now(UTC) - timedelta(days=2)
            )
            old = past.issue_claim("t1")
            invitation.update(ca_pem=past.ca_pem, claim_certificate_pem=old.certificate_pem, claim_key_pem=old.key_pem)
        case "nobody there":
            invitation["hub"] = "127.0.0.1:9"
        case "another upper named":
            invitation["upper_id"] = "someone"
    told, message = await refusal(district, "hub_join", invitation=invitation)
    assert (told, bool(message)) == (reason, True)
    assert (await district.ask("hub_list"))["hubs"] == []


async def test_an_invitation_is_good_for_one_hub_and_not_for_its_own(city: HubProcess, district: HubProcess):
    invitation = await invited(city)
    assert (await refusal(city, "hub_join", invitation=invitation))[0] == "HUB_IS_SELF"
    newer = await invited(city)
    assert (await refusal(district, "hub_join", invitation=invitation))[0] == "CERTIFICATE_REVOKED"
    await district.ask("hub_join", invitation=newer)
    assert (await refusal(district, "hub_join", invitation=newer))[0] == "HUB_ALREADY_LINKED"
    # Used by another, which has another key.
    replay = await _enrol_by_hand(newer)
    assert replay == "CLAIM_USED"
    await until(city, "guixi", state="joined")
    for running, peer in ((city, "guixi"), (district, CITY[0])):
        await running.ask("hub_end", hub=peer, reason="the test is over")


async def _enrol_by_hand(invitation: dict[str, Any], hub_id: str = "guixi") -> str:
    channel = secure_channel(
        invitation["hub"],
        invitation["ca_pem"].encode(),
        invitation["claim_certificate_pem"].encode(),
        invitation["claim_key_pem"].encode(),
    )
    async with channel:
        stub = enrolment_service_pb2_grpc.EnrolmentServiceStub(channel)
        sent = enrolment_service_pb2.EnrolHubRequest(
            csr_pem=signing_request(new_key()), hub_id=hub_id, level=to_level("district"), region_code="360681"
        )
        try:
            await stub.EnrolHub(sent, timeout=30)
        except grpc.aio.AioRpcError as error:
            return translate(error, "").reason
    return ""


async def test_claims_of_units_and_of_hubs_are_apart(city: HubProcess, district: HubProcess):
    unit = (await city.ask("unit_token", name="第一中学", region_code="360602", industry="11"))["enrolment"]
    assert await _enrol_by_hand(unit) == "CLAIM_OF_UNIT"
    assert (await refusal(district, "hub_join", invitation=unit))[0] == "CLAIM_OF_UNIT"


@pytest.mark.parametrize("address", ["", "here", "127.0.0.1:", ":50051", "127.0.0.1:99999"])
async def test_an_invitation_whose_address_is_none_says_so(city: HubProcess, district: HubProcess, address: str):
    invitation = {**await invited(city), "hub": address}
    reason, message = await refusal(district, "hub_join", invitation=invitation)
    assert (reason, "hub is no HOST:PORT" in message) == ("INVITATION_DAMAGED", True)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"hub_id": "guixi"}, "HUB_ID_MISMATCH"),
        ({"level": pb.HUB_LEVEL_CITY}, "HUB_CHANGED"),
        ({"region_code": "360681"}, "HUB_CHANGED"),
        ({"region_code": "36"}, "MESSAGE_INVALID"),
        ({"version": VERSION + 2, "oldest_version": VERSION + 1}, "VERSION_UNSUPPORTED"),
        ({"version": 0}, "MESSAGE_INVALID"),
    ],
)
async def test_a_hello_that_is_refused(city: HubProcess, said: dict[str, Any], reason: str):
    place = ("by-hand", "district", "360602")
    impostor = await Impostor.enrolled(city, place)
    assert await impostor.refused(impostor.hello(place, **said)) == reason
    seen = await until(city, "by-hand", trouble_reason=reason)
    assert seen["trouble_message"]
    assert reason in await on_record(city)
    assert (seen["state"], seen["accepted_there"]) == ("joined", False)
    await city.ask("hub_end", hub="by-hand", reason="the test is over")


async def on_record(city: HubProcess) -> set[str]:
    """Why messages of the hub by hand were refused."""
    entries = (await city.ask("audit_list", action="link.refused", principal="hub/by-hand"))["entries"]
    return {one["result"] for one in entries}


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"\xff\xff\xff", "MESSAGE_INVALID"),
        (request(heartbeat=pb.Heartbeat()), "HELLO_MISSING"),
        (b"", "HELLO_MISSING"),
        (bytes(600 * 1024), "MESSAGE_TOO_LARGE"),
    ],
)
async def test_a_call_that_does_not_begin_with_hello(city: HubProcess, first: bytes, reason: str):
    place = ("by-hand", "district", "360602")
    impostor = await Impostor.enrolled(city, place)
    assert await impostor.refused(first) == reason
    await city.ask("hub_end", hub="by-hand", reason="the test is over")


async def test_a_call_that_says_nothing_is_not_waited_for_longer_than_ten_seconds(city: HubProcess):
    impostor = await Impostor.enrolled(city, ("by-hand", "district", "360602"))
    async with impostor.call() as call:
        began = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert translate(caught.value, "").reason == "HELLO_MISSING"
        assert HELLO_S - 1 < time.monotonic() - began < HELLO_S + 20
    await city.ask("hub_end", hub="by-hand", reason="the test is over")


async def test_garbage_in_the_middle_ends_the_link_with_its_reason_and_no_other(city: HubProcess, district: HubProcess):
    await link(city, district, OTHER_DISTRICT)
    place = ("by-hand", "district", "360602")
    impostor = await Impostor.enrolled(city, place)
    async with impostor.call() as call, asyncio.timeout(20):
        await call.write(request(hello=impostor.hello(place)))
        await call.read()
        await until(city, "by-hand", software="")
        # A message that breaks a rule is refused, and the link stays.
        await call.write(request(view_end=pb.ViewEnd(view_id="not an id")))
        while True:
            message = pb.LinkResponse.FromString(await call.read()).message
            if message.HasField("problem"):
                break
        assert message.problem.reason == "MESSAGE_INVALID"
        assert (await listed(city, "by-hand") or {})["connect_time"]
        await call.write(b"\xff\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _to_the_end(call)
        assert translate(caught.value, "").reason == "MESSAGE_INVALID"
    await until(city, "by-hand", trouble_reason="MESSAGE_INVALID")
    assert "MESSAGE_INVALID" in await on_record(city)
    assert (await listed(city, "guixi") or {})["state"] == "up", "its neighbour does not notice"
    for running, peer in ((city, "by-hand"), (city, "guixi")):
        await running.ask("hub_end", hub=peer, reason="the test is over")
    await until(district, CITY[0], trouble_reason="LINK_ENDED")
    await district.ask("hub_end", hub=CITY[0], reason="the test is over")


async def _to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_clocks_that_differ_are_shown_and_the_link_stays(city: HubProcess):
    place = ("by-hand", "district", "360602")
    impostor = await Impostor.enrolled(city, place)
    hello = impostor.hello(place)
    hello.time.FromDatetime(datetime.now(UTC) + timedelta(minutes=10))
    async with impostor.call() as call, asyncio.timeout(20):
        await call.write(request(hello=hello))
        await call.read()
        seen = await until(city, "by-hand", trouble_reason="CLOCK_SKEW")
        assert 570 < seen["clock_skew_s"] < 605, "less what the way took"
        assert "300 s" in seen["trouble_message"]
    await city.ask("hub_end", hub="by-hand", reason="the test is over")


async def test_a_certificate_that_was_revoked_or_is_of_another_hub_gets_nowhere(city: HubProcess, tmp_path: Path):
    place = ("by-hand", "district", "360602")
    impostor = await Impostor.enrolled(city, place)
    await city.ask("hub_end", hub="by-hand", reason="the test is over")
    assert await impostor.refused(impostor.hello(place)) == "CERTIFICATE_REVOKED"
    async with placed(tmp_path, PROVINCE) as province:
        foreign = await Impostor.enrolled(province, ("by-hand", "district", "360602"))
        stranger = Impostor(impostor.address, impostor.ca_pem, foreign.certificate_pem, foreign.key_pem)
        assert await stranger.refused(stranger.hello(place)) in {"HUB_NOT_TRUSTED", "HUB_UNREACHABLE"}
    entries = (await city.ask("audit_list", action="link.refused"))["entries"]
    assert "CERTIFICATE_REVOKED" in {one["result"] for one in entries}


async def test_a_units_certificate_opens_no_link(city: HubProcess):
    unit = await enrol(city)
    caller = Impostor(unit.hub, unit.ca_pem, unit.certificate_pem, unit.key_pem)
    assert await caller.refused(caller.hello(DISTRICT)) == "PRINCIPAL_NOT_PERMITTED"


async def test_the_command_line_names_what_is_wrong(city: HubProcess, tmp_path: Path):
    broken = tmp_path / "invitation.json"
    broken.write_text("{}")
    done = await cli("hub", "join", broken, "--data-dir", city.data)
    assert (done.status, done.error["reason"]) == (1, "FILE_INVALID")
    done = await cli(
        "hub", "invite", "x", "--level", "city", "--region", "360600", "--out", broken, "--data-dir", city.data
    )
    assert (done.status, done.error["reason"]) == (1, "LEVEL_NOT_BELOW")
    done = await cli("hub", "accept", "nobody", "--data-dir", city.data)
    assert (done.status, done.error["reason"]) == (1, "HUB_NOT_FOUND")
    done = await cli("hub", "end", "nobody", "--data-dir", city.data)
    assert done.status == 2, "a reason is wanted"
