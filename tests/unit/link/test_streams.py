"""Stream orders: one for each camera and profile, only for views that were allowed, and told when nothing comes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.domain import camera, unit
from support.joined import Hub, hub_of, joined
from support.views import CAMERA, Levels, may_watch, open_of, operator, records, three, until, watch

from vidhub.errors import VidhubError
from vidhub.link.live import Link
from vidhub.model import CoreEvent, Profile
from vidhub.v1 import link_service_pb2 as pb

MAIN = 1


@pytest.fixture
async def levels(tmp_path: Path) -> AsyncIterator[Levels]:
    async with (
        three(tmp_path) as found,
        joined(found.province, found.city),
        joined(found.city, found.district),
    ):
        yield found


@contextlib.asynccontextmanager
async def reading(hub: Hub, session_id: str) -> AsyncIterator[asyncio.Task[str]]:
    """Somebody waits for the session's picture; ends with the reason why there is none."""

    async def read() -> str:
        try:
            async for _ in hub.domain.core.frames(session_id):
                return ""
        except VidhubError as error:
            return error.reason
        return "NOTHING"

    task = asyncio.create_task(read())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def orders(hub: Hub) -> list[tuple[str, str]]:
    return [(one.principal, json.loads(one.detail_json)["direction"]) for one in await records(hub, "stream.order")]


class Orderer:
    """A hub's end of its link to one that it orders of, and what it hears there."""

    def __init__(self, hub: Hub, other: str) -> None:
        link = hub.links.get(other)
        assert link is not None
        self.link: Link = link
        self.answers: list[pb.StreamAnswer] = []
        self.ends: list[pb.StreamEnd] = []
        ordering = hub.parts[1]._ordering  # type: ignore[attr-defined]
        answered, ended = ordering.answered, ordering.ended_there
        ordering.answered = lambda link, answer: (self.answers.append(answer), answered(link, answer))
        ordering.ended_there = lambda link, end: (self.ends.append(end), ended(link, end))[1]

    async def order(self, order_id: str, **changed: object) -> pb.StreamAnswer:
        fields: dict[str, object] = {
            "order_id": order_id,
            "camera_id": CAMERA,
            "profile": MAIN,
            "push_path": f"/{CAMERA}",
            "ticket": "t",
        }
        self.link.send(stream_order=pb.StreamOrder(**{**fields, **changed}))  # type: ignore[arg-type]

        async def was_answered() -> bool:
            return any(answer.order_id == order_id for answer in self.answers)

        await until(was_answered)
        return next(answer for answer in self.answers if answer.order_id == order_id)


async def test_an_order_goes_down_the_way_of_the_view_and_the_reason_comes_back(levels: Levels) -> None:
    # Nothing listens where media would go: the first relay says so, and the viewer hears it.
    session = await watch(levels.province)
    async with reading(levels.province, session.id) as reader, asyncio.timeout(30):
        assert (await reader).startswith("LINK_")
    assert (await orders(levels.province))[0] == ("hub/city", "in")
    assert (await orders(levels.city))[0] == ("hub/province", "out")


async def test_what_nobody_views_is_not_sent(levels: Levels) -> None:
    orderer = Orderer(levels.city, "district")
    answer = await orderer.order("o1")
    assert (answer.accepted, answer.reason) == (False, "ORDER_WITHOUT_VIEW")
    (refused,) = await records(levels.district, "stream.refused")
    assert (refused.principal, refused.resource) == ("hub/city", f"camera/{CAMERA}")
    assert refused.result == "ORDER_WITHOUT_VIEW"
    session = await watch(levels.province)
    assert (await orderer.order("o2", camera_id=camera(2).id)).reason == "ORDER_WITHOUT_VIEW"
    assert (await orderer.order("o3", push_path="", ticket="")).reason == "ORDER_INVALID"
    assert (await orderer.order("o5", push_path=f"1/{CAMERA}")).reason == "ORDER_INVALID", (
        "it would go on with the port"
    )
    await levels.province.domain.sessions.close(operator(levels.province), session.id)

    async def has_ended() -> bool:
        return await open_of(levels.district) == []

    await until(has_ended)
    assert (await orderer.order("o4")).reason == "ORDER_WITHOUT_VIEW"
    assert orderer.link.is_open


