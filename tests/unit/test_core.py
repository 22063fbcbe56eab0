"""The wrapper of the extension: values in, values out, events on the loop."""

import asyncio
import json
import math
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from support.domain import HUB, SYSTEM, camera, person, unit
from support.ports import free_port

from vidhub import _core
from vidhub.core import Change, Core
from vidhub.errors import FailedPrecondition, Internal, InvalidArgument, NotFound, OutOfRange, Unavailable
from vidhub.events import Fanout
from vidhub.identity import HubKeys
from vidhub.model import (
    Action,
    CameraFilter,
    CameraState,
    Circle,
    CoreEvent,
    Grant,
    PrincipalKind,
    Profile,
    Revision,
    Role,
    Scope,
)

OPERATOR = person("zhang", Role.OPERATOR)
EPOCH = "e1"


@pytest.fixture
async def core(tmp_path):
    keys = HubKeys.open(tmp_path)
    built = Core({"hub_id": HUB, "ticket_key_pem": keys.hub_pem.decode(), "threads": 2})
    yield built
    await built.stop()


def rows(*numbers: int):
    return [replace(camera(number, unit_id="u1"), revision=Revision(EPOCH, number)) for number in numbers]


def grant(**changed: object) -> Grant:
    now = datetime.now(UTC)
    fields: dict[str, object] = {
        "id": "g1",
        "username": "zhang",
        "department": "",
        "scope": Scope(region_prefixes=("36",)),
        "actions": (Action.LIST, Action.VIEW_LIVE),
        "purposes": ("patrol",),
        "not_before": now,
        "not_after": now + timedelta(hours=1),
    }
    return Grant(**{**fields, **changed})  # type: ignore[arg-type]


def open_session(core: Core, session_id: str = "s1", **changed: object) -> None:
    fields: dict[str, object] = {
        "profile": Profile.AUTO,
        "purpose": "patrol",
        "grant_id": "g1",
        "expire_time": datetime.now(UTC) + timedelta(minutes=5),
        "rtsp_user": f"v{session_id}",
        "rtsp_password": "x" * 24,
    }
    core.open_session(session_id, OPERATOR, camera(1).id, **{**fields, **changed})  # type: ignore[arg-type]


def test_no_policy_names_a_single_camera():
    """Points stand on it: cameras that are alike are judged once."""
    policies = list((Path(__file__).parents[2] / "rust").rglob("*.cedar"))
    assert policies
    assert not [
        path.name for path in policies if re.search(r"resource\s*(==|in\b)|resource\.(id|revision)", path.read_text())
    ]


async def test_points_are_the_cameras_of_a_list_whatever_a_grant_names(core):
    units = [replace(row, unit_id=f"u{place % 3}") for place, row in enumerate(rows(*range(1, 40)))]
    core.load(Revision(EPOCH, 40), units, [])
    chosen = tuple(row.id for row in units[5:9])
    for scope in (Scope(unit_ids=("u1",)), Scope(camera_ids=chosen), Scope(camera_ids=chosen, unit_ids=("u2",))):
        core.load_grants([grant(scope=scope)])
        listed = core.list_cameras(OPERATOR, CameraFilter(), limit=100)
        points = core.list_points(OPERATOR, CameraFilter(), limit=100)
        assert points.ids == [row.id for row in listed.cameras]
        assert (points.total, len(points.states)) == (listed.total, len(points.ids))
        assert points.ids
    core.load_grants([])
    assert core.list_points(OPERATOR, CameraFilter(), limit=100).ids == []


async def test_options_that_are_none_are_named():
    with pytest.raises(InvalidArgument, match="strem"):
        Core({"hub_id": HUB, "ticket_key_pem": "", "strem": {}})


async def test_what_is_loaded_is_listed_and_followed(core):
    core.load(Revision(EPOCH, 3), rows(1, 2, 3), [Change(3, camera(3).id, removed=False)])
    page = core.list_cameras(SYSTEM, CameraFilter(), limit=2)
    assert [one.id for one in page.cameras] == [camera(1).id, camera(2).id]
    assert (page.next_after, page.total, page.revision) == (camera(2).id, 3, Revision(EPOCH, 3))
    first = page.cameras[0]
    assert (first.name, first.location.latitude, first.state) == ("东门1", 28.24, CameraState.UNKNOWN)
    assert first.revision == Revision(EPOCH, 1)
    assert [stream.profile for stream in first.streams] == [Profile.MAIN]

    core.apply_cameras(4, [replace(rows(2)[0], name="neu", revision=Revision(EPOCH, 4))], [camera(1).id])
    assert core.changes_since(Revision(EPOCH, 3), 10) == (
        Change(4, camera(2).id, removed=False),
        Change(4, camera(1).id, removed=True),
    )
    with pytest.raises(OutOfRange, match="REVISION_TOO_OLD"):
        core.changes_since(Revision("e0", 3), 10)
    with pytest.raises(NotFound, match="CAMERA_NOT_FOUND"):
        core.get_camera(SYSTEM, camera(1).id)


