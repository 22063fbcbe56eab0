"""Sums of cameras by region, industry and unit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vidhub.model import CameraState
from vidhub.store.completeness import RecordCount
from vidhub.store.times import from_us

# Within so many days of its use a system is filed (Order 799, Article 14), and within as many a unit that was let in
# connects.
TERM = timedelta(days=30)
# (key, least camera id, [(state, cameras)] without the stale ones, stale)
CountRow = tuple[str, str, list[tuple[int, int]], int]


@dataclass(frozen=True, slots=True)
class Row:
    """One region, industry or unit, or all of them.

    connected: cameras of the catalogue, those of lower hubs among them. online: in that state. stale: of a hub whose
    link is down, so that their state is the last that was known. records: of this hub, and so judged here.
    complete: their record holds all that is asked for. overdue: it does not, TERM after it was registered.
    overdue_days: since when the oldest of these is, in whole days; of a unit without cameras, since when it should have
    connected one.
    """

    key: str
    name: str
    connected: int = 0
    online: int = 0
    stale: int = 0
    records: int = 0
    complete: int = 0
    overdue: int = 0
    overdue_days: int = 0


@dataclass(slots=True)
class Tally:
    connected: int = 0
    online: int = 0
    stale: int = 0
    records: int = 0
    complete: int = 0
    overdue: int = 0
    oldest_us: int = 0

    def see(self, state: int, cameras: int) -> None:
        self.connected += cameras
        if state == CameraState.ONLINE:
            self.online += cameras

    def judge(self, one: RecordCount) -> None:
        self.records += one.cameras
        self.complete += one.complete
        self.overdue += one.overdue
        self.oldest_us = min(self.oldest_us or one.oldest_us, one.oldest_us or self.oldest_us)

    def row(self, key: str, name: str, time: datetime, *, late: timedelta | None = None) -> Row:
        """late: since when a unit without cameras should have some."""
        if self.oldest_us:
            late = time - TERM - from_us(self.oldest_us)
        return Row(
            key,
            name,
            self.connected,
            self.online,
            self.stale,
            self.records,
            self.complete,
            self.overdue,
            max(late.days, 0) if late is not None else 0,
        )


class Tallies:
    def __init__(self) -> None:
        self.total = Tally()
        self.regions: dict[str, Tally] = defaultdict(Tally)
        self.industries: dict[str, Tally] = defaultdict(Tally)
        self.units: dict[str, Tally] = defaultdict(Tally)

    def see(self, region: str, industry: str, state: int, cameras: int) -> None:
        for one in (self.total, self.regions[region], self.industries[industry]):
            one.see(state, cameras)

    def judge(self, count: RecordCount) -> None:
        places = (self.regions[count.region_code], self.industries[count.industry], self.units[count.unit_id])
        for one in (self.total, *places):
            one.judge(count)

    def doubt(self, grouping: str, rows: Sequence[CountRow]) -> None:
        """Cameras whose state is the last that was known."""
        places = {"region": self.regions, "industry": self.industries, "unit": self.units}[grouping]
        for key, _, _, stale in rows:
            places[key].stale += stale
            self.total.stale += stale if grouping == "region" else 0
