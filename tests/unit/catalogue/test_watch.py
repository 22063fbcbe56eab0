"""Following the catalogue: what is told to whom, and what is never mentioned."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.domain import SYSTEM, Domain, camera, person, unit

from vidhub.catalogue import watch
from vidhub.errors import OutOfRange, ResourceExhausted, Unavailable
from vidhub.model import (
    Action,
    CameraFilter,
    CameraRemoved,
    CameraStateChange,
    CameraUpserted,
    Circle,
    Grant,
    Principal,
    Revision,
    Role,
    Scope,
    Synced,
    WatchEvent,
)
from vidhub.store import users

ALL = CameraFilter()
SUPERVISOR = person("sup", Role.SUPERVISOR)
OPERATOR = person("zhang", Role.OPERATOR, department="指挥中心")


class Follower:
    """Reads a watch up to each `synced`."""

    def __init__(self, events: AsyncIterator[WatchEvent]) -> None:
        self._events = events

    async def until_synced(self) -> list[WatchEvent]:
        found: list[WatchEvent] = []
        async with asyncio.timeout(30):
            async for event in self._events:
                found.append(event)
                if isinstance(event, Synced):
                    return found
        raise AssertionError("the watch ended")

    async def next(self, kind: type) -> WatchEvent:
        async with asyncio.timeout(30):
            async for event in self._events:
                if isinstance(event, kind):
                    return event
        raise AssertionError("the watch ended")


@contextlib.asynccontextmanager
async def following(
    domain: Domain, principal: Principal, start: Revision | None = None, wanted: CameraFilter = ALL, states: int = 0
) -> AsyncIterator[Follower]:
    async with contextlib.aclosing(domain.catalogue.watch(principal, start, wanted, states)) as events:
        yield Follower(events)


def told(events: list[WatchEvent]) -> list[tuple[str, str]]:
    found = []
    for event in events:
        if isinstance(event, CameraUpserted):
            found.append(("upserted", event.camera.id))
        elif isinstance(event, CameraRemoved):
            found.append(("removed", event.id))
    return found


async def revision(domain: Domain) -> Revision:
    return (await domain.catalogue.list(SYSTEM, ALL)).revision


async def grant(domain: Domain, **changed: object) -> Grant:
    """To the operator, who has an account from then on."""
    if await domain.store.read(lambda conn: users.by_name(conn, OPERATOR.id)) is None:
        await domain.add_user(OPERATOR)
    now = datetime.now(UTC)
    fields = {
        "id": "",
        "username": "zhang",
        "department": "",
        "scope": Scope(region_prefixes=("3606",)),
        "actions": (Action.VIEW_LIVE,),
        "purposes": ("patrol",),
        "not_before": now,
        "not_after": now + timedelta(hours=1),
    }
    return await domain.grants.create(SYSTEM, Grant(**{**fields, **changed}))


async def test_without_a_revision_everything_is_sent_first_and_then_what_happens(domain):
    await domain.catalogue.register(unit(), [camera(1), camera(2)])
    async with following(domain, SUPERVISOR) as follower:
        first = await follower.until_synced()
        assert told(first) == [("upserted", camera(1).id), ("upserted", camera(2).id)]
        assert all(not stream.url for event in first[:2] for stream in event.camera.streams)
        states = [await follower.next(CameraStateChange) for _ in range(2)]
        assert {state.id for state in states} == {camera(1).id, camera(2).id}
        await domain.catalogue.register(unit(), [camera(3)])
        assert told(await follower.until_synced()) == [("upserted", camera(3).id)]
        await domain.catalogue.retire(unit(), camera(1).id, "gone")
        assert told(await follower.until_synced()) == [("removed", camera(1).id)]


async def test_a_revision_resumes_where_it_was_left(domain):
    await domain.catalogue.register(unit(), [camera(1), camera(2)])
    start = await revision(domain)
    await domain.catalogue.register(unit(), [camera(2, name="neu"), camera(3)])
    await domain.catalogue.retire(unit(), camera(1).id, "gone")
    async with following(domain, SUPERVISOR, start) as follower:
        events = await follower.until_synced()
    assert sorted(told(events)) == [("removed", camera(1).id), ("upserted", camera(2).id), ("upserted", camera(3).id)]
    assert events[-1] == Synced(await revision(domain))


@pytest.mark.parametrize("start", [Revision("another", 1), Revision("", 7)])
async def test_a_revision_of_another_epoch_is_too_old(domain, start):
    await domain.catalogue.register(unit(), [camera(1)])
    with pytest.raises(OutOfRange, match="REVISION_TOO_OLD"):
        async with following(domain, SUPERVISOR, start) as follower:
            await follower.until_synced()


async def test_a_unit_hears_of_its_own_alone_also_when_it_comes_back(domain):
    await domain.catalogue.register(unit("u1"), [camera(1)])
    start = await revision(domain)
    async with following(domain, unit("u1")) as follower:
        await follower.until_synced()
        await domain.catalogue.register(unit("u2"), [camera(2)])
        await domain.catalogue.retire(unit("u2"), camera(2).id, "gone")
        await domain.catalogue.register(unit("u1"), [camera(3)])
        await domain.catalogue.retire(unit("u1"), camera(1).id, "gone")
        heard = []
        while ("removed", camera(1).id) not in heard:
            heard += told(await follower.until_synced())
    assert heard == [("upserted", camera(3).id), ("removed", camera(1).id)]
    async with following(domain, unit("u1"), start) as follower:
        events = told(await follower.until_synced())
    assert events == [("upserted", camera(3).id), ("removed", camera(1).id)]


async def test_an_operator_who_comes_back_lists_again_when_it_can_not_be_told(domain):
    await grant(domain)
    await domain.catalogue.register(unit(), [camera(1), camera(2)])
    start = await revision(domain)
    await domain.catalogue.register(unit(), [camera(2, name="neu")])
    async with following(domain, OPERATOR, start) as follower:
        assert told(await follower.until_synced()) == [("upserted", camera(2).id)]
    await domain.catalogue.retire(unit(), camera(1).id, "gone")
    with pytest.raises(OutOfRange, match="REVISION_TOO_OLD"):
        async with following(domain, OPERATOR, start) as follower:
            await follower.until_synced()


async def test_what_leaves_the_sight_of_an_operator_is_removed_and_what_comes_into_it_is_told(domain):
    await domain.catalogue.register(unit(), [camera(1), camera(2, region_code="360681")])
    async with following(domain, OPERATOR) as follower:
        assert told(await follower.until_synced()) == []
        given = await grant(domain, scope=Scope(region_prefixes=("360602",)))
        assert await follower.next(CameraUpserted) == CameraUpserted(await seen(domain, 1))
        await domain.catalogue.register(unit(), [camera(1, region_code="360681")])
        assert await follower.next(CameraRemoved) == CameraRemoved(camera(1).id)
        await domain.catalogue.register(unit(), [camera(1)])
        await follower.next(CameraUpserted)
        await domain.grants.revoke(SYSTEM, given.id, "over")
        assert await follower.next(CameraRemoved) == CameraRemoved(camera(1).id)


async def seen(domain: Domain, number: int):
    page = await domain.catalogue.list(OPERATOR, ALL)
    return next(one for one in page.cameras if one.id == camera(number).id)


async def test_a_grant_that_ends_by_the_clock_takes_its_cameras_out_of_sight(domain, monkeypatch):
    await domain.catalogue.register(unit(), [camera(1)])
    given = await grant(domain, username="", department="指挥中心")
    async with following(domain, OPERATOR) as follower:
        assert told(await follower.until_synced()) == [("upserted", camera(1).id)]
        monkeypatch.setattr(domain.grants, "_clock", lambda: given.not_after)
        domain.grants.look_again()
        assert await follower.next(CameraRemoved) == CameraRemoved(camera(1).id)


async def test_a_filter_holds_for_what_happens_too(domain):
    wanted = CameraFilter(region_prefix="360602", text="东门")
    async with following(domain, SUPERVISOR, wanted=wanted) as follower:
        await follower.until_synced()
        await domain.catalogue.register(unit(), [camera(1), camera(2, name="西门"), camera(3, region_code="360681")])
        assert told(await follower.until_synced()) == [("upserted", camera(1).id)]
        await domain.catalogue.register(unit(), [camera(1, name="西门"), camera(2)])
        assert sorted(told(await follower.until_synced())) == [("removed", camera(1).id), ("upserted", camera(2).id)]


async def test_who_is_cancelled_leaves_nothing_behind(domain):
    async with following(domain, SUPERVISOR) as follower:
        await follower.until_synced()
        task = asyncio.create_task(follower.next(CameraRemoved))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert domain.watches.count() == 0


async def test_a_hub_that_stops_ends_every_watch(domain):
    async with following(domain, SUPERVISOR) as follower:
        await follower.until_synced()
        domain.watches.drain()
        with pytest.raises(Unavailable, match="HUB_DRAINING"):
            await follower.next(CameraUpserted)
    with pytest.raises(Unavailable, match="HUB_DRAINING"):
        async with following(domain, SUPERVISOR) as late:
            await late.until_synced()


async def test_watchers_are_bounded(domain, monkeypatch):
    monkeypatch.setattr(watch, "MOST_WATCHERS", 1)
    async with following(domain, SUPERVISOR) as first:
        await first.until_synced()
        with pytest.raises(ResourceExhausted, match="LIMIT_WATCHES"):
            async with following(domain, SUPERVISOR) as second:
                await second.until_synced()


def test_a_circle_is_one_on_the_globe():
    here = camera(1)
    circle = Circle(28.24, 117.03, 1_000)
    assert watch.matches(here, CameraFilter(within=circle))
    away = replace(here, location=replace(here.location, latitude=28.2491))
    assert not watch.matches(away, CameraFilter(within=circle))
    assert watch.matches(away, CameraFilter(within=replace(circle, radius_m=1_100)))