async def test_every_condition_of_a_filter_reaches_the_core(core):
    core.load(
        Revision(EPOCH, 3), [*rows(1, 2), replace(rows(3)[0], unit_id="u2", region_code="360681", industry="42")], []
    )
    for wanted, ids in (
        (CameraFilter(region_prefix="360681"), {3}),
        (CameraFilter(unit_ids=("u2",)), {3}),
        (CameraFilter(industries=("11",)), {1, 2}),
        (CameraFilter(place_categories=(5,)), {1, 2, 3}),
        (CameraFilter(place_categories=(4,)), set()),
        (CameraFilter(states=(CameraState.ONLINE,)), set()),
        (CameraFilter(text="东门2"), {2}),
        (CameraFilter(text="dm3"), {3}),
        (CameraFilter(within=Circle(28.24, 117.03, 10)), {1, 2, 3}),
        (CameraFilter(within=Circle(0, 0, 10)), set()),
    ):
        page = core.list_cameras(SYSTEM, wanted, limit=10)
        assert {one.id for one in page.cameras} == {camera(number).id for number in ids}, wanted


async def test_a_grant_decides_and_says_so(core):
    core.load(Revision(EPOCH, 1), rows(1), [])
    denied = core.authorise(OPERATOR, Action.VIEW_LIVE, camera(1).id, "patrol")
    assert (denied.allowed, denied.reason) == (False, "NO_GRANT")
    given = grant()
    core.apply_grant(given)
    allowed = core.authorise(OPERATOR, Action.VIEW_LIVE, camera(1).id, "patrol")
    assert (allowed.allowed, allowed.grant_id) == (True, "g1")
    assert allowed.valid_until is not None
    assert abs((allowed.valid_until - given.not_after).total_seconds()) < 1e-3
    with pytest.raises(NotFound):
        core.authorise(OPERATOR, Action.VIEW_LIVE, camera(9).id, "patrol")


async def test_a_claim_never_reaches_policy(core):
    core.load(Revision(EPOCH, 1), rows(1), [])
    with pytest.raises(Internal):
        core.get_camera(replace(unit(), kind=PrincipalKind.CLAIM), camera(1).id)


async def test_the_end_of_a_session_is_an_event_on_the_loop(core):
    core.load(Revision(EPOCH, 1), rows(1), [])
    core.apply_grant(grant())
    seen: asyncio.Queue[CoreEvent] = asyncio.Queue()
    failures: list[Exception] = []
    fanout = Fanout(core, failures.append)

    def broken(_: object) -> None:
        raise ValueError("one part")

    fanout.on("session_ended", broken)
    fanout.on("session_ended", lambda events: [seen.put_nowait(event) for event in events])
    core.start_listening()
    open_session(core)
    assert core.issue_ticket("s1", 60).expire_time > datetime.now(UTC)
    core.remove_grant("g1", "GRANT_REVOKED")
    event = await asyncio.wait_for(seen.get(), 30)
    assert (event.kind, event.subject, event.reason) == ("session_ended", "s1", "GRANT_REVOKED")
    assert abs((event.time - datetime.now(UTC)).total_seconds()) < 5
    assert [str(failure) for failure in failures] == ["one part"]
    with pytest.raises(NotFound, match="SESSION_UNKNOWN"):
        core.issue_ticket("s1", 60)
    with pytest.raises(NotFound, match="SESSION_UNKNOWN"):
        core.renew_session("s1", datetime.now(UTC))
    assert core.end_session("s1", "SESSION_CLOSED") is False


async def test_a_burst_of_events_arrives_whole(core):
    core.load(Revision(EPOCH, 1), rows(1), [])
    core.apply_grant(grant())
    seen: list[str] = []
    done = asyncio.Event()

    def take(events: object) -> None:
        seen.extend(event.subject for event in events)  # type: ignore[attr-defined]
        if len(seen) == 2_000:
            done.set()

    Fanout(core, lambda _: None).on("session_ended", take)
    core.start_listening()
    for number in range(2_000):
        open_session(core, f"s{number}")
    assert core.counts()["sessions"] == 2_000
    assert core.end_sessions_of(PrincipalKind.USER, "zhang", "USER_SUSPENDED") == 2_000
    await asyncio.wait_for(done.wait(), 30)
    assert len(set(seen)) == 2_000


