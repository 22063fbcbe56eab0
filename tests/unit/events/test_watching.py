"""Who is told what: by role, by unit, by the cameras that they may know of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from support.domain import SYSTEM, Domain, camera, domain_of, person, unit

from vidhub.errors import Aborted, InvalidArgument, NotFound, OutOfRange, ResourceExhausted, Unavailable
from vidhub.events import EventDesk, EventLog, Facts, kinds, watching
from vidhub.model import Action, Event, EventFilter, Grant, Principal, Revision, Role, Scope, Severity

ALL = EventFilter()
SUPERVISOR = person("sup", Role.SUPERVISOR)
ADMINISTRATOR = person("root", Role.ADMINISTRATOR)
AUDITOR = person("aud", Role.AUDITOR)
OPERATOR = person("zhang", Role.OPERATOR, department="指挥中心")
OF_UNIT = person("li", Role.UNIT, unit_id="u1")


@dataclass
class Place:
    domain: Domain
    events: EventLog
    desk: EventDesk

    async def kinds(self, principal: Principal) -> list[str]:
        """That the caller is told of, oldest change first."""
        return [event.kind for event in (await self.desk.list(principal, ALL)).events][::-1]


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with domain_of(tmp_path) as domain:
        events = await EventLog.open(domain.store)
        await events.reserve()
        yield Place(domain, events, EventDesk(events, domain.core, domain.audit.append))


def dark(number: int = 1, unit_id: str = "u1") -> tuple[str, Facts]:
    one = camera(number)
    return f"camera/{one.id}", Facts(camera_ids=(one.id,), unit_id=unit_id, region_code="360602")


async def one_of_each(place: Place) -> None:
    await place.domain.catalogue.register(unit(), [camera(1)])
    for kind in kinds.KINDS.values():
        facts = Facts(unit_id="u1", principal="user/zhang", camera_ids=(camera(1).id,), region_code="360602")
        place.events.begin(kind, f"camera/{camera(1).id}", facts)


async def grant(domain: Domain, scope: Scope) -> None:
    await domain.add_user(OPERATOR)
    now = datetime.now(UTC)
    await domain.grants.create(
        SYSTEM,
        Grant("", "zhang", "", scope, (Action.VIEW_LIVE,), ("patrol",), now, now + timedelta(hours=1)),
    )


async def test_each_role_is_told_what_is_theirs_to_know(place: Place):
    await one_of_each(place)
    every = set(kinds.KINDS)
    assert set(await place.kinds(SUPERVISOR)) == every
    assert set(await place.kinds(ADMINISTRATOR)) == every
    keepers = {"certificate.expiring", "disk.low", "backup.overdue", "store.failing"}
    keepers |= {"hub.stalled", "hub.crashed", "clock.jumped", "socket.gone"}
    assert set(await place.kinds(AUDITOR)) == every - keepers
    # Of a camera that they may not know of they hear nothing; of their own session they do.
    assert set(await place.kinds(OPERATOR)) == {"session.ended", "store.failing", "link.down"}
    own = {"camera.offline", "session.opened", "session.ended", "certificate.expiring"}
    assert set(await place.kinds(OF_UNIT)) == own
    assert set(await place.kinds(unit("u1"))) == own
    assert await place.kinds(unit("u2")) == []
    assert await place.kinds(person("wang", Role.UNIT)) == []


async def test_an_operator_hears_of_the_cameras_that_they_may_know_of_and_no_more(place: Place):
    await place.domain.catalogue.register(unit(), [camera(1), camera(2), camera(3)])
    await grant(place.domain, Scope(camera_ids=(camera(2).id,)))
    ids = tuple(camera(number).id for number in (1, 2, 3))
    facts = Facts(count=40, camera_ids=ids, unit_id="u1", region_code="360602", detail={"word": "x"})
    place.events.begin(kinds.CAMERA_OFFLINE, "unit/u1", facts)
    place.events.begin(kinds.CAMERA_OFFLINE, *dark(1))
    (seen,) = (await place.desk.list(OPERATOR, ALL)).events
    assert (seen.subject, seen.count, seen.camera_ids) == (f"camera/{camera(2).id}", 1, (camera(2).id,))
    assert (seen.unit_id, seen.region_code, seen.detail_json) == ("", "", "")
    # What was taken out of it can't be searched for.
    assert (await place.desk.list(OPERATOR, EventFilter(unit_id="u1"))).events == ()
    assert (await place.desk.list(OPERATOR, EventFilter(camera_id=camera(1).id))).events == ()


@pytest.mark.parametrize(
    ("wanted", "subjects"),
    [
        (EventFilter(kinds=("disk.low",)), {"disk"}),
        (EventFilter(min_severity=Severity.SEVERE), {"hub/city"}),
        (EventFilter(region_prefix="3606"), {f"camera/{camera(1).id}", "unit/u1"}),
        (EventFilter(unit_id="u1"), {f"camera/{camera(1).id}", "unit/u1"}),
        (EventFilter(camera_id=camera(1).id), {f"camera/{camera(1).id}"}),
        (EventFilter(open=True), {"disk", "hub/city", f"camera/{camera(1).id}"}),
        (EventFilter(unacknowledged=True), {"hub/city", f"camera/{camera(1).id}"}),
    ],
)
async def test_the_conditions_of_a_filter_hold(place: Place, wanted: EventFilter, subjects: set[str]):
    place.events.begin(kinds.LINK_DOWN, "hub/city", Facts())
    place.events.begin(kinds.CAMERA_OFFLINE, *dark())
    place.events.happened(kinds.SESSION_OPENED, "unit/u1", Facts(unit_id="u1", region_code="360602"))
    disk = place.events.begin(kinds.DISK_LOW, "disk", Facts())
    await place.desk.acknowledge(SUPERVISOR, disk.id, "")
    page = await place.desk.list(SUPERVISOR, wanted)
    assert {event.subject for event in page.events} == subjects


async def test_pages_go_through_all_and_count_what_waits(place: Place):
    for number in range(25):
        place.events.begin(kinds.LINK_DOWN, f"hub/{number}", Facts())
    seen: list[str] = []
    token = ""
    while True:
        page = await place.desk.list(SUPERVISOR, ALL, page_size=10, page_token=token)
        seen += [event.subject for event in page.events]
        assert page.unacknowledged == 25
        token = page.next_page_token
        if not token:
            break
    assert seen == [f"hub/{number}" for number in reversed(range(25))]
    with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
        await place.desk.list(
            OPERATOR, ALL, page_token=(await place.desk.list(SUPERVISOR, ALL, page_size=1)).next_page_token
        )


async def test_acknowledging_is_once_on_record_and_only_of_what_one_may_know_of(place: Place):
    disk = place.events.begin(kinds.DISK_LOW, "disk", Facts())
    with pytest.raises(NotFound, match="EVENT_NOT_FOUND"):
        await place.desk.acknowledge(OPERATOR, disk.id, "")
    with pytest.raises(NotFound, match="EVENT_NOT_FOUND"):
        await place.desk.acknowledge(SUPERVISOR, "e404", "")
    both = await asyncio.gather(
        *(place.desk.acknowledge(SUPERVISOR, disk.id, "扩容") for _ in range(2)), return_exceptions=True
    )
    assert [type(one) for one in both] == [Event, Aborted]
    (entry,) = await place.domain.entries("event.acknowledge")
    assert (entry.record.principal, entry.record.resource) == ("user/sup", "disk")
    assert "扩容" in entry.record.detail_json


class Follower:
    """Reads a watch, round by round."""

    def __init__(self, items: AsyncIterator[Event | Revision]) -> None:
        self._items = items
        self.at = Revision("", 0)

    async def round(self) -> list[Event]:
        found: list[Event] = []
        async with asyncio.timeout(30):
            async for item in self._items:
                if isinstance(item, Revision):
                    self.at = item
                    return found
                found.append(item)
        raise AssertionError("the watch ended")


@contextlib.asynccontextmanager
async def following(
    place: Place, principal: Principal, start: Revision | None = None, wanted: EventFilter = ALL
) -> AsyncIterator[Follower]:
    async with contextlib.aclosing(place.desk.watch(principal, start, wanted)) as items:
        yield Follower(items)


async def test_a_watcher_gets_what_there_is_then_what_changes_and_goes_on_where_it_was(place: Place):
    link = place.events.begin(kinds.LINK_DOWN, "hub/city", Facts())
    async with following(place, SUPERVISOR) as follower:
        assert await follower.round() == [link]
        disk = place.events.begin(kinds.DISK_LOW, "disk", Facts())
        place.events.end(kinds.LINK_DOWN, "hub/city")
        assert [(one.id, one.end_time is None) for one in await follower.round()] == [(disk.id, True), (link.id, False)]
        at = follower.at
    place.events.end(kinds.DISK_LOW, "disk")
    async with following(place, SUPERVISOR, at) as follower:
        assert [(one.id, one.end_time is None) for one in await follower.round()] == [(disk.id, False)]


async def test_what_comes_out_of_the_filter_is_told_once_more(place: Place):
    place.events.begin(kinds.LINK_DOWN, "hub/city", Facts())
    place.events.happened(kinds.HUB_STALLED, "hub/own", Facts())
    async with following(place, SUPERVISOR, wanted=EventFilter(open=True, unacknowledged=True)) as follower:
        assert [one.kind for one in await follower.round()] == ["link.down"]
        place.events.end(kinds.LINK_DOWN, "hub/city")
        (over,) = await follower.round()
        assert (over.kind, over.end_time is None) == ("link.down", False)


async def test_a_watcher_is_told_nothing_that_is_not_theirs(place: Place):
    async with following(place, unit("u2")) as follower:
        assert await follower.round() == []
        place.events.begin(kinds.CAMERA_OFFLINE, *dark())
        assert await follower.round() == []
        place.events.begin(kinds.CAMERA_OFFLINE, *dark(2, "u2"))
        assert [one.unit_id for one in await follower.round()] == ["u2"]


async def test_bounds_and_ends_of_watches(place: Place, monkeypatch: pytest.MonkeyPatch):
    for wrong in (Revision("another", 1), Revision(place.events.revision.epoch, 1_000_000)):
        with pytest.raises(OutOfRange, match="REVISION_TOO_OLD"):
            async with following(place, SUPERVISOR, wrong) as follower:
                await follower.round()
    monkeypatch.setattr(watching, "MOST_WATCHERS", 1)
    async with following(place, SUPERVISOR) as follower:
        await follower.round()
        with pytest.raises(ResourceExhausted, match="LIMIT_WATCHES"):
            async with following(place, SUPERVISOR) as other:
                await other.round()
        place.desk.drain()
        with pytest.raises(Unavailable, match="HUB_DRAINING"):
            await follower.round()