async def test_where_the_media_goes_is_the_links_own_address(levels: Levels) -> None:
    await watch(levels.province)
    orderer = Orderer(levels.city, "district")
    # A path that would name another host is none.
    orderer.link.send(
        stream_order=pb.StreamOrder(
            order_id="o1", camera_id=CAMERA, profile=MAIN, push_path="@elsewhere:99/x", ticket="t"
        )
    )
    assert (await orderer.order("o2", push_path="//elsewhere/x")).accepted
    assert [answer.order_id for answer in orderer.answers] == ["o2"]


async def test_without_a_link_who_waits_hears_it_and_is_served_when_it_is_up(tmp_path: Path) -> None:
    async with three(tmp_path) as levels, joined(levels.province, levels.city):
        async with joined(levels.city, levels.district):
            session = await watch(levels.province)
        async with reading(levels.city, (await open_of(levels.city))[0].id) as reader, asyncio.timeout(30):
            assert await reader == "LINK_DOWN"
        assert ("hub/district", "in") not in await orders(levels.city)
        async with (
            joined(levels.city, levels.district),
            reading(levels.province, session.id),
        ):

            async def was_ordered() -> bool:
                return ("hub/city", "out") in await orders(levels.district)

            await until(was_ordered)


async def test_a_hub_that_does_not_answer_an_order_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidhub.link.ordering.ANSWER_S", 0.2)
    async with (
        three(tmp_path) as levels,
        joined(levels.province, levels.city),
        joined(levels.city, levels.district) as line,
    ):
        await watch(levels.province)
        line.flowing.clear()
        async with reading(levels.city, (await open_of(levels.city))[0].id) as reader, asyncio.timeout(30):
            assert await reader == "LINK_TIMEOUT"
        line.flowing.set()


async def test_a_lower_hub_gets_one_place_to_pull_from_for_as_long_as_it_views(tmp_path: Path) -> None:
    async with (
        hub_of(tmp_path / "c", "city") as city,
        hub_of(tmp_path / "a", "yuehu") as here,
        joined(city, here),
    ):
        await city.domain.catalogue.register(replace(unit("u1"), hub_id="city"), [camera(1)])
        await here.knows(camera(1), home="city", by="city")
        await may_watch(here)
        await city.share("yuehu")
        session = await watch(here)
        orderer = Orderer(here, "city")
        answer = await orderer.order("o1", push_path="", ticket="")
        assert (answer.accepted, answer.pull_path) == (True, f"/{CAMERA}")
        assert answer.ticket
        assert answer.ticket not in repr(await city.domain.entries())
        assert city.domain.core.counts()["sessions"] == 2
        assert (await orderer.order("o2")).accepted  # instead of the first, whose picture was lost
        assert city.domain.core.counts()["sessions"] == 2
        assert (await orders(city)) == [("hub/yuehu", "out")] * 2
        await here.domain.sessions.close(operator(here), session.id)

        async def has_ended() -> bool:
            return city.domain.core.counts()["sessions"] == 0 and bool(orderer.ends)

        await until(has_ended)
        assert (orderer.ends[-1].order_id, orderer.ends[-1].reason) == ("o2", "VIEW_ENDED")


async def test_a_name_is_good_for_one_order_and_a_hub_has_so_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        hub_of(tmp_path / "c", "city") as city,
        hub_of(tmp_path / "a", "yuehu") as here,
        joined(city, here),
    ):
        await city.domain.catalogue.register(replace(unit("u1"), hub_id="city"), [camera(1)])
        await here.knows(camera(1), home="city", by="city")
        await may_watch(here)
        await city.share("yuehu")
        await watch(here)
        orderer = Orderer(here, "city")
        assert (await orderer.order("o1")).accepted
        orderer.answers.clear()
        assert (await orderer.order("o1")).reason == "ORDER_EXISTS"
        monkeypatch.setattr("vidhub.link.supplying.MOST_ORDERS", 1)
        assert (await orderer.order("o2", profile=2)).reason == "LIMIT_ORDERS"


async def test_what_is_wanted_twice_is_ordered_once(levels: Levels) -> None:
    await watch(levels.province)
    ordering = levels.province.parts[1]._ordering  # type: ignore[attr-defined]
    event = CoreEvent("stream_wanted", CAMERA, "", json.dumps({"profile": 1}), 0, 0, levels.province.clock())
    ordering.wanted([event, event])
    ordering.wanted([event])

    async def was_ordered() -> bool:
        return len(await orders(levels.province)) == 1

    await until(was_ordered)
    assert list(ordering._wanted) == [(CAMERA, Profile.MAIN)]
    ordering.released([replace(event, kind="stream_released")])
    assert (ordering._wanted, ordering._by_order, ordering._by_session) == ({}, {}, {})