async def test_a_session_expires_by_itself(core):
    core.load(Revision(EPOCH, 1), rows(1), [])
    core.apply_grant(grant())
    seen: asyncio.Queue[CoreEvent] = asyncio.Queue()
    Fanout(core, lambda _: None).on("session_ended", lambda events: [seen.put_nowait(event) for event in events])
    core.start_listening()
    open_session(core, expire_time=datetime.now(UTC) + timedelta(seconds=0.3))
    assert (await asyncio.wait_for(seen.get(), 30)).reason == "SESSION_EXPIRED"


async def test_stopping_twice_is_harmless(core):
    core.start_listening()
    await core.stop()
    await core.stop()


@pytest.fixture
def options(tmp_path):
    return {"hub_id": HUB, "ticket_key_pem": HubKeys.open(tmp_path).hub_pem.decode(), "threads": 2}


async def test_a_start_that_fails_leaves_no_port_bound(options):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http, webrtc, rtsp = free_port(), free_port(), taken.getsockname()[1]
        listen = {"http": f"127.0.0.1:{http}", "webrtc": f"127.0.0.1:{webrtc}", "rtsp": f"127.0.0.1:{rtsp}"}
        core = Core({**options, "listen": listen})
        with pytest.raises(Unavailable, match="--rtsp"):
            await core.start()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", http))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", webrtc))
    bound = await core.start()
    assert str(http) in bound["http"]
    with pytest.raises(FailedPrecondition, match="already"):
        await core.start()
    await core.stop()


