"""Counts cameras and units by what the supervisor asks of them.

One set of questions answers `vidhub report compliance` and the metrics `vidhub_cameras`, `vidhub_camera_records` and
`vidhub_units`, so that the two never differ.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from vidhub.catalogue.remote import RemoteCameras
from vidhub.compliance.tally import TERM, CountRow, Row, Tallies, Tally
from vidhub.core import Core
from vidhub.errors import VidhubError
from vidhub.model import CameraFilter, CameraGrouping, Principal, Unit
from vidhub.store import Store, completeness, units
from vidhub.store.completeness import RecordCount
from vidhub.store.industries import INDUSTRIES
from vidhub.store.regions import RegionTable
from vidhub.store.times import now, to_us
from vidhub.telemetry import ComplianceFigures

# How old the figures of the metrics may be; of records only what was changed, and what became overdue, makes them old.
_LOOK_S = 60.0
_LOOKS_AT_MOST = 60

# Of a unit: it has a camera; none yet; none, TERM after it was let in.
UNIT_STATES = ("connected", "waiting", "overdue")
# Of a record: "overdue" is incomplete for longer than TERM.
RECORD_STATES = ("complete", "incomplete", "overdue")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UnitRow:
    """unit: None of another hub's unit. state: "connected" with a camera; without one "waiting", then "overdue"."""

    row: Row
    unit: Unit | None
    state: str


@dataclass(frozen=True, slots=True)
class Report:
    """units_left_out: units of other hubs beyond what the core groups by."""

    time: datetime
    total: Row
    regions: tuple[Row, ...]
    industries: tuple[Row, ...]
    units: tuple[UnitRow, ...]
    units_left_out: int

    def units_in(self, state: str) -> int:
        """Of this hub's own."""
        return sum(one.state == state for one in self.units if one.unit is not None)


class Compliance:
    """`figures` are for metrics, and up to a minute old; `report` asks anew."""

    def __init__(
        self,
        *,
        store: Store,
        core: Core,
        remote: RemoteCameras,
        regions: RegionTable,
        principal: Principal,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._store = store
        self._core = core
        self._remote = remote
        self._regions = regions
        self._principal = principal
        self._clock = clock
        self._counts: list[RecordCount] = []
        self._figures = ComplianceFigures((), ())

    def figures(self) -> ComplianceFigures:
        """As of the last look."""
        return self._figures

    async def run(self) -> None:
        """Until cancelled: keeps the figures of the metrics young."""
        seen, looks = None, 0
        while True:
            revision = self._core.revision()
            is_old = revision != seen or looks >= _LOOKS_AT_MOST
            try:
                await self.look(records=is_old)
                seen, looks = revision, 0 if is_old else looks + 1
            except VidhubError as error:  # the store is in trouble, and says so itself
                log.warning("compliance not counted", reason=error.reason)
            await asyncio.sleep(_LOOK_S)

    async def look(self, *, records: bool = True) -> None:
        """Counts for the metrics. records: those too, which takes longest."""
        time = self._clock()
        if records:
            self._counts = await self._count(time)
        known = await self._store.read(units.load)
        self._figures = ComplianceFigures(_by_place(self._counts), _by_state(known, self._counts, time))

    async def report(self) -> Report:
        """Everything as it is now."""
        time = self._clock()
        counts = await self._count(time)
        known = await self._store.read(units.load)
        seen = await asyncio.to_thread(self._see, self._remote.stale_ids())
        tallies = Tallies()
        for state, region, industry, cameras in seen.states:
            tallies.see(region, industry, state, cameras)
        for unit_id, _, states, _ in seen.units:
            for state, cameras in states:
                tallies.units[unit_id].see(state, cameras)
        for grouping, rows in seen.stale.items():
            tallies.doubt(grouping, rows)
        for one in counts:
            tallies.judge(one)
        here = {unit.id: unit for unit in known}
        foreign = {unit_id: self._remote.unit_of(first, unit_id) for unit_id, first, _, _ in seen.units}
        found = [
            _unit_row(unit_id, tallies.units[unit_id], here.get(unit_id), foreign.get(unit_id, ""), time)
            for unit_id in sorted(here.keys() | tallies.units.keys())
        ]
        return Report(
            time=time,
            total=tallies.total.row("", "", time),
            regions=tuple(
                one.row(code, self._regions.name_of(code), time) for code, one in sorted(tallies.regions.items())
            ),
            industries=tuple(
                one.row(code, INDUSTRIES.get(code, ""), time) for code, one in sorted(tallies.industries.items())
            ),
            units=tuple(sorted(found, key=lambda one: (-one.row.overdue_days, one.row.name))),
            units_left_out=seen.units_left_out,
        )

    async def _count(self, time: datetime) -> list[RecordCount]:
        return await self._store.read(lambda conn: list(completeness.count(conn, before_us=to_us(time - TERM))))

    def _see(self, stale_ids: Sequence[str]) -> _Seen:
        """What the core knows, in a thread."""
        count = partial(self._core.count_cameras, self._principal, CameraFilter())
        of_units = count(CameraGrouping.UNIT)
        groupings = (CameraGrouping.REGION, CameraGrouping.INDUSTRY, CameraGrouping.UNIT) if stale_ids else ()
        return _Seen(
            self._core.camera_counts(),
            of_units.groups,
            of_units.left_out,
            {one.value: count(one, stale=stale_ids).groups for one in groupings},
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    states: Sequence[tuple[int, str, str, int]]
    units: Sequence[CountRow]
    units_left_out: int
    stale: Mapping[str, Sequence[CountRow]]


def _unit_row(unit_id: str, tally: Tally, unit: Unit | None, foreign_name: str, time: datetime) -> UnitRow:
    if unit is None:
        return UnitRow(tally.row(unit_id, foreign_name, time), None, "connected")
    state = _state(unit, tally.records, time)
    late = time - TERM - unit.create_time if state == "overdue" else None
    return UnitRow(tally.row(unit_id, unit.name, time, late=late), unit, state)


def _state(unit: Unit, cameras: int, time: datetime) -> str:
    """UnitRow.state."""
    if cameras:
        return "connected"
    return "overdue" if unit.create_time < time - TERM else "waiting"


def _by_state(known: Sequence[Unit], counts: Sequence[RecordCount], time: datetime) -> tuple[tuple[str, int], ...]:
    cameras: dict[str, int] = defaultdict(int)
    for one in counts:
        cameras[one.unit_id] += one.cameras
    found = Counter(_state(unit, cameras[unit.id], time) for unit in known)
    return tuple((state, found[state]) for state in UNIT_STATES)


def _by_place(counts: Sequence[RecordCount]) -> tuple[tuple[str, str, str, int], ...]:
    """(state, region, industry, cameras) in the order of places; each camera is in one state."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in counts:
        states = {"complete": one.complete, "overdue": one.overdue}
        found[one.region_code, one.industry].update({**states, "incomplete": one.cameras - one.complete - one.overdue})
    return tuple(
        (state, region, industry, states[state])
        for (region, industry), states in sorted(found.items())
        for state in RECORD_STATES
    )
