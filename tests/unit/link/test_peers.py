"""Inviting, joining, accepting and ending, on a real store; each refusal by its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import replace

import pytest
from support.peers import OWN, SYSTEM, Bench

from vidhub.errors import VidhubError
from vidhub.link.greeting import Greeter
from vidhub.link.rules import MOST_HUBS
from vidhub.model import HubLevel, HubSide, LinkedHub, Principal, PrincipalKind, Revision, Role
from vidhub.mtls import new_key
from vidhub.store import hubs
from vidhub.v1 import link_service_pb2 as pb

UPPER = LinkedHub(
    "jiangxi",
    "江西省",
    HubLevel.PROVINCE,
    "360000",
    HubSide.UPPER,
    joined=True,
    link_address="198.51.100.1:50051",
    media_address="198.51.100.1:8322",
    ca_pem="-",
)


async def reason_of(work: Awaitable[object]) -> str:
    with pytest.raises(VidhubError) as caught:
        await work
    assert caught.value.message
    return caught.value.reason


async def test_from_the_invitation_to_the_end(bench: Bench) -> None:
    invitation = await bench.invite()
    claim = bench.claim(invitation).ref
    assert [(hub.name, hub.joined) for hub in bench.peers.all()] == [("yuehu", False)]
    done = await bench.enrol(invitation)
    assert (done.hub.id, done.hub.joined, done.hub.is_accepted) == ("yuehu", True, False)
    await bench.peers.accept(SYSTEM, "yuehu")
    await bench.peers.heard("yuehu", accepted=True, signing_key_pem="key")
    held = (await bench.again()).find("yuehu")
    assert (held.is_accepted, held.signing_key_pem) == (True, "key")
    who = bench.register.by_certificate(done.certificate_pem.encode(), "")
    assert (who.kind, who.id) == (PrincipalKind.HUB, "yuehu")
    _, revoked = await bench.peers.end(SYSTEM, "yuehu", "reorganised")
    bench.register.learn(revoked, "LINK_ENDED")
    assert (await bench.again()).all() == bench.peers.all() == []
    with pytest.raises(VidhubError, match="CERTIFICATE_REVOKED"):
        bench.register.by_certificate(done.certificate_pem.encode(), "")
    assert await bench.actions() == [
        ("system", "hub.invite"),
        (claim, "hub.join"),
        ("system", "hub.accept"),
        ("system", "hub.end"),
    ]


async def test_the_answer_to_a_join_may_be_lost_and_asked_for_again_with_the_same_key(bench: Bench) -> None:
    invitation, key = await bench.invite(), new_key()
    first = await bench.enrol(invitation, key)
    again = await bench.enrol(invitation, key)
    assert again.hub == first.hub
    with pytest.raises(VidhubError, match="CERTIFICATE_REVOKED"):
        bench.register.by_certificate(first.certificate_pem.encode(), "")
    who = bench.register.by_certificate(again.certificate_pem.encode(), "")
    assert await reason_of(bench.enrol(invitation)) == "CLAIM_USED", "of another key"
    assert await reason_of(bench.enrol(invitation, key, hub_id="guixi")) == "CLAIM_USED", "of another hub"
    await bench.peers.linked(again.hub, who.fingerprint)
    assert await reason_of(bench.enrol(invitation, key)) == "CLAIM_USED", "once the first link has come up"


@pytest.mark.parametrize(
    ("name", "level", "region", "reason"),
    [
        ("", "district", "360602", "NAME_INVALID"),
        ("a\nb", "district", "360602", "NAME_INVALID"),
        ("x" * 129, "district", "360602", "NAME_INVALID"),
        ("yuehu", "district", "999999", "REGION_UNKNOWN"),
        ("yuehu", "city", "360600", "LEVEL_NOT_BELOW"),
        ("yuehu", "district", "360102", "REGION_NOT_WITHIN"),
    ],
)
async def test_who_may_not_be_invited(bench: Bench, name: str, level: str, region: str, reason: str) -> None:
    assert await reason_of(bench.peers.invite(SYSTEM, name, HubLevel(level), region)) == reason
    assert bench.peers.all() == []


@pytest.mark.parametrize("name", [OWN.id, OWN.name])
async def test_a_hub_below_is_not_called_as_this_one(bench: Bench, name: str) -> None:
    """Administrators write names: whose an id is would be said of the wrong one."""
    assert await reason_of(bench.peers.invite(SYSTEM, name, HubLevel.DISTRICT, "360602")) == "HUB_NAME_TAKEN"


async def test_only_administrators_invite_accept_and_end(bench: Bench) -> None:
    someone = Principal(PrincipalKind.USER, "zhang", roles=frozenset({Role.SUPERVISOR}))
    await bench.enrol(await bench.invite())
    for work in (
        bench.peers.invite(someone, "guixi", HubLevel.DISTRICT, "360681"),
        bench.peers.accept(someone, "yuehu"),
        bench.peers.end(someone, "yuehu", "why not"),
    ):
        assert await reason_of(work) == "ROLE_MISSING"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"hub_id": OWN.id}, "HUB_IS_SELF"),
        ({"level": HubLevel.ZONE}, "HUB_NOT_AS_INVITED"),
        ({"region": "360681"}, "HUB_NOT_AS_INVITED"),
        ({"hub_id": "guixi"}, "HUB_ID_TAKEN"),
    ],
)
async def test_who_may_not_join(bench: Bench, said: dict[str, object], reason: str) -> None:
    await bench.enrol(await bench.invite("guixi", "360681"), hub_id="guixi", region="360681")
    invitation = await bench.invite()
    assert await reason_of(bench.enrol(invitation, **said)) == reason  # type: ignore[arg-type]
    assert (await bench.enrol(invitation)).hub.id == "yuehu", "the invitation is still good"


async def test_a_hub_does_not_come_by_the_name_of_another(bench: Bench) -> None:
    await bench.enrol(await bench.invite("guixi", "360681"), hub_id="hub-7f", region="360681")
    assert await reason_of(bench.enrol(await bench.invite(), hub_id="guixi")) == "HUB_ID_TAKEN"
    assert bench.peers.find("guixi").id == "hub-7f", "whom an administrator means"


async def test_an_invitation_ends_with_its_time_with_a_newer_one_and_by_being_taken_back(bench: Bench) -> None:
    old = await bench.invite()
    newer = await bench.invite()
    assert await reason_of(bench.enrol(old)) == "CERTIFICATE_REVOKED"
    _, revoked = await bench.peers.end(SYSTEM, "yuehu", "a mistake")
    bench.register.learn(revoked, "LINK_ENDED")
    assert await reason_of(bench.enrol(newer)) == "CERTIFICATE_REVOKED"
    late = await bench.invite()
    bench.clock.advance(hours=24)
    assert await reason_of(bench.enrol(late)) == "CLAIM_EXPIRED"


async def test_a_units_claim_is_no_hubs(bench: Bench) -> None:
    nobody = Principal(PrincipalKind.CLAIM, "t1", unit_id="u1", fingerprint="00")
    work = bench.peers.enrol(nobody, "", hub_id="yuehu", level=HubLevel.DISTRICT, region_code="360602")
    assert await reason_of(work) == "CLAIM_OF_UNIT"


async def test_a_request_that_is_none_does_not_use_the_invitation_up(bench: Bench) -> None:
    invitation = await bench.invite()
    work = bench.peers.enrol(
        bench.claim(invitation), "no request", hub_id="yuehu", level=HubLevel.DISTRICT, region_code="360602"
    )
    assert await reason_of(work) == "CSR_INVALID"
    await bench.enrol(invitation)


async def test_accepting_wants_a_hub_that_has_joined(bench: Bench) -> None:
    assert await reason_of(bench.peers.accept(SYSTEM, "nobody")) == "HUB_NOT_FOUND"
    await bench.invite()
    assert await reason_of(bench.peers.accept(SYSTEM, "yuehu")) == "HUB_NOT_JOINED"


async def test_a_name_is_linked_once_and_there_is_room_for_so_many(bench: Bench) -> None:
    await bench.enrol(await bench.invite())
    assert await reason_of(bench.invite()) == "HUB_NAME_TAKEN"
    for number in range(MOST_HUBS - 1):
        await bench.invite(f"d{number}")
    assert await reason_of(bench.invite("one more")) == "LIMIT_HUBS"
    await bench.invite("d7")  # which replaces one
    with pytest.raises(VidhubError, match="LIMIT_HUBS"):
        bench.peers.check_joinable(UPPER)


async def test_what_the_other_side_has_ended_is_shown_until_it_is_taken_out(bench: Bench) -> None:
    done = await bench.enrol(await bench.invite())
    await bench.store.write(lambda conn: hubs.set_have(conn, "yuehu", Revision("e1", 7)))
    bench.peers.note_have("yuehu", Revision("e1", 7))
    await bench.peers.accept(SYSTEM, "yuehu")
    await bench.peers.ended_there("yuehu", "LINK_ENDED")
    held = (await bench.again()).find("yuehu")
    assert held == bench.peers.find("yuehu")
    assert (held.end_reason, held.joined, held.is_accepted, held.have) == ("LINK_ENDED", False, False, None)
    with pytest.raises(VidhubError, match="CERTIFICATE_REVOKED"):
        bench.register.by_certificate(done.certificate_pem.encode(), "")
    assert await reason_of(bench.peers.accept(SYSTEM, "yuehu")) == "LINK_ENDED"
    joined = await bench.enrol(await bench.invite())
    assert (joined.hub.end_reason, bench.peers.find("yuehu").joined) == ("", True), "and may come again"


async def test_an_upper_hub_is_joined_once_and_never_one_that_stands_below(bench: Bench) -> None:
    bench.peers.check_joinable(UPPER)
    await bench.peers.joined(SYSTEM, UPPER)
    with pytest.raises(VidhubError, match="HUB_ALREADY_LINKED"):
        bench.peers.check_joinable(UPPER)
    await bench.peers.ended_there(UPPER.id, "LINK_ENDED")
    bench.peers.check_joinable(UPPER)
    await bench.enrol(await bench.invite())
    with pytest.raises(VidhubError, match="LINK_CYCLE"):
        bench.peers.check_joinable(replace(UPPER, id="yuehu"))


async def test_who_is_above_is_told_without_the_one_who_is_told(bench: Bench) -> None:
    await bench.peers.joined(SYSTEM, UPPER)
    await bench.peers.joined(SYSTEM, replace(UPPER, id="bureau", name="交通厅"))
    bench.peers.note_above("jiangxi", ("beijing",))
    bench.peers.note_above("bureau", ("ministry", "beijing"))
    assert set(bench.peers.above()) == {"jiangxi", "bureau", "beijing", "ministry"}
    assert set(bench.peers.above(without="jiangxi")) == {"bureau", "ministry", "beijing"}


async def test_changes_are_told(bench: Bench) -> None:
    seen: list[str] = []
    ended: list[str] = []

    async def note(hub_id: str) -> None:
        ended.append(hub_id)

    bench.peers.on_changed(seen.append)
    bench.peers.on_ended(note)
    invitation = await bench.invite()
    await bench.enrol(invitation)
    assert seen == [invitation.hub.id, invitation.hub.id, "yuehu"]
    await bench.peers.tell_ended("yuehu")
    assert ended == ["yuehu"]


async def test_heartbeats_that_say_now_this_now_that_are_not_written_down_each_time(bench: Bench) -> None:
    await bench.enrol(await bench.invite())
    await bench.peers.accept(SYSTEM, "yuehu")
    greeter = Greeter(bench.peers, [], signing_key_pem="", revision=lambda: Revision("e", 1), media=lambda _: (0, 0))
    hub = bench.peers.find("yuehu")
    hello = pb.Hello(version=1, hub_id="yuehu")
    hello.time.FromDatetime(bench.clock())
    link = await greeter.link(hub, hello)
    changes: list[str] = []
    bench.peers.on_changed(changes.append)
    running = asyncio.create_task(link.run(said(pb.Heartbeat(accepted=number % 2 == 0) for number in range(20))))
    async with asyncio.timeout(30):
        await running
    assert bench.peers.find("yuehu").accepted_there
    assert changes == ["yuehu"]


async def said(beats: Iterable[pb.Heartbeat]) -> AsyncIterator[pb.LinkMessage]:
    for beat in beats:
        yield pb.LinkMessage(heartbeat=beat)