def test_a_stop_while_another_thread_drains_is_harmless(options):
    core = _core.Core(json.dumps({**options, "listen": {"http": "127.0.0.1:0"}}))
    address, port = str(core.start()["http"]).rsplit(":", 1)
    with socket.create_connection((address, int(port))) as busy, ThreadPoolExecutor() as threads:
        # A request under way, which the drain would wait for.
        busy.sendall(b"POST /whep/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        draining = threads.submit(core.drain, 60.0)
        stopping = [threads.submit(core.stop) for _ in range(3)]
        for one in [draining, *stopping]:
            one.result(timeout=30)
    core.drain(math.nan)
    core.drain(math.inf)
    core.drain(-math.inf)


def test_a_quarantined_camera_is_not_dialled_after_a_restart(options):
    with socket.create_server(("127.0.0.1", 0)) as dialled, socket.create_server(("127.0.0.1", 0)) as quarantined:
        core = _core.Core(json.dumps({**options, "source": {"allow": ["127.0.0.0/8"]}}))
        cameras = [
            (camera(number).id, "", "u1", "360602", "11", 5, 0.0, 0.0, number == 2, number, [(1, url, "", "", 1)], "")
            for number, listener in ((1, dialled), (2, quarantined))
            if (url := f"rtsp://127.0.0.1:{listener.getsockname()[1]}/")
        ]
        core.load(EPOCH, 2, cameras, [])
        core.start()
        for number in (1, 2):
            core.probe_now(camera(number).id)
        dialled.settimeout(30)
        dialled.accept()[0].close()
        quarantined.settimeout(1)
        with pytest.raises(TimeoutError):
            quarantined.accept()
        core.stop()


def foreign(number: int, hub: str = "lower"):
    """A camera of another hub, as the catalogue holds it: no address, no login."""
    known = replace(camera(number, unit_id="u1"), revision=Revision(EPOCH, number), home_hub_id=hub)
    return replace(known, streams=tuple(replace(stream, url="", username="", password="") for stream in known.streams))


CA_PEM = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"


async def test_states_of_other_hubs_cameras_are_taken_at_once_and_ours_are_not(core):
    core.load(Revision(EPOCH, 1), [*(foreign(number) for number in range(1, 20_001)), *rows(20_001)], [])
    seen: list[CoreEvent] = []
    core.listen(seen.extend)
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    told = [(camera(number).id, CameraState.OFFLINE, at, "no power") for number in range(1, 20_002)]
    assert core.apply_states(told) == 20_000
    assert core.apply_states(told) == 0
    dark = core.get_camera(SYSTEM, camera(7).id)
    assert (dark.state, dark.state_reason, dark.state_time) == (CameraState.OFFLINE, "no power", at)
    assert core.get_camera(SYSTEM, camera(20_001).id).state is CameraState.UNKNOWN
    assert {(state, count) for state, _, _, count in core.camera_counts()} >= {(3, 20_000)}
    while core.take_events():
        pass
    assert len(seen) == 20_000
    assert {(event.kind, event.state, event.time) for event in seen} == {("camera_state", 3, at)}
    for state in (CameraState.QUARANTINED, 99):
        with pytest.raises(InvalidArgument, match="no state"):
            core.apply_states([(camera(1).id, CameraState.ONLINE, at, ""), (camera(2).id, state, at, "")])
    assert core.get_camera(SYSTEM, camera(1).id).state is CameraState.OFFLINE


async def test_whose_a_camera_is(core):
    core.load(Revision(EPOCH, 1), [foreign(1), *rows(2)], [])
    assert [core.is_foreign(camera(number).id) for number in (1, 2)] == [True, False]
    with pytest.raises(NotFound, match="CAMERA_NOT_FOUND"):
        core.is_foreign(camera(3).id)


async def test_a_wanted_stream_of_another_hub_is_asked_for_refused_and_let_go(tmp_path):
    keys = HubKeys.open(tmp_path)
    core = Core({"hub_id": HUB, "ticket_key_pem": keys.hub_pem.decode(), "threads": 2, "stream": {"linger_s": 0.0}})
    try:
        core.load(Revision(EPOCH, 1), [foreign(1), *rows(2)], [])
        taken: asyncio.Queue[CoreEvent] = asyncio.Queue()
        core.listen(lambda events: [taken.put_nowait(event) for event in events])
        core.start_listening()
        await core.start()
        subject = camera(1).id
        assert core.refuse_stream(subject, Profile.MAIN, "LINK_DOWN", "the link is down") is False
        open_session(core)

        async def watch() -> None:
            async with asyncio.timeout(30):
                await anext(core.frames("s1"))

        watching = asyncio.create_task(watch())
        wanted = await asyncio.wait_for(taken.get(), 30)
        assert (wanted.kind, wanted.subject, wanted.reason) == ("stream_wanted", subject, "")
        assert json.loads(wanted.detail) == {"profile": 1, "message": ""}
        assert core.withdraw_stream(subject, Profile.MAIN, "LINK_DOWN") is False
        peer = {
            "peer": "lower",
            "url": f"rtsps://127.0.0.1:1/{subject}",
            "ticket": "x",
            "ca_pem": keys.hub_pem.decode(),
        }
        wrong = [
            ({"url": f"rtsp://127.0.0.1:1/{subject}"}, "LINK_URL_INVALID"),
            ({"ticket": ""}, "LINK_TICKET_INVALID"),
            ({"ca_pem": CA_PEM}, "LINK_CA_INVALID"),
        ]
        for changed, reason in wrong:
            for call in (core.supply_stream, lambda *of, **how: core.start_relay("r1", *of, **how)):
                with pytest.raises(InvalidArgument) as refused:
                    call(subject, Profile.MAIN, **{**peer, **changed})
                assert refused.value.reason == reason
        assert core.refuse_stream(subject, Profile.MAIN, "no word", "the link is down") is True
        with pytest.raises(Unavailable) as unavailable:
            await watching
        assert (unavailable.value.reason, unavailable.value.message) == ("LINK_MEDIA_REFUSED", "the link is down")
        released = await asyncio.wait_for(taken.get(), 30)
        assert (released.kind, released.subject) == ("stream_released", subject)
        assert core.stop_relay("r1", "LINK_ENDED") is False
    finally:
        await core.stop()


async def test_a_grant_to_a_hub_is_for_its_people_and_for_no_name_of_ours(core):
    core.load(Revision(EPOCH, 1), rows(1), [])
    guest = replace(person("zhang", Role.OPERATOR), hub_id="lower")
    ask = partial(core.authorise, action=Action.VIEW_LIVE, camera_id=camera(1).id, purpose="patrol")
    assert ask(guest).reason == "NO_GRANT"
    core.apply_grant(grant(username="", hub_id="lower"))
    assert (ask(guest).allowed, ask(guest).grant_id) == (True, "g1")
    assert ask(OPERATOR).reason == "NO_GRANT"
    assert core.list_cameras(guest, CameraFilter(), limit=10).total == 1


async def test_media_to_hubs_is_counted_from_nothing(core):
    assert (core.snapshot()["links"], core.link_media("lower")) == ([], (0, 0))
