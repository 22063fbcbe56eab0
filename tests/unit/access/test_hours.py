"""Weekly hours: when a grant holds, and that what it carries ends with them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from support.domain import Domain, camera, person, unit

from vidhub.access import hours
from vidhub.access.grants import Grants
from vidhub.access.hours import Stretch, covers_week, parse, stretch
from vidhub.errors import InvalidArgument, PermissionDenied
from vidhub.model import Action, Grant, Purpose, Role, Scope, WeeklyHours

CHINA = ZoneInfo("Asia/Shanghai")
BERLIN = ZoneInfo("Europe/Berlin")
ALL_DAYS = tuple(range(1, 8))
APPROVER = person("lin", Role.APPROVER)
OPERATOR = person("zhang", Role.OPERATOR)


def at(text: str, zone: ZoneInfo = CHINA) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def given(*weekly: str, since: str = "2026-11-01T00:00", until: str = "2026-12-31T00:00") -> Grant:
    return Grant(
        "g",
        "zhang",
        "",
        Scope(region_prefixes=("3606",)),
        (Action.VIEW_LIVE,),
        ("patrol",),
        at(since),
        at(until),
        weekly_hours=tuple(parse(one) for one in weekly),
    )


# 2026-11-26 is a Thursday.
@pytest.mark.parametrize(
    ("weekly", "now", "start", "end"),
    [
        (["mon-fri 08:00-18:00"], "2026-11-26T09:00", "2026-11-26T08:00", "2026-11-26T18:00"),
        (["mon-fri 08:00-18:00"], "2026-11-26T08:00", "2026-11-26T08:00", "2026-11-26T18:00"),
        (["mon-fri 08:00-18:00"], "2026-11-26T18:00", "2026-11-27T08:00", "2026-11-27T18:00"),
        (["mon-fri 08:00-18:00"], "2026-11-27T19:00", "2026-11-30T08:00", "2026-11-30T18:00"),
        (["thu 22:00-06:00"], "2026-11-27T05:59", "2026-11-26T22:00", "2026-11-27T06:00"),
        (["thu 22:00-06:00"], "2026-11-27T06:00", "2026-12-03T22:00", "2026-12-04T06:00"),
        (["thu 00:00-24:00", "fri 00:00-12:00"], "2026-11-26T09:00", "2026-11-26T00:00", "2026-11-27T12:00"),
        (["thu 08:00-12:00", "thu 11:00-13:00"], "2026-11-26T09:00", "2026-11-26T08:00", "2026-11-26T13:00"),
        (["thu 00:00-00:00"], "2026-11-26T09:00", "2026-11-26T00:00", "2026-11-27T00:00"),
        (["wed 12:00-12:00"], "2026-11-26T09:00", "2026-11-25T12:00", "2026-11-26T12:00"),
        (["sun 23:00-01:00"], "2026-11-26T09:00", "2026-11-29T23:00", "2026-11-30T01:00"),
        (["mon-sun 00:00-24:00"], "2026-11-26T09:00", "2026-11-01T00:00", "2026-12-31T00:00"),
        ([], "2026-11-26T09:00", "2026-11-01T00:00", "2026-12-31T00:00"),
    ],
)
def test_the_stretch_that_holds_or_comes_next(weekly: list[str], now: str, start: str, end: str) -> None:
    found = stretch(given(*weekly), at(now), CHINA)
    assert found == Stretch(at(start), at(end))


def test_a_stretch_lies_within_the_time_of_the_grant() -> None:
    grant = given("thu 08:00-18:00", since="2026-11-26T10:00", until="2026-11-26T12:00")
    assert stretch(grant, at("2026-11-20T00:00"), CHINA) == Stretch(at("2026-11-26T10:00"), at("2026-11-26T12:00"))
    assert stretch(grant, at("2026-11-26T12:00"), CHINA) is None
    assert stretch(given("mon 08:00-18:00", until="2026-11-27T00:00"), at("2026-11-26T09:00"), CHINA) is None


def test_days_with_another_number_of_hours_keep_their_clock() -> None:
    spring = given("sun 01:00-04:00", since="2026-03-01T00:00")
    held = stretch(spring, at("2026-03-29T01:30", BERLIN), BERLIN)
    assert held == Stretch(at("2026-03-29T01:00", BERLIN), at("2026-03-29T04:00", BERLIN))
    assert held.end - held.start == timedelta(hours=2)
    # What begins within the hour that is left out still ends.
    gone = stretch(given("sun 02:10-02:50", since="2026-03-01T00:00"), at("2026-03-28T00:00", BERLIN), BERLIN)
    assert gone is not None
    assert gone.start < gone.end


def test_whether_the_whole_week_is_covered() -> None:
    whole = WeeklyHours(ALL_DAYS, 0, 0)
    assert covers_week((whole,))
    assert covers_week((WeeklyHours(ALL_DAYS, 480, 1200), WeeklyHours(ALL_DAYS, 1200, 480)))
    assert covers_week((WeeklyHours(ALL_DAYS, 600, 600),))
    assert not covers_week((WeeklyHours(ALL_DAYS, 480, 1200), WeeklyHours(ALL_DAYS, 1201, 480)))
    assert not covers_week((replace(whole, days=(1, 2, 3, 4, 5, 6)),))


@pytest.mark.parametrize(
    "text", ["mon-fri 08:00-18:00", "sat,sun 22:00-06:00", "mon,wed 00:00-24:00", "fri-mon 09:00-10:00"]
)
def test_hours_are_read_as_they_are_written(text: str) -> None:
    read = parse(text)
    assert parse(hours.words((read,))) == read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mon",
        "08:00-18:00",
        "mon 8:00-18:00",
        "mon 24:00-06:00",
        "mon 08:00-24:01",
        "day 08:00-18:00",
        "mon 08:60-09:00",
    ],
)
def test_hours_that_are_none(text: str) -> None:
    with pytest.raises(InvalidArgument, match="HOURS_INVALID"):
        parse(text)


def these_days() -> WeeklyHours:
    """Yesterday, today and tomorrow, whole: a test may meet midnight."""
    today = datetime.now().isoweekday()
    return WeeklyHours(tuple(sorted((today + n) % 7 + 1 for n in (-2, -1, 0))), 0, 0)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while True:
            if await is_so():
                return
            await asyncio.sleep(0)


def soon(*weekly: WeeklyHours) -> Grant:
    now = datetime.now(UTC)
    return replace(given(), weekly_hours=weekly, not_before=now - timedelta(days=1), not_after=now + timedelta(days=30))


@pytest.fixture
async def ready(domain: Domain) -> Domain:
    await domain.add_user(OPERATOR)
    await domain.catalogue.register(unit("u1"), [camera(1)])
    return domain


@pytest.mark.parametrize(
    "bad",
    [
        WeeklyHours((), 0, 60),
        WeeklyHours((0,), 0, 60),
        WeeklyHours((8,), 0, 60),
        WeeklyHours((1, 1), 0, 60),
        WeeklyHours((1,), -1, 60),
        WeeklyHours((1,), 1440, 60),
        WeeklyHours((1,), 0, 1441),
    ],
)
async def test_a_grant_with_hours_that_are_none_is_refused(ready: Domain, bad: WeeklyHours) -> None:
    with pytest.raises(InvalidArgument, match="HOURS_INVALID"):
        await ready.grants.create(APPROVER, soon(bad))


async def test_hours_are_bounded_and_must_come_once(ready: Domain) -> None:
    with pytest.raises(InvalidArgument, match="HOURS_INVALID"):
        await ready.grants.create(APPROVER, soon(*[WeeklyHours((1,), 0, 60)] * 29))
    tomorrow = (datetime.now() + timedelta(days=2)).isoweekday()
    short = replace(soon(WeeklyHours((tomorrow,), 0, 60)), not_after=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(InvalidArgument, match="GRANT_NEVER_BEGINS"):
        await ready.grants.create(APPROVER, short)


async def test_a_session_ends_with_the_hours_and_is_not_renewed_past_them(ready: Domain) -> None:
    local = datetime.now().replace(second=0, microsecond=0)
    end = local + timedelta(minutes=3)
    begin = local - timedelta(minutes=1)
    now_on = WeeklyHours((begin.isoweekday(),), begin.hour * 60 + begin.minute, end.hour * 60 + end.minute)
    given_ = await ready.grants.create(APPROVER, soon(now_on))
    assert (await ready.entries("grant.create"))[0].record.detail_json.count(hours.words((now_on,))) == 1
    opened = await ready.sessions.open(OPERATOR, camera(1).id, Purpose("patrol"))
    assert opened.session.grant_id == given_.id
    assert opened.session.expire_time == end.astimezone(UTC)
    renewed = await ready.sessions.renew(OPERATOR, opened.session.id)
    assert renewed.session.expire_time == end.astimezone(UTC)
    stored = (await ready.grants.list(APPROVER)).grants[0]
    assert (stored.weekly_hours, stored.not_after) == ((now_on,), given_.not_after)


async def test_outside_the_hours_there_is_no_grant(ready: Domain) -> None:
    later = datetime.now() + timedelta(hours=2)
    start = later.hour * 60 + later.minute
    await ready.grants.create(APPROVER, soon(WeeklyHours((later.isoweekday(),), start, (start + 60) % 1440)))
    with pytest.raises(PermissionDenied, match="NO_GRANT"):
        await ready.sessions.open(OPERATOR, camera(1).id, Purpose("patrol"))


async def test_the_next_stretch_follows_by_the_clock(ready: Domain) -> None:
    """The clock of the grants is a week behind at first: the core then has last week's stretch alone."""
    clock = [datetime.now(UTC) - timedelta(days=7)]
    late = Grants(
        store=ready.store,
        audit=ready.audit,
        core=ready.core,
        purposes=ready.sessions._purposes,
        watches=ready.watches,
        clock=lambda: clock[0],
    )
    since, end = clock[0] - timedelta(days=1), clock[0] + timedelta(days=60)
    await late.create(APPROVER, replace(soon(these_days()), not_before=since, not_after=end))

    async def may_view() -> bool:
        return ready.core.authorise(OPERATOR, Action.VIEW_LIVE, camera(1).id, "patrol").allowed

    async def nothing_is_open() -> bool:
        return not (await ready.sessions.list(OPERATOR)).sessions

    assert not await may_view()
    running = asyncio.create_task(late.run())
    try:
        clock[0] += timedelta(days=7)
        late._moved.set()
        await until(may_view)
        await ready.sessions.open(OPERATOR, camera(1).id, Purpose("patrol"))
        # A clock that is put back takes it away again, and the view with it.
        clock[0] -= timedelta(days=7)
        late._moved.set()
        await until(nothing_is_open)
        assert not await may_view()
    finally:
        running.cancel()


