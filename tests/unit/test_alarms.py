"""What the parts of the hub notice, as events."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest_asyncio
from support.domain import Domain, camera, domain_of, person, unit

from vidhub.access.ends import End
from vidhub.app.alarms import MANY_REFUSALS, MOST_ADDRESSES, Alarms
from vidhub.errors import Unavailable
from vidhub.events import EventLog
from vidhub.identity import CertificateAuthority, Register
from vidhub.model import AuditRecord, Event, Profile, Purpose, Role, Session, Severity
from vidhub.store.certificates import Certificate
from vidhub.telemetry import HouseFigures, LinkFigures


@dataclass
class Place:
    domain: Domain
    events: EventLog
    register: Register
    links: list[LinkFigures] = field(default_factory=list)
    now: datetime = datetime(2026, 5, 1, tzinfo=UTC)
    house: HouseFigures = field(default_factory=lambda: HouseFigures(1_000, 500, (), 0.0))
    alarms: Alarms = None  # type: ignore[assignment]

    def event(self, subject: str) -> Event:
        return next(one for one in self.events.newest_first() if one.subject == subject)

    def lasting(self) -> set[str]:
        return {one.subject for one in self.events.newest_first() if one.end_time is None}


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with domain_of(tmp_path) as domain:
        made: list[Place] = []
        authority = CertificateAuthority.open(tmp_path / "ca", "yingtan")
        register = await Register.open(
            domain.store, authority, clock=lambda: made[0].now if made else datetime.now(UTC)
        )
        events = await EventLog.open(domain.store)
        await events.reserve()
        found = Place(domain, events, register)
        made.append(found)
        found.alarms = Alarms(
            events, domain.core, register, lambda: found.links, domain.hub_id, clock=lambda: found.now
        )
        found.alarms.watch_house(lambda: found.house)
        yield found


def session(name: str = "zhang") -> Session:
    now = datetime.now(UTC)
    return Session(
        "s1",
        camera(1).id,
        f"user/{name}",
        "张三",
        Purpose("patrol"),
        "g1",
        Profile.AUTO,
        now,
        now + timedelta(minutes=10),
    )


async def test_a_disk_that_fills_gets_worse_and_is_made_room_on(place: Place):
    place.alarms.look()
    assert place.lasting() == set()
    for free, severity in ((90, Severity.WARNING), (20, Severity.SEVERE), (110, Severity.SEVERE)):
        place.house = dataclasses.replace(place.house, free_bytes=free)
        place.alarms.look()
        assert place.event("disk").severity is severity
        assert place.lasting() == {"disk"}
    place.house = dataclasses.replace(place.house, free_bytes=130)
    place.alarms.look()
    assert place.lasting() == set()


async def test_certificates_near_their_end_are_told_until_there_is_a_newer_one(place: Place):
    def held(kind: str, subject: str, days: float, name: str) -> Certificate:
        return Certificate(name, kind, subject, place.now, place.now + timedelta(days=days), place.now)

    end = (place.now + timedelta(days=2)).timestamp()
    place.house = dataclasses.replace(place.house, certificate_ends=(("public", end), ("server", end + 90 * 86_400)))
    place.register.learn([held("unit", "u1", 10, "a"), held("hub", "city", 13, "b"), held("unit", "u2", 99, "c")], "")
    place.alarms.look()
    assert place.lasting() == {"unit/u1", "hub/city", "certificate/public"}
    assert (place.event("unit/u1").unit_id, place.event("unit/u1").severity) == ("u1", Severity.WARNING)
    assert place.event("certificate/public").severity is Severity.SEVERE
    place.register.learn([held("unit", "u1", 365, "d")], "")
    place.alarms.look()
    assert place.lasting() == {"hub/city", "certificate/public"}


async def test_a_link_that_is_down_for_two_looks_is_told_until_it_is_up_or_ended(place: Place):
    place.links[:] = [LinkFigures("city", False, 0), LinkFigures("county", True, 0)]
    place.alarms.look()
    assert place.lasting() == set()
    place.alarms.look()
    assert place.lasting() == {"hub/city"}
    place.links[:] = [LinkFigures("city", True, 0)]
    place.alarms.look()
    assert place.lasting() == set()


async def test_a_backup_is_overdue_after_a_day_also_where_there_never_was_one(place: Place):
    place.now += timedelta(hours=25)
    place.alarms.look()
    assert place.lasting() == set()
    place.now += timedelta(hours=2)
    place.alarms.look()
    assert place.lasting() == {"hub/own"}
    place.house = dataclasses.replace(place.house, backup_time=place.now.timestamp())
    place.alarms.look()
    assert place.lasting() == set()


async def test_refusals_are_counted_by_address_and_reason_and_many_addresses_together(place: Place):
    def refused(address: str) -> None:
        record = AuditRecord("user/x", "session.refused", "camera/1", result="NO_GRANT", source_address=address)
        place.alarms.refused(record, "")

    for _ in range(MANY_REFUSALS - 1):
        refused("192.0.2.1")
    assert place.event("address/192.0.2.1").severity is Severity.INFO
    refused("192.0.2.1")
    event = place.event("address/192.0.2.1")
    assert (event.count, event.reason, event.severity) == (MANY_REFUSALS, "NO_GRANT", Severity.WARNING)
    for number in range(5_000):
        refused(f"198.51.{number // 250}.{number % 250}")
    assert len(place.events.newest_first()) == MOST_ADDRESSES + 1
    assert place.event("address/many").count == 5_000 - MOST_ADDRESSES + 1


async def test_sessions_are_one_event_a_unit_and_their_ends_by_others_are_told(place: Place):
    await place.domain.catalogue.register(unit(), [camera(1)])
    for _ in range(3):
        place.alarms.session_opened(session())
    opened = place.event("unit/u1")
    assert (opened.kind, opened.count, opened.camera_ids, opened.unit_id) == (
        "session.opened",
        3,
        (camera(1).id,),
        "u1",
    )
    now = datetime.now(UTC)
    place.alarms.session_ended(session(), End(now, "SESSION_CLOSED"))
    place.alarms.session_ended(session(), End(now, "SESSION_EXPIRED"))
    assert len(place.events.newest_first()) == 1
    place.alarms.session_ended(session(), End(now, "SESSION_TERMINATED", person("sup", Role.SUPERVISOR), "误开"))
    ended = place.event(f"camera/{camera(1).id}")
    assert (ended.kind, ended.reason, ended.principal) == ("session.ended", "SESSION_TERMINATED", "user/zhang")
    assert "误开" in ended.detail_json


async def test_a_store_in_trouble_is_told_until_it_takes_writes_again(place: Place):
    place.alarms.store_trouble(Unavailable("STORE_UNAVAILABLE", "the disk is full: free some space, then try again"))
    event = place.event("store")
    assert (event.end_time, event.severity, event.reason) == (None, Severity.SEVERE, "STORE_UNAVAILABLE")
    place.alarms.store_trouble(None)
    assert place.event("store").end_time is not None
    assert place.alarms.figures().store_failures == 1
