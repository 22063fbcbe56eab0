"""Cameras that go dark: alone, flapping, many at once, over a restart."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from support.domain import SYSTEM, Domain, camera, domain_of, unit

from vidhub.events import EventLog, kinds
from vidhub.events.storms import STORM, Storms
from vidhub.model import CameraState, CoreEvent, Severity


@contextlib.asynccontextmanager
async def watching(tmp_path: Path) -> AsyncIterator[tuple[Domain, EventLog, Storms]]:
    async with domain_of(tmp_path) as domain:
        events, storms = await started(domain)
        domain.watches.on_moved(storms.catalogue_moved)
        yield domain, events, storms


async def started(domain: Domain) -> tuple[EventLog, Storms]:
    events = await EventLog.open(domain.store)
    await events.reserve()
    storms = Storms(events, domain.core, domain.hub_id)
    storms.start()
    return events, storms


async def turn(storms: Storms, numbers: object, state: CameraState, reason: str = "") -> None:
    now = datetime.now(UTC)
    storms.take(
        [CoreEvent("camera_state", camera(one).id, reason, "", one, int(state), now) for one in numbers]  # type: ignore[attr-defined]
    )
    await storms.look()


def lasting(events: EventLog) -> list[tuple[str, int]]:
    return [(event.subject, event.count) for event in events.all_lasting(kinds.CAMERA_OFFLINE)]


async def test_one_camera_goes_dark_and_comes_back(tmp_path: Path):
    async with watching(tmp_path) as (domain, events, storms):
        await domain.catalogue.register(unit(), [camera(1)])
        await turn(storms, [1], CameraState.UNKNOWN)
        await turn(storms, [1], CameraState.ONLINE)
        assert events.newest_first() == ()
        await turn(storms, [1], CameraState.OFFLINE, "the camera's address refuses the connection")
        (event,) = events.all_lasting(kinds.CAMERA_OFFLINE)
        assert (event.subject, event.reason, event.camera_ids) == (
            f"camera/{camera(1).id}",
            "CAMERA_UNREACHABLE",
            (camera(1).id,),
        )
        assert "refuses the connection" in event.detail_json
        assert (event.unit_id, event.region_code, event.severity) == ("u1", "360602", Severity.WARNING)
        await turn(storms, [1], CameraState.REFUSED)
        assert lasting(events) == [(event.subject, 1)]
        await turn(storms, [1], CameraState.ONLINE)
        assert lasting(events) == []


async def test_one_that_flaps_is_one_event_until_somebody_has_seen_to_it(tmp_path: Path):
    async with watching(tmp_path) as (domain, events, storms):
        await domain.catalogue.register(unit(), [camera(1)])
        for _ in range(5):
            await turn(storms, [1], CameraState.OFFLINE)
            await turn(storms, [1], CameraState.ONLINE)
        (event,) = events.newest_first()
        await events.acknowledge(SYSTEM, event, "", lambda _conn, _records: None)
        await turn(storms, [1], CameraState.OFFLINE)
        assert len(events.newest_first()) == 2


async def test_many_of_a_unit_are_one_severe_event_with_those_that_were_alone(tmp_path: Path):
    async with watching(tmp_path) as (domain, events, storms):
        await domain.catalogue.register(unit(), [camera(number) for number in range(1, 61)])
        for number in range(1, STORM):
            await turn(storms, [number], CameraState.OFFLINE)
        assert len(lasting(events)) == STORM - 1
        await turn(storms, [STORM], CameraState.OFFLINE)
        assert lasting(events) == [("unit/u1", STORM)]
        folded = [event for event in events.newest_first() if event.subject.startswith("camera/")]
        assert {event.severity for event in folded} == {Severity.INFO}
        assert all("folded_into" in event.detail_json and event.end_time for event in folded)
        await turn(storms, range(1, 61), CameraState.OFFLINE)
        (storm,) = events.all_lasting(kinds.CAMERA_OFFLINE)
        assert (storm.count, len(storm.camera_ids), storm.severity) == (60, 20, Severity.SEVERE)
        await turn(storms, range(1, 60), CameraState.ONLINE)
        assert lasting(events) == [("unit/u1", 60)]
        await turn(storms, [60], CameraState.ONLINE)
        assert lasting(events) == []


async def test_a_few_of_each_of_many_units_are_one_event_of_the_region(tmp_path: Path):
    async with watching(tmp_path) as (domain, events, storms):
        await domain.catalogue.register(unit("u1"), [camera(number) for number in range(1, 4)])
        await domain.catalogue.register(unit("u2"), [camera(number) for number in range(4, 7)])
        await turn(storms, range(1, 7), CameraState.OFFLINE)
        assert lasting(events) == [("region/360602", 6)]


async def test_a_retired_camera_is_dark_no_more(tmp_path: Path):
    async with watching(tmp_path) as (domain, events, storms):
        await domain.catalogue.register(unit(), [camera(1)])
        await turn(storms, [1], CameraState.OFFLINE)
        await domain.catalogue.retire(unit(), camera(1).id, "拆除")
        await storms.look()
        assert lasting(events) == []


async def test_what_was_dark_before_a_restart_goes_on_or_is_over(tmp_path: Path):
    async with watching(tmp_path) as (domain, events, storms):
        await domain.catalogue.register(unit("u1"), [camera(1)])
        await domain.catalogue.register(unit("u2"), [camera(number) for number in range(2, 60)])
        await turn(storms, range(1, 60), CameraState.OFFLINE)
        assert lasting(events) == [("unit/u2", 58), (f"camera/{camera(1).id}", 1)]
        await events.flush()
        events, storms = await started(domain)
        assert lasting(events) == [(f"camera/{camera(1).id}", 1)]
        (over,) = [event for event in events.newest_first() if event.subject == "unit/u2"]
        assert "HUB_RESTARTED" in over.detail_json
        await turn(storms, range(1, 60), CameraState.OFFLINE)
        assert sorted(lasting(events)) == [(f"camera/{camera(1).id}", 1), ("unit/u2", 58)]
        await turn(storms, range(1, 60), CameraState.ONLINE)
        assert lasting(events) == []


async def test_nothing_is_kept_of_what_is_over(tmp_path: Path):
    async with watching(tmp_path) as (domain, _events, storms):
        await domain.catalogue.register(unit(), [camera(number) for number in range(1, 30)])
        for _ in range(3):
            await turn(storms, range(1, 30), CameraState.OFFLINE)
            await turn(storms, range(1, 30), CameraState.ONLINE)
        assert (storms._event_of, storms._members, storms._waiting) == ({}, {}, {})
