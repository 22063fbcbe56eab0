"""Events over links: a district's alarm is one of the city's, as long as it lasts, and of shared cameras alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.catalogues import Sharing, in_step, joined, sharing, until
from support.domain import camera

from vidhub.api.validate import violations
from vidhub.events import EventLog, Facts, kinds
from vidhub.link import events as link_events
from vidhub.link.events import LinkEvents
from vidhub.model import Event, HubSide, Scope, Severity
from vidhub.v1 import event_service_pb2
from vidhub.v1 import link_service_pb2 as pb


@dataclass
class Hub:
    sharing: Sharing
    events: EventLog
    part: LinkEvents

    def dark(self, *numbers: int, count: int = 0) -> Event:
        ids = tuple(camera(number).id for number in numbers)
        subject = f"camera/{ids[0]}" if len(ids) == 1 else "unit/u1"
        facts = Facts("CAMERA_SILENT", Severity.SEVERE, count or len(ids), ids, "u1", "360602", detail={"own": "词"})
        return self.events.begin(kinds.CAMERA_OFFLINE, subject, facts)

    def lasting(self) -> list[tuple[str, str, int, tuple[str, ...]]]:
        found = self.events.all_lasting(kinds.CAMERA_OFFLINE)
        return [(one.hub_id, one.subject, one.count, one.camera_ids) for one in found]


async def with_events(place: Sharing) -> Hub:
    events = await EventLog.open(place.domain.store)
    await events.reserve()
    part = LinkEvents(
        events=events, shares=place.domain.shares, remote=place.domain.remote, catalogue=place.out, pause_s=0.02
    )
    place.more.append(part)
    return Hub(place, events, part)


@pytest.fixture
async def village(tmp_path: Path) -> AsyncIterator[Hub]:
    async with sharing(tmp_path / "village", "village", "360602") as found:
        yield await with_events(found)


@pytest.fixture
async def lower(district: Sharing) -> Hub:
    return await with_events(district)


@pytest.fixture
async def upper(city: Sharing) -> Hub:
    return await with_events(city)


async def linked(lower: Hub, upper: Hub, scope: Scope | None = None) -> None:
    await lower.sharing.know(upper.sharing, HubSide.UPPER)
    await (lower.sharing.share(upper.sharing, scope) if scope else lower.sharing.share(upper.sharing))


async def test_an_alarm_goes_up_and_ends_there_as_here(lower: Hub, upper: Hub) -> None:
    (first, second) = await lower.sharing.register(1, 2)
    await linked(lower, upper, Scope(camera_ids=(first,)))
    async with joined(lower.sharing, upper.sharing):
        await in_step(lower.sharing, upper.sharing)
        lower.dark(1, 2, count=2)
        lower.events.begin(kinds.DISK_LOW, "disk", Facts())
        await until(lambda: upper.lasting() == [("district", "unit/u1", 1, (first,))])
        (told,) = upper.events.newest_first()
        assert (told.severity, told.reason, told.detail_json) == (Severity.SEVERE, "CAMERA_SILENT", "")
        assert second not in told.camera_ids
        lower.events.end(kinds.CAMERA_OFFLINE, "unit/u1")
        await until(lambda: upper.lasting() == [])


async def test_it_goes_on_to_the_next_level_and_never_back(village: Hub, lower: Hub, upper: Hub) -> None:
    (first,) = await village.sharing.register(1)
    await linked(village, lower)
    await linked(lower, upper)
    async with joined(village.sharing, lower.sharing) as below, joined(lower.sharing, upper.sharing):
        await in_step(village.sharing, lower.sharing)
        await in_step(lower.sharing, upper.sharing)
        village.dark(1)
        await until(lambda: upper.lasting() == [("district", f"camera/{first}", 1, (first,))])
        assert lower.lasting() == [("village", f"camera/{first}", 1, (first,))]
        assert not [one for one in below.said if one.HasField("event") and one.event.HasField("event")]


async def test_what_ended_while_the_link_was_down_ends_when_it_is_up(lower: Hub, upper: Hub) -> None:
    await lower.sharing.register(1, 2, 3)
    await linked(lower, upper)
    async with joined(lower.sharing, upper.sharing):
        await in_step(lower.sharing, upper.sharing)
        lower.dark(1)
        lower.dark(2)
        await until(lambda: len(upper.lasting()) == 2)
    assert len(upper.lasting()) == 2, "a link that is down ends no event"
    lower.events.end(kinds.CAMERA_OFFLINE, f"camera/{camera(1).id}")
    lower.dark(3)
    async with joined(lower.sharing, upper.sharing):
        await until(lambda: {one[1] for one in upper.lasting()} == {f"camera/{camera(n).id}" for n in (2, 3)})
    upper.part.ended("district")
    assert upper.lasting() == []


async def test_what_a_hub_says_of_cameras_that_are_not_its_own_or_too_much_of_is_not_taken(
    lower: Hub, upper: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_events, "MOST_EVENTS", 3)
    ids = await lower.sharing.register(*range(1, 6))
    (own,) = await upper.sharing.register(90)
    await linked(lower, upper)
    async with joined(lower.sharing, upper.sharing) as link:
        await in_step(lower.sharing, upper.sharing)

        def say(subject: str, camera_id: str, kind: str = "camera.offline") -> None:
            event = event_service_pb2.Event(kind=kind, subject=subject, camera_ids=[camera_id], count=1)
            link.lower.send(event=pb.LinkEvent(kind=kind, subject=subject, event=event))

        say(f"camera/{own}", own)
        say("disk", ids[0], "disk.low")
        for one in ids:
            say(f"camera/{one}", one)
        await until(lambda: any(one.HasField("problem") for one in link.said))
        assert {one.problem.reason for one in link.said if one.HasField("problem")} == {"LIMIT_LINK_EVENTS"}
        assert {one[1] for one in upper.lasting()} == {f"camera/{one}" for one in ids[:3]}


async def test_a_storm_that_moves_goes_up_a_few_times(lower: Hub, upper: Hub) -> None:
    await lower.sharing.register(*range(1, 21))
    await linked(lower, upper)
    async with joined(lower.sharing, upper.sharing) as link:
        await in_step(lower.sharing, upper.sharing)
        for count in range(20, 1_020):
            lower.dark(*range(1, 21), count=count)
            if count % 100 == 0:
                await asyncio.sleep(0)
        await until(lambda: [one[2] for one in upper.lasting()] == [1_019])
        assert sum(one.HasField("event") for one in link.sent) < 50


def test_what_is_malformed_is_refused_by_the_rules() -> None:
    event = event_service_pb2.Event(kind="Not A Kind", camera_ids=["1"], reason="a word", unit_id="\n", subject="\0")
    found = violations(pb.LinkEvent(kind="camera.offline", event=event))
    assert {one.field for one in found} == {
        "event.kind",
        "event.camera_ids[0]",
        "event.reason",
        "event.unit_id",
        "event.subject",
    }