async def test_a_clock_that_ran_ahead_and_was_put_right_gives_back_what_stands(ready: Domain) -> None:
    clock = [datetime.now(UTC)]
    own = Grants(
        store=ready.store,
        audit=ready.audit,
        core=ready.core,
        purposes=ready.sessions._purposes,
        watches=ready.watches,
        clock=lambda: clock[0],
    )
    given = await own.create(APPROVER, soon())
    revoked = await own.create(APPROVER, soon())

    async def is_held() -> bool:
        return ready.core.authorise(OPERATOR, Action.VIEW_LIVE, camera(1).id, "patrol").allowed

    async def is_not_held() -> bool:
        return not await is_held()

    running = asyncio.create_task(own.run())
    try:
        clock[0] += timedelta(days=400)
        own.look_again()
        await until(is_not_held)
        await own.revoke(APPROVER, revoked.id, "调岗")
        clock[0] -= timedelta(days=400)
        own.look_again()
        await until(is_held)
        await ready.sessions.open(OPERATOR, camera(1).id, Purpose("patrol"))
        assert list(own._standing) == [given.id]
    finally:
        running.cancel()


async def test_a_restart_finds_the_stretch_that_holds(ready: Domain) -> None:
    await ready.grants.create(APPROVER, soon(these_days()))
    await ready.grants.load()
    assert ready.core.authorise(OPERATOR, Action.VIEW_LIVE, camera(1).id, "patrol").allowed
