"""The log of events: numbers that grow, folds, bounds, and what is left after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from sqlalchemy import Connection

from vidhub.events import EventLog, Facts, kinds, log
from vidhub.model import AuditRecord, Principal, PrincipalKind, Severity
from vidhub.store import Store

SUPERVISOR = Principal(PrincipalKind.USER, "sup")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite:///{tmp_path / 'vidhub.db'}")
    yield opened
    await opened.close()


async def begun(store: Store, clock: Clock) -> EventLog:
    events = await EventLog.open(store, clock=clock)
    await events.reserve()
    return events


async def test_an_event_lasts_until_it_ends_and_each_change_has_the_next_number(store: Store, clock: Clock):
    events = await begun(store, clock)
    first = events.begin(kinds.DISK_LOW, "disk", Facts(detail={"free_bytes": 1}))
    assert (first.end_time, first.severity, events.lasting(kinds.DISK_LOW, "disk")) == (None, Severity.WARNING, first)
    assert events.begin(kinds.DISK_LOW, "disk", Facts(detail={"free_bytes": 1})) == first, "nothing new was said"
    worse = events.begin(kinds.DISK_LOW, "disk", Facts(severity=Severity.SEVERE))
    assert (worse.id, worse.number, worse.severity) == (first.id, first.number + 1, Severity.SEVERE)
    clock.passes(minutes=1)
    events.end(kinds.DISK_LOW, "disk")
    events.end(kinds.DISK_LOW, "disk")
    (only,) = events.newest_first()
    assert (only.id, only.number, only.end_time) == (first.id, first.number + 2, clock.now)
    assert events.begin(kinds.DISK_LOW, "disk", Facts()).id != first.id


async def test_the_same_again_within_the_time_is_counted(store: Store, clock: Clock):
    events = await begun(store, clock)
    for number in range(30):
        clock.passes(seconds=1)
        facts = Facts(reason="NO_GRANT", camera_ids=(f"{number:020d}",))
        last = events.happened(kinds.ACCESS_REFUSED, "address/192.0.2.1", facts)
    assert (last.count, len(last.camera_ids), len(events.newest_first())) == (30, log.MOST_CAMERAS, 1)
    assert events.folded(kinds.ACCESS_REFUSED, "address/192.0.2.1", Facts(reason="NO_GRANT")) == 30
    events.happened(kinds.ACCESS_REFUSED, "address/192.0.2.1", Facts(reason="TOKEN_INVALID"))
    clock.passes(minutes=2)
    assert events.happened(kinds.ACCESS_REFUSED, "address/192.0.2.1", Facts(reason="NO_GRANT")).count == 1
    assert len(events.newest_first()) == 3


async def test_a_clock_that_is_set_back_keeps_no_fold_open(store: Store, clock: Clock):
    events = await begun(store, clock)
    events.happened(kinds.ACCESS_REFUSED, "address/192.0.2.1", Facts())
    clock.passes(minutes=-10)
    assert events.happened(kinds.ACCESS_REFUSED, "address/192.0.2.1", Facts()).count == 1


async def test_what_was_written_is_there_after_a_crash_and_no_number_is_given_twice(store: Store, clock: Clock):
    events = await begun(store, clock)
    kept = events.begin(kinds.LINK_DOWN, "hub/city", Facts(reason="LINK_DOWN", detail={"word": "断"}))
    await events.flush()
    told = events.begin(kinds.DISK_LOW, "disk", Facts())  # told of, and never written
    again = await begun(store, clock)
    assert again.newest_first() == (kept,)
    assert again.lasting(kinds.LINK_DOWN, "hub/city") == kept
    assert again.begin(kinds.DISK_LOW, "disk", Facts()).number > told.number


async def test_past_what_is_reserved_nothing_is_told_until_the_store_takes_it(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log, "RESERVE", 3)
    events = await begun(store, clock)
    woken: list[int] = []
    events.on_change(lambda: woken.append(events.revision.number))
    for number in range(5):
        events.begin(kinds.LINK_DOWN, f"hub/{number}", Facts())
    assert (woken, len(events.since(0)), events.revision.number) == ([1, 2, 3], 3, 3)
    await events.flush()
    assert len(events.since(0)) == 5
    assert woken[-1] == 5


async def test_the_log_is_bounded_and_what_nobody_needs_goes_first(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(log, "MOST_EVENTS", 250)
    events = await begun(store, clock)
    lasting = events.begin(kinds.LINK_DOWN, "hub/city", Facts())
    open_question = events.happened(kinds.HUB_STALLED, "hub/own", Facts())
    for number in range(600):
        events.happened(kinds.SESSION_OPENED, f"unit/{number}", Facts())
    assert len(events.newest_first()) <= 250
    assert events.get(lasting.id) == lasting
    assert events.get(open_question.id) == open_question
    await events.flush()
    rows = await store.read(lambda conn: conn.exec_driver_sql("SELECT count(*) FROM events").scalar_one())
    assert rows == len(events.newest_first())


async def test_what_is_old_and_over_goes(store: Store, clock: Clock):
    events = await begun(store, clock)
    lasting = events.begin(kinds.LINK_DOWN, "hub/city", Facts())
    old = events.happened(kinds.HUB_STALLED, "hub/own", Facts())
    events.put(lasting)
    clock.passes(days=91)
    events.happened(kinds.HUB_STALLED, "hub/own", Facts())
    assert events.get(old.id) is None
    assert events.get(lasting.id) is not None


async def test_an_acknowledgement_is_on_record_and_outlives_what_was_about_to_be_written(store: Store, clock: Clock):
    events = await begun(store, clock)
    records: list[AuditRecord] = []

    def append(_: Connection, given: object) -> None:
        records.extend(given)  # type: ignore[arg-type]

    event = events.begin(kinds.LINK_DOWN, "hub/city", Facts())
    # The row from before waits behind bulk work while somebody acknowledges.
    writing = asyncio.ensure_future(events.flush())
    done = await events.acknowledge(SUPERVISOR, event, "路由器", append)
    await writing
    assert (done.acknowledgement.by, done.acknowledgement.note) == ("user/sup", "路由器")
    assert events.is_acknowledged(event)
    assert [(one.principal, one.action, one.resource) for one in records] == [
        ("user/sup", "event.acknowledge", "hub/city")
    ]
    again = await EventLog.open(store, clock=clock)
    assert again.get(event.id).acknowledgement == done.acknowledgement
    events.end(kinds.LINK_DOWN, "hub/city")
    await events.flush()
    assert (await EventLog.open(store, clock=clock)).get(event.id).acknowledgement == done.acknowledgement


async def test_facts_are_bounded(store: Store, clock: Clock):
    events = await begun(store, clock)
    event = events.begin(kinds.DISK_LOW, "disk", Facts(detail={"word": "字" * 2_000}))
    assert event.detail_json == '{"truncated": true}'
