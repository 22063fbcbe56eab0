"""Views across hubs: each hub on the way judges and records, and an end anywhere is an end everywhere."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.domain import SYSTEM, camera, unit
from support.joined import Hub, hub_of, joined
from support.views import (
    CAMERA,
    PATROL,
    TRACE,
    Levels,
    all_ended,
    last,
    may_watch,
    open_of,
    operator,
    records,
    three,
    until,
    watch,
)

from vidhub.api import convert
from vidhub.catalogue.received import Chunk, Received
from vidhub.errors import FailedPrecondition, NotFound, PermissionDenied, ResourceExhausted, Unavailable
from vidhub.link import answering, asking, live
from vidhub.link.allowance import Allowance
from vidhub.link.clocks import by_our_clock
from vidhub.link.grants import GrantWriter
from vidhub.model import Action, HubLevel, HubSide, LinkedHub, PrincipalKind, Purpose, Role
from vidhub.store import hubs, users
from vidhub.store.remote_cameras import Conflict
from vidhub.v1 import link_service_pb2 as pb


@pytest.fixture
async def levels(tmp_path: Path) -> AsyncIterator[Levels]:
    async with (
        three(tmp_path) as found,
        joined(found.province, found.city),
        joined(found.city, found.district),
    ):
        yield found


async def test_three_registers_have_the_view_under_one_trace(levels: Levels) -> None:
    session = await watch(levels.province)
    views = {}
    for hub, who in zip(levels.all, ("user/li", "user/li@province", "user/li@province"), strict=True):
        (record,) = await records(hub, "session.open")
        assert (record.principal, record.purpose_kind, record.trace_id) == (who, "patrol", TRACE), hub.id
        (views[hub.id],) = await open_of(hub)
        assert record.session_id == views[hub.id].id
        assert hub.domain.core.counts()["sessions"] == 1
    assert views["province"].id == session.id
    assert (views["city"].asked_by_hub_id, views["city"].view_id) == ("province", session.id)
    assert (views["district"].asked_by_hub_id, views["district"].view_id) == ("city", views["city"].id)
    assert views["district"].viewer_name == "Li (province)"
    assert views["district"].grant_id == levels.shares["district"]
    assert views["city"].grant_id == levels.shares["city"]
    assert {view.trace_id for view in views.values()} == {TRACE}
    # All have the same end; the links know the clocks' difference to a few milliseconds.
    assert max(abs((views["district"].expire_time - one.expire_time).total_seconds()) for one in views.values()) < 1


async def test_the_district_refuses_a_purpose_and_the_viewer_reads_why(levels: Levels) -> None:
    with pytest.raises(PermissionDenied) as caught:
        await watch(levels.province, purpose=Purpose("traffic"))
    assert (caught.value.reason, caught.value.refused_by) == ("PURPOSE_NOT_GRANTED", "district")
    assert caught.value.message.startswith("district: the camera is shared"), "the city in between adds no name"
    for hub in levels.all:
        (refused,) = await records(hub, "session.refused")
        assert (refused.result, refused.trace_id, refused.purpose_kind) == ("PURPOSE_NOT_GRANTED", TRACE, "traffic")
        assert await open_of(hub) == []
    assert json.loads((await records(levels.province, "session.refused"))[0].detail_json) == {"by_hub": "district"}


async def test_the_citys_own_policy_is_asked_as_well(levels: Levels) -> None:
    await may_watch(levels.province, "wang", purposes=("emergency",))
    with pytest.raises(PermissionDenied) as caught:
        await watch(levels.province, "wang", Purpose("emergency"))
    assert (caught.value.reason, caught.value.refused_by) == ("PURPOSE_NOT_GRANTED", "city")
    assert await records(levels.district, "session.refused") == []


async def test_whoever_runs_a_hub_above_sees_no_video_below(levels: Levels) -> None:
    for roles in ({Role.OPERATOR, Role.SUPERVISOR}, {Role.ADMINISTRATOR}):
        boss = replace(operator(levels.province), id="boss", roles=frozenset(roles))
        with pytest.raises(PermissionDenied, match="ROLE_SEES_NO_VIDEO"):
            await levels.province.domain.sessions.open(boss, CAMERA, PATROL)


@pytest.mark.parametrize(
    "ender", ["viewer", "grant", "suspended", "city", "district", "share", "unit", "moved", "retired"]
)
async def test_an_end_anywhere_is_an_end_everywhere(levels: Levels, ender: str) -> None:
    session = await watch(levels.province)
    province, city, district = levels.all
    match ender:
        case "viewer":
            reason = "SESSION_CLOSED"
            await province.domain.sessions.close(operator(province), session.id)
        case "grant":
            reason = "GRANT_REVOKED"
            await province.domain.grants.revoke(SYSTEM, levels.grant.id, "over")
        case "suspended":
            reason = "USER_SUSPENDED"
            await province.domain.store.write(lambda conn: users.set_suspended(conn, "li", True))
            province.domain.book.end_all_of(PrincipalKind.USER, "li", reason)
        case "city" | "district":
            reason = "SESSION_TERMINATED"
            hub = city if ender == "city" else district
            (view,) = await open_of(hub)
            await hub.domain.sessions.terminate(SYSTEM, view.id, "no longer")
        case "share":
            reason = "GRANT_REVOKED"
            district.unshare(levels.shares["district"])
        case "unit":
            reason = "SESSION_TERMINATED"
            owner = replace(unit("u1"), hub_id="district")
            (view,) = (await district.domain.sessions.list(owner)).sessions
            assert view.viewer_name == "Li (province)"
            await district.domain.sessions.terminate(owner, view.id, "校庆")
        case "moved":  # out of what the district shares
            reason = "POLICY_CHANGED"
            elsewhere = camera(1, region_code="110000")
            await district.domain.catalogue.register(replace(unit("u1"), hub_id="district"), [elsewhere])
        case _:
            reason = "CAMERA_RETIRED"
            await district.domain.catalogue.retire(replace(unit("u1"), hub_id="district"), CAMERA, "gone")
    await all_ended(levels.all, reason)
    told = {
        hub.id: json.loads((await records(hub, "session.close"))[0].detail_json).get("by_hub") for hub in levels.all
    }
    where = {"city": "city", "viewer": "province", "grant": "province", "suspended": "province"}.get(ender, "district")
    assert told == {hub.id: None if hub.id == where else where for hub in levels.all}


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("REGION_NOT_OF_PEER", "REGION_NOT_OF_PEER"),
        ("PATH_CYCLE", "PATH_CYCLE"),
        ("NAME_INVALID", "CAMERA_RECORD_INVALID"),
        ("given", "CAMERA_ID_TAKEN"),
    ],
)
async def test_a_camera_that_the_hub_takes_no_more_ends_its_views_by_the_rule_it_breaks(
    levels: Levels, rule: str, told: str
) -> None:
    """Nobody has retired it."""
    await watch(levels.province)
    domain = levels.city.domain
    for name in ("district", "other"):
        linked = LinkedHub(
            name, name, HubLevel.DISTRICT, "360602", HubSide.LOWER, joined=True, create_time=datetime.now(UTC)
        )
        await domain.store.write(lambda conn, hub=linked: hubs.put(conn, hub))
    if rule == "given":
        await domain.received.take("other", Chunk(cameras=[Received(camera(1, home_hub_id="other"), bytes(32))]))
        await domain.received.assign(SYSTEM, CAMERA, "other", "x")
        await domain.received.take("other", Chunk(cameras=[Received(camera(1, home_hub_id="other"), bytes(32))]))
    else:
        await domain.received.take("district", Chunk(refused=[Conflict("district", CAMERA, rule)]))
    await all_ended(levels.all, told)


async def test_renewing_is_judged_on_every_hub_again(levels: Levels) -> None:
    session = await watch(levels.province)
    caller = replace(operator(levels.province), trace_id="c" * 32)
    renewed = (await levels.province.domain.sessions.renew(caller, session.id)).session
    assert renewed.expire_time > session.expire_time
    for hub in levels.all:
        (record,) = await records(hub, "session.renew")
        assert record.trace_id == caller.trace_id
        (view,) = await open_of(hub)
        assert abs((view.expire_time - renewed.expire_time).total_seconds()) < 1


async def test_a_still_is_asked_for_below_and_on_record_there(levels: Levels) -> None:
    session = await watch(levels.province)
    book, viewer = levels.province.domain.book, operator(levels.province)
    with pytest.raises(PermissionDenied) as caught:
        await book.may_take_still(viewer, session)
    assert (caught.value.reason, caught.value.refused_by) == ("NO_GRANT", "city")
    await levels.city.share("province", actions=(Action.SNAPSHOT,))
    with pytest.raises(PermissionDenied) as caught:
        await book.may_take_still(viewer, session)
    assert (caught.value.reason, caught.value.refused_by) == ("NO_GRANT", "district")
    await levels.district.share("city", actions=(Action.SNAPSHOT,))
    of_the_call = "b" * 32
    await book.may_take_still(replace(viewer, trace_id=of_the_call), session)
    for hub in (levels.city, levels.district):
        (record,) = await records(hub, "camera.snapshot")
        assert (record.principal, record.trace_id) == ("user/li@province", of_the_call)


async def test_across_regions_it_goes_up_and_down(tmp_path: Path) -> None:
    async with (
        hub_of(tmp_path / "c", "city") as city,
        hub_of(tmp_path / "a", "yuehu") as here,
        hub_of(tmp_path / "b", "yujiang") as there,
        joined(city, here),
        joined(city, there),
    ):
        await there.domain.catalogue.register(replace(unit("u1"), hub_id=there.id), [camera(1)])
        await city.knows(camera(1), home=there.id, by=there.id)
        await here.knows(camera(1), home=there.id, by=city.id)
        await may_watch(here)
        await there.share("city")
        await city.share("yuehu")
        await watch(here)
        for hub in (here, city, there):
            (record,) = await records(hub, "session.open")
            assert record.trace_id == TRACE
        assert (await open_of(there))[0].principal == "user/li@yuehu"
        (view,) = await open_of(city)
        await city.domain.sessions.terminate(SYSTEM, view.id, "no")
        await all_ended((here, city, there), "SESSION_TERMINATED")


# What fails.


async def test_without_a_link_it_fails_at_once_and_on_record(tmp_path: Path) -> None:
    async with three(tmp_path) as levels:
        with pytest.raises(Unavailable, match="LINK_DOWN"):
            await watch(levels.province)
        async with joined(levels.province, levels.city):
            with pytest.raises(Unavailable) as caught:
                await watch(levels.province)
            assert (caught.value.reason, caught.value.refused_by) == ("LINK_DOWN", "city")
            assert len(await records(levels.province, "session.refused")) == 2
            assert len(await records(levels.city, "session.refused")) == 1


async def test_a_hub_that_does_not_answer_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidhub.link.asking.ANSWER_S", 0.2)
    async with (
        three(tmp_path) as levels,
        joined(levels.province, levels.city),
        joined(levels.city, levels.district) as line,
    ):
        line.flowing.clear()
        with pytest.raises(Unavailable) as caught:
            await watch(levels.province)
        assert caught.value.reason == "LINK_TIMEOUT"
        line.flowing.set()
        # What the district opened when it heard at last is ended by what it hears next.
        assert (await last(levels.district)).end_reason in {"LINK_TIMEOUT", "SESSION_CLOSED"}

        async def nothing_is_left() -> bool:
            return not any([await open_of(hub) or hub.domain.core.counts()["sessions"] for hub in levels.all])

        await until(nothing_is_left)


async def test_a_cut_link_ends_views_on_both_sides_by_their_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidhub.link.views.SILENCE_S", 0.5)
    async with (
        three(tmp_path) as levels,
        joined(levels.province, levels.city),
        joined(levels.city, levels.district) as line,
    ):
        await watch(levels.province)
        await line.cut()
        await all_ended(levels.all, "LINK_LEASE_EXPIRED")
        for hub, end in zip((levels.city, levels.district), line.ends, strict=True):
            ended = (await last(hub)).end_time
            assert ended is not None
            assert ended - end.heard_time > timedelta(seconds=0.4), "not before the lease was over"


async def test_a_silent_link_is_no_different(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        three(tmp_path) as levels,
        joined(levels.province, levels.city),
        joined(levels.city, levels.district) as line,
    ):
        await watch(levels.province)
        line.flowing.clear()
        monkeypatch.setattr(live, "SILENCE_S", 1.0)
        monkeypatch.setattr("vidhub.link.views.SILENCE_S", 1.0)
        async with asyncio.timeout(30):
            await asyncio.gather(*(link.over() for link in line.ends))
        assert {link.end_reason for link in line.ends} == {"LINK_SILENT"}
        await all_ended(levels.all, "LINK_LEASE_EXPIRED")


async def test_a_link_that_comes_back_in_time_goes_on_with_its_views(tmp_path: Path) -> None:
    async with three(tmp_path) as levels, joined(levels.province, levels.city):
        async with joined(levels.city, levels.district):
            kept = await watch(levels.province)
            over = await watch(levels.province)
            cut_off = await watch(levels.province)
        # Both sides end one meanwhile.
        await levels.province.domain.sessions.close(operator(levels.province), over.id)
        theirs = (await open_of(levels.district))[-1]
        await levels.district.domain.sessions.terminate(SYSTEM, theirs.id, "no")
        async with joined(levels.city, levels.district):

            async def settled() -> bool:
                return [one.id for one in await open_of(levels.province)] == [kept.id]

            await until(settled)
            found = await levels.province.domain.sessions.list(SYSTEM, include_ended=True)
            ends = {one.id: one.end_reason for one in found.sessions}
            assert ends == {kept.id: "", over.id: "SESSION_CLOSED", cut_off.id: "SESSION_TERMINATED"}
            renewed = await levels.province.domain.sessions.renew(operator(levels.province), kept.id)
            assert renewed.session.expire_time > kept.expire_time


async def test_what_is_not_renewed_after_the_link_came_back_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidhub.link.views.SILENCE_S", 0.5)
    async with three(tmp_path) as levels:
        async with joined(levels.province, levels.city), joined(levels.city, levels.district):
            await watch(levels.province)
        # The city has lost its memory: it renews nothing.
        levels.city.views._asking._views.clear()
        async with joined(levels.city, levels.district):
            assert (await last(levels.district)).end_reason == "LINK_LEASE_EXPIRED"


async def test_a_hub_that_was_started_anew_has_lost_its_views_at_once(tmp_path: Path) -> None:
    async with three(tmp_path) as levels, joined(levels.city, levels.district):
        async with joined(levels.province, levels.city):
            await watch(levels.province)
        # As after a crash of the province.
        levels.province.views._asking._views.clear()
        levels.province.instance = "second"
        async with joined(levels.province, levels.city):
            for hub in (levels.city, levels.district):
                assert (await last(hub)).end_reason == "SESSION_LOST"
                (closed,) = await records(hub, "session.close")
                assert json.loads(closed.detail_json)["by_hub"] == "province"


async def test_what_is_not_renewed_after_another_link_took_the_place_of_the_first_ends(levels: Levels) -> None:
    kept, lost = [(await watch(levels.province), (await open_of(levels.district))[-1])[1] for _ in range(2)]
    views = levels.city.views._asking._views
    del views[next(key for key in views if key == lost.view_id)]
    answering = levels.district.views._answering

    async def kept_alone_is_renewed() -> bool:
        return [one.session_id for one in answering._views.values() if one.lease is not None] == [lost.id]

    async with joined(levels.city, levels.district):
        await until(kept_alone_is_renewed)
        # Nobody waits for the whole of the lease here: as if it were over now.
        (held,) = [one for one in answering._views.values() if one.lease is not None]
        answering._expired(held, "LINK_LEASE_EXPIRED")
        assert (await last(levels.district)).end_reason == "LINK_LEASE_EXPIRED"
        assert [one.id for one in await open_of(levels.district)] == [kept.id]


@pytest.mark.parametrize("reason", ["HUB_DRAINING", "LINK_ENDED"])
async def test_a_farewell_ends_views_at_once(tmp_path: Path, reason: str) -> None:
    async with (
        three(tmp_path) as levels,
        joined(levels.province, levels.city),
        joined(levels.city, levels.district) as line,
    ):
        await watch(levels.province)
        await line.cut(reason)
        await all_ended(levels.all, reason)


async def test_a_restart_ends_views_over_links_however_clean(levels: Levels) -> None:
    await watch(levels.province)
    for hub in levels.all:
        await hub.domain.reload(was_clean=True)
        page = await hub.domain.sessions.list(SYSTEM, include_ended=True)
        assert [one.end_reason for one in page.sessions] == ["SESSION_LOST"], hub.id


# What other hubs may try.


class Stranger:
    """The end of a link to the district, the city's or another hub's, saying whatever it likes."""

    def __init__(self, levels: Levels, line: object, asker: Hub | None = None) -> None:
        self.levels = levels
        self.asker = asker or levels.city
        self.link = line.ends[0]  # type: ignore[attr-defined]
        self.writer = GrantWriter(self.asker.id, self.asker.keys.hub_pem)
        self.number = 0

    def request(self, *, grant: dict[str, object] | None = None, **changed: object) -> pb.ViewRequest:
        self.number += 1
        words: dict[str, object] = {
            "to": "district",
            "viewer": "zhou@city",
            "camera_id": CAMERA,
            "action": Action.VIEW_LIVE,
            "purpose": "patrol",
            "grant_id": "g1",
            "end": self.levels.city.clock() + timedelta(hours=1),
            "now": self.levels.city.clock(),
        }
        fields: dict[str, object] = {
            "view_id": f"v{self.number}",
            "camera_id": CAMERA,
            "profile": 3,
            "action": 2,
            "viewer": pb.Viewer(hub_id="city", name="zhou", roles=["operator"]),
            "purpose": {"kind": "patrol"},
            "grant_jwt": self.writer.write(**{**words, **(grant or {})}),  # type: ignore[arg-type]
            "trace_id": TRACE,
            "path": list(dict.fromkeys(("city", self.asker.id))),
            "expire_time": self.levels.city.clock() + timedelta(minutes=5),
        }
        return pb.ViewRequest(**{**fields, **changed})  # type: ignore[arg-type]

    async def ask(self, request: pb.ViewRequest) -> pb.ViewDecision:
        return await self.asker.views._asking._decision(self.link, request.view_id, 1, view_request=request)


@pytest.fixture
async def stranger(tmp_path: Path) -> AsyncIterator[Stranger]:
    async with three(tmp_path) as levels, joined(levels.city, levels.district) as line:
        yield Stranger(levels, line)


async def test_a_good_request_is_allowed_once(stranger: Stranger) -> None:
    request = stranger.request()
    assert (await stranger.ask(request)).allowed
    again = await stranger.ask(request)
    assert (again.allowed, again.reason) == (False, "VIEW_EXISTS")
    stranger.link.send(view_end=pb.ViewEnd(view_id=request.view_id, reason="SESSION_CLOSED"))
    assert (await last(stranger.levels.district)).end_reason == "SESSION_CLOSED"
    assert (await stranger.ask(request)).reason == "VIEW_EXISTS"


# What is said otherwise than in a good request, and the reason that it is refused for.
WRONG: list[tuple[dict[str, object], str]] = [
    ({"grant_jwt": ""}, "GRANT_INVALID"),
    ({"grant_jwt": "a.b.c"}, "GRANT_INVALID"),
    ({"grant": {"camera_id": camera(2).id}}, "GRANT_INVALID"),
    ({"grant": {"purpose": "traffic"}}, "GRANT_INVALID"),
    ({"grant": {"viewer": "wu@city"}}, "GRANT_INVALID"),
    ({"grant": {"action": Action.SNAPSHOT}}, "GRANT_INVALID"),
    ({"grant": {"to": "yujiang"}}, "GRANT_INVALID"),
    ({"grant": {"end": datetime.now(UTC) - timedelta(minutes=2)}}, "GRANT_INVALID"),
    ({"path": ["district", "city"], "viewer": pb.Viewer(hub_id="district", name="zhou")}, "VIEW_CYCLE"),
    ({"path": ["city", "elsewhere"]}, "VIEW_PATH_INVALID"),
    ({"path": ["province", "city"]}, "VIEW_PATH_INVALID"),
    ({"viewer": pb.Viewer(hub_id="city", name="a/b", roles=["operator"])}, "VIEWER_INVALID"),
    ({"viewer": pb.Viewer(hub_id="city", name="zhou", roles=["god"])}, "ROLE_SEES_NO_VIDEO"),
    ({"viewer": pb.Viewer(hub_id="city", name="zhou", roles=["operator", "auditor"])}, "ROLE_SEES_NO_VIDEO"),
    ({"viewer": pb.Viewer(hub_id="city", name="zhou")}, "ROLE_SEES_NO_VIDEO"),
    ({"action": 6}, "ACTION_NOT_SERVED"),
    ({"purpose": {"kind": "fun"}, "grant": {"purpose": "fun"}}, "PURPOSE_UNKNOWN"),
    ({"purpose": {"kind": "publish"}, "grant": {"purpose": "publish"}}, "PURPOSE_UNKNOWN"),
    ({"camera_id": camera(9).id, "grant": {"camera_id": camera(9).id}}, "CAMERA_NOT_FOUND"),
]


async def test_what_does_not_hold_together_is_refused_by_name_and_on_record(stranger: Stranger) -> None:
    for changed, reason in WRONG:
        decision = await stranger.ask(stranger.request(**changed))  # type: ignore[arg-type]
        assert (decision.allowed, decision.reason, decision.hub_id) == (False, reason, "district"), changed
    found = await records(stranger.levels.district, "session.refused")
    assert {record.result for record in found} == {reason for _, reason in WRONG}
    assert {record.trace_id for record in found} == {TRACE}
    assert stranger.link.is_open
    assert (await stranger.ask(stranger.request())).allowed


@pytest.mark.parametrize("ahead", [600.0, -600.0])
async def test_clocks_ten_minutes_apart_change_nothing(tmp_path: Path, ahead: float) -> None:
    async with three(tmp_path, ahead=ahead) as levels, joined(levels.city, levels.district) as line:
        stranger = Stranger(levels, line)
        assert stranger.link.skew_s == pytest.approx(-ahead, abs=1)
        decision = await stranger.ask(stranger.request())
        assert decision.allowed, decision
        # Each says and hears times by its own clock.
        (view,) = await open_of(levels.district)
        assert (view.expire_time - datetime.now(UTC)).total_seconds() == pytest.approx(300, abs=5)
        told = by_our_clock(stranger.link, decision, "expire_time")
        assert told is not None
        assert (told - levels.city.clock()).total_seconds() == pytest.approx(300, abs=5)
        over = stranger.request(grant={"end": levels.city.clock() - timedelta(minutes=2)})
        assert (await stranger.ask(over)).reason == "GRANT_INVALID"
        late = stranger.request(expire_time=levels.city.clock() - timedelta(seconds=5))
        assert (await stranger.ask(late)).reason == "EXPIRE_TIME_INVALID"


async def test_a_forged_signature_is_refused(stranger: Stranger) -> None:
    stranger.writer = GrantWriter("city", stranger.levels.province.keys.hub_pem)
    assert (await stranger.ask(stranger.request())).reason == "GRANT_INVALID"


async def test_what_is_not_shared_does_not_exist(stranger: Stranger) -> None:
    district = stranger.levels.district
    await district.domain.catalogue.register(replace(unit("u1"), hub_id="district"), [camera(2, region_code="110000")])
    hidden = camera(2).id
    decision = await stranger.ask(stranger.request(camera_id=hidden, grant={"camera_id": hidden}))
    assert decision.reason == "CAMERA_NOT_FOUND"


async def test_a_still_wants_an_open_view_of_the_same_person(stranger: Stranger) -> None:
    await stranger.levels.district.share("city", actions=(Action.SNAPSHOT,))
    view = stranger.request()
    assert (await stranger.ask(view)).allowed
    still = {"action": 3, "grant": {"action": Action.SNAPSHOT}}
    assert (await stranger.ask(stranger.request(**still, of_view_id=view.view_id))).allowed  # type: ignore[arg-type]
    assert (await stranger.ask(stranger.request(**still, of_view_id="v99"))).reason == "VIEW_UNKNOWN"  # type: ignore[arg-type]
    other = {
        "viewer": pb.Viewer(hub_id="city", name="wu", roles=["operator"]),
        "grant": {"action": Action.SNAPSHOT, "viewer": "wu@city"},
    }
    wrong = stranger.request(**{**still, **other}, of_view_id=view.view_id)  # type: ignore[arg-type]
    assert (await stranger.ask(wrong)).reason == "VIEW_UNKNOWN"


async def test_too_many_at_once_are_refused(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidhub.link.answering.MOST_VIEWS", 3)
    decisions = await asyncio.gather(*(stranger.ask(stranger.request()) for _ in range(10)))
    reasons = [decision.reason for decision in decisions]
    assert reasons.count("") == 3
    assert reasons.count("LIMIT_VIEWS") == 7
    assert stranger.link.is_open


async def test_too_many_in_a_moment_are_refused(stranger: Stranger) -> None:
    stranger.levels.district.views._answering._allowance = Allowance(per_s=0.001, burst=3)
    decisions = [await stranger.ask(stranger.request()) for _ in range(5)]
    assert [decision.reason for decision in decisions] == ["", "", "", "LIMIT_RATE", "LIMIT_RATE"]
    assert stranger.link.is_open


async def test_this_hub_asks_for_no_more_than_a_link_bears(levels: Levels, monkeypatch: pytest.MonkeyPatch) -> None:
    # All of them may end at once, on both sides, with their streams.
    assert 3 * max(asking.MOST_VIEWS, answering.MOST_VIEWS) <= live._MOST_URGENT
    monkeypatch.setattr("vidhub.link.asking.MOST_VIEWS", 2)
    first = await watch(levels.province)
    await watch(levels.province)
    with pytest.raises(ResourceExhausted, match="LIMIT_VIEWS"):
        await watch(levels.province)
    await levels.province.domain.sessions.close(operator(levels.province), first.id)

    async def has_place() -> bool:
        return levels.province.views._asking._count["city"] == 1

    await until(has_place)
    await watch(levels.province)


async def test_one_person_has_so_many_views(stranger: Stranger) -> None:
    decisions = [await stranger.ask(stranger.request()) for _ in range(65)]
    assert [decision.reason for decision in decisions[63:]] == ["", "LIMIT_SESSIONS"]


async def test_one_person_has_so_many_views_by_whichever_hubs_and_at_once(stranger: Stranger, tmp_path: Path) -> None:
    district = stranger.levels.district
    async with hub_of(tmp_path / "bureau", "bureau") as bureau, joined(bureau, district) as line:
        await district.share("bureau")
        other = Stranger(stranger.levels, line, bureau)
        asked = [asker.ask(asker.request()) for _ in range(40) for asker in (stranger, other)]
        reasons = Counter(decision.reason for decision in await asyncio.gather(*asked))
    assert reasons == {"": 64, "LIMIT_SESSIONS": 16}


async def test_a_renewal_of_what_is_not_there_is_answered_with_its_end(stranger: Stranger) -> None:
    heard: list[pb.ViewEnd] = []
    views = stranger.levels.city.views
    end = views._end
    views._end = lambda link, *words: (heard.append(words), end(link, *words))  # type: ignore[assignment, func-returns-value, misc]
    stranger.link.send(view_renewal=pb.ViewRenewal(view_id="v7"))

    async def was_heard() -> bool:
        return bool(heard)

    await until(was_heard)
    assert heard == [("v7", "SESSION_LOST", "district")]


async def test_an_end_by_a_hub_that_has_no_part_in_the_view_ends_nothing(levels: Levels) -> None:
    await watch(levels.province)
    (view,) = await open_of(levels.city)
    (theirs,) = await open_of(levels.district)
    # The province names the city's own view on the district, and the district's session.
    link = levels.province.links.get("city")
    assert link is not None
    for name in (view.id, theirs.id):
        link.send(view_end=pb.ViewEnd(view_id=name, reason="SESSION_CLOSED"))
    await levels.province.domain.sessions.renew(operator(levels.province), (await open_of(levels.province))[0].id)
    assert [len(await open_of(hub)) for hub in levels.all] == [1, 1, 1]


async def test_a_camera_of_another_hub_takes_no_load_programs(levels: Levels) -> None:
    with pytest.raises(FailedPrecondition, match="CAMERA_OF_OTHER_HUB"):
        await levels.province.domain.sessions.open_for_bench(CAMERA, 2)


async def test_a_unit_of_the_same_id_here_has_no_say_over_another_hubs_camera(levels: Levels) -> None:
    session = await watch(levels.province)
    same = replace(unit("u1"), hub_id="province")
    assert (await levels.province.domain.sessions.list(same)).sessions == ()
    with pytest.raises(NotFound, match="SESSION_NOT_FOUND"):
        await levels.province.domain.sessions.terminate(same, session.id, "mine")


async def test_a_flood_of_renewals_is_worked_on_a_few_at_a_time(levels: Levels) -> None:
    await watch(levels.province)
    (view,) = await open_of(levels.district)
    link, ours = levels.district.links.get("city"), levels.district.views._answering
    most = answering.MOST_UNDER_WAY
    assert link is not None
    sent: list[pb.ViewDecision] = []
    link.send = lambda **body: sent.append(body["view_decision"])  # type: ignore[method-assign]
    end = convert.to_time(datetime.now(UTC) + timedelta(minutes=1))
    for _ in range(3 * most):
        await levels.district.views.take(link, "view_renewal", pb.ViewRenewal(view_id=view.view_id, expire_time=end))
    assert len(ours._tasks) == most
    assert [one.reason for one in sent] == ["LIMIT_VIEWS"] * 2 * most

    async def answered() -> bool:
        return len(sent) == 3 * most and not ours._tasks

    await until(answered)
    assert [one.allowed for one in sent].count(True) == most
    assert not any(ours._renewing.values())
