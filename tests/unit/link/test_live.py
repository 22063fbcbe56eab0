"""One live link, with what the other side sends put in by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from structlog.testing import capture_logs

from vidhub.errors import InvalidArgument
from vidhub.link import live
from vidhub.link.greeting import parse
from vidhub.link.links import Links
from vidhub.link.live import MOST_MESSAGE_BYTES, MOST_READ_BYTES, Link
from vidhub.model import HubLevel, HubSide, LinkedHub
from vidhub.v1 import link_service_pb2 as pb

CAMERA = "36060200111322000001"


def hub(**changed: object) -> LinkedHub:
    fields = {
        "id": "yuehu",
        "name": "月湖区",
        "level": HubLevel.DISTRICT,
        "region_code": "360602",
        "side": HubSide.LOWER,
    }
    return LinkedHub(**{**fields, "joined": True, "accepted_here": True, **changed})  # type: ignore[arg-type]


class Ears:
    """A part that notes what it takes and refuses what names a camera of nobody."""

    bodies = frozenset({"view_end", "view_request"})

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.opened_ = 0
        self.closed_ = 0

    async def opened(self, link: Link) -> None:
        self.opened_ += 1

    async def take(self, link: Link, body: str, message: Any) -> None:
        if message.view_id == "bad":
            raise InvalidArgument("VIEW_UNKNOWN", "no such view")
        self.taken.append(message.view_id)

    def closed(self, link: Link) -> None:
        self.closed_ += 1


class Wire:
    """What goes in by `say`, and what came out."""

    def __init__(self, link: Link, ears: Ears, refused: list[tuple[str, str]]) -> None:
        self.link = link
        self.ears = ears
        self.refused = refused
        self.sent: list[pb.LinkMessage] = []
        self._in: asyncio.Queue[pb.LinkMessage | None] = asyncio.Queue()

    def say(self, **body: Any) -> None:
        self._in.put_nowait(pb.LinkMessage(**body))

    def hang_up(self) -> None:
        self._in.put_nowait(None)

    async def incoming(self) -> AsyncIterator[pb.LinkMessage]:
        while (message := await self._in.get()) is not None:
            yield message

    async def collect(self) -> None:
        async for message in self.link.outgoing():
            self.sent.append(message)

    async def until(self, what: Any) -> None:
        async with asyncio.timeout(30):
            while True:
                if what():
                    return
                await asyncio.sleep(0.005)

    def problems(self) -> list[tuple[str, int]]:
        return [(m.problem.reason, m.problem.count) for m in self.sent if m.HasField("problem")]


def heartbeat(accepted: bool = True, **more: Any) -> pb.Heartbeat:
    beat = pb.Heartbeat(accepted=accepted, **more)
    if "time" not in more:
        beat.time.FromDatetime(datetime.now(UTC))
    return beat


def hello(accepted: bool = True, clock: timedelta = timedelta()) -> pb.Hello:
    said = pb.Hello(version=1, oldest_version=1, hub_id="yuehu", region_code="360602", accepted=accepted)
    said.time.FromDatetime(datetime.now(UTC) + clock)
    return said


@asynccontextmanager
async def running(theirs: pb.Hello | None = None, **changed: object) -> AsyncIterator[Wire]:
    ears = Ears()
    refused: list[tuple[str, str]] = []
    link = Link(
        hub(**changed),
        theirs or hello(),
        [ears],
        heartbeat=pb.Heartbeat,
        refused=lambda body, error: refused.append((body, error.reason)),
    )
    wire = Wire(link, ears, refused)
    tasks = [asyncio.create_task(link.run(wire.incoming())), asyncio.create_task(wire.collect())]
    try:
        yield wire
    finally:
        link.end("TEST_OVER")
        await asyncio.gather(*tasks)
        assert ears.opened_ == ears.closed_


async def test_nothing_but_heartbeats_flows_until_both_have_accepted() -> None:
    async with running(hello(accepted=False), accepted_here=False) as wire:
        wire.say(view_end=pb.ViewEnd(view_id="v1"))
        await wire.until(lambda: wire.problems() == [("HUB_NOT_ACCEPTED", 1)])
        assert (wire.ears.taken, wire.ears.opened_) == ([], 0)
        await wire.link.accept_here()
        assert not wire.link.is_open
        wire.say(heartbeat=heartbeat())
        wire.say(view_end=pb.ViewEnd(view_id="v2"))
        await wire.until(lambda: wire.ears.taken == ["v2"])
        assert wire.link.is_open
        assert [m.heartbeat.accepted for m in wire.sent if m.HasField("heartbeat")][-1]
    assert wire.ears.opened_ == 1


async def test_a_message_that_breaks_a_rule_is_refused_and_the_link_stays() -> None:
    async with running() as wire:
        wire.say(view_end=pb.ViewEnd(view_id="not an id"))
        wire.say(view_end=pb.ViewEnd(view_id="bad"))
        wire.say(view_request=pb.ViewRequest(grant_jwt="x" * (MOST_MESSAGE_BYTES + 1)))
        wire.say()  # of a version to come
        wire.say(view_end=pb.ViewEnd(view_id="good"))
        await wire.until(lambda: wire.ears.taken == ["good"] and len(wire.problems()) == 3)
        assert sorted(wire.problems()) == [("MESSAGE_INVALID", 1), ("MESSAGE_TOO_LARGE", 1), ("VIEW_UNKNOWN", 1)]
        assert wire.link.is_open


async def test_a_time_that_no_calendar_holds_is_refused_and_the_link_stays() -> None:
    never = Timestamp(seconds=10**17)
    async with running() as wire:
        skew_s = wire.link.skew_s
        for name in ("time", "echo"):
            wire.say(heartbeat=heartbeat(**{name: never}))
        wire.say(view_end=pb.ViewEnd(view_id="good"))
        await wire.until(lambda: wire.ears.taken == ["good"])
        assert wire.problems() == [("TIME_INVALID", 1)]
        assert (wire.link.skew_s, wire.link.round_trip_s) == (skew_s, None)
    said = hello()
    said.time.CopyFrom(never)
    with pytest.raises(InvalidArgument, match="TIME_INVALID"):
        Link(hub(), said, [], heartbeat=pb.Heartbeat)


async def test_of_a_message_with_many_faults_one_is_looked_for() -> None:
    ranges = [pb.RangeDigest()] * (MOST_MESSAGE_BYTES // 2 - 16)
    async with running() as wire:
        began = time.process_time()
        wire.say(catalogue_difference=pb.CatalogueDifference(ranges=ranges))
        wire.say(view_end=pb.ViewEnd(view_id="good"))
        await wire.until(lambda: wire.ears.taken == ["good"])
        assert time.process_time() - began < 5, "all of them take ten seconds"
        assert wire.problems() == [("MESSAGE_INVALID", 1)]


async def test_a_flood_of_what_is_refused_is_told_once_a_second_with_a_count() -> None:
    async with running() as wire:
        began = time.monotonic()
        for _ in range(500):
            wire.say(view_end=pb.ViewEnd(view_id="bad"))
        wire.say(view_end=pb.ViewEnd(view_id="good"))
        await wire.until(lambda: wire.ears.taken == ["good"])
        assert 1 <= len(wire.problems()) <= 1 + (time.monotonic() - began)
        assert wire.refused == [("view_end", "VIEW_UNKNOWN")] * 500, "the register folds them itself"


async def test_a_flood_of_problems_is_a_line_of_the_log_a_second() -> None:
    began = time.monotonic()
    with capture_logs() as lines:
        async with running() as wire:
            for number in range(500):
                wire.say(problem=pb.LinkProblem(reason=f"R{number}", message="m" * 500))
            wire.say(view_end=pb.ViewEnd(view_id="good"))
            await wire.until(lambda: wire.ears.taken == ["good"])
    told = [line for line in lines if line["event"] == "the other hub refused something"]
    assert 1 <= len(told) <= 1 + (time.monotonic() - began)


async def test_parts_that_wait_for_nothing_leave_the_loop_to_others() -> None:
    async with running() as wire:
        turns: list[int] = []

        async def others() -> None:
            while len(wire.ears.taken) < 50:
                turns.append(len(wire.ears.taken))
                await asyncio.sleep(0)

        for number in range(50):
            wire.say(view_end=pb.ViewEnd(view_id=f"v{number}"))
        async with asyncio.timeout(30):
            await others()
        assert len(set(turns)) > 25, "between any two messages"


def test_what_is_far_too_large_is_not_read() -> None:
    data = pb.LinkResponse(message=pb.LinkMessage(farewell=pb.Farewell())).SerializeToString()
    assert parse(pb.LinkResponse, data).HasField("farewell")
    with pytest.raises(InvalidArgument, match="MESSAGE_TOO_LARGE"):
        parse(pb.LinkResponse, bytes(MOST_READ_BYTES + 1))


async def test_a_second_hello_ends_the_link() -> None:
    async with running() as wire:
        wire.say(hello=hello())
        await wire.link.over()
        assert wire.link.end_reason == "HELLO_REPEATED"
        await wire.until(lambda: bool(wire.sent))
        assert wire.sent[-1].farewell.reason == "HELLO_REPEATED"


@pytest.mark.parametrize("said", ["LINK_ENDED", "HUB_DRAINING", ""])
async def test_the_other_side_says_why_it_ends(said: str) -> None:
    async with running() as wire:
        wire.say(farewell=pb.Farewell(reason=said))
        await wire.link.over()
        assert wire.link.end_reason == (said or "LINK_DOWN")


async def test_a_connection_that_breaks_is_a_link_that_is_down() -> None:
    async with running() as wire:
        wire.hang_up()
        await wire.link.over()
        assert wire.link.end_reason == "LINK_DOWN"


async def test_silence_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SILENCE_S", 0.5)
    async with running() as wire:
        async with asyncio.timeout(30):
            await wire.link.over()
        assert wire.link.end_reason == "LINK_SILENT"


async def test_what_is_urgent_goes_before_what_is_bulky() -> None:
    link = Link(hub(), hello(), [], heartbeat=pb.Heartbeat)
    async with asyncio.timeout(30):
        await link.send_bulk(catalogue_delta=pb.CatalogueDelta(number=1))
        await link.send_bulk(catalogue_delta=pb.CatalogueDelta(number=2))
    waiting = asyncio.create_task(link.send_bulk(catalogue_delta=pb.CatalogueDelta(number=3)))
    link.send(view_end=pb.ViewEnd(view_id="v"))
    outgoing = link.outgoing()
    order = [(await anext(outgoing)).WhichOneof("body") for _ in range(4)]
    assert order == ["view_end", "catalogue_delta", "catalogue_delta", "catalogue_delta"]
    await waiting
    link.end("TEST_OVER")


async def test_one_who_takes_nothing_is_cut_off() -> None:
    link = Link(hub(), hello(), [], heartbeat=pb.Heartbeat)
    for number in range(live._MOST_URGENT + 1):
        link.send(view_end=pb.ViewEnd(view_id=f"v{number}"))
    assert link.end_reason == "LINK_OVERLOADED"


async def test_clocks_are_compared_at_hello_and_with_each_heartbeat() -> None:
    async with running(hello(clock=timedelta(minutes=10))) as wire:
        assert wire.link.skew_s == pytest.approx(600, abs=5)
        wire.say(heartbeat=heartbeat())
        await wire.until(lambda: abs(wire.link.skew_s) < 5)


async def test_the_round_trip_is_known_from_an_echo_less_the_time_it_lay_there() -> None:
    async with running() as wire:
        echo = heartbeat().time
        echo.seconds -= 100
        wire.say(heartbeat=heartbeat(echo=echo, echo_held_s=60.0))
        await wire.until(lambda: wire.link.round_trip_s is not None)
        assert wire.link.round_trip_s == pytest.approx(40, abs=5)


async def test_an_echo_says_how_long_it_lay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.2)
    async with running() as wire:
        wire.say(heartbeat=heartbeat())
        await wire.until(lambda: any(m.heartbeat.HasField("echo") for m in wire.sent))
        held = next(m.heartbeat.echo_held_s for m in wire.sent if m.heartbeat.HasField("echo"))
        assert 0 < held < 5


async def test_a_newer_link_of_a_hub_takes_the_place_of_the_older() -> None:
    links = Links()
    async with running() as one, links.holding(one.link):
        await one.until(lambda: links.get("yuehu") is one.link)
        async with running() as other, links.holding(other.link):
            await one.link.over()
            assert one.link.end_reason == "LINK_REPLACED"
            await other.until(lambda: links.get("yuehu") is other.link)
            await links.drain()
            assert other.link.end_reason == "HUB_DRAINING"
        assert links.connected("yuehu") is None
