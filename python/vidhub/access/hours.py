"""Weekly hours of grants: the stretch of time that a grant holds in, by the hub's own clock.

The core knows no weeks: it is given each stretch as a grant of its own time, so views end with it on every protocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from vidhub.errors import InvalidArgument
from vidhub.model import Grant, WeeklyHours

DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
MOST_STRETCHES = 28
_WRITTEN = re.compile(r"(?P<days>[a-z,-]+) +(?P<h1>\d\d):(?P<m1>[0-5]\d)-(?P<h2>\d\d):(?P<m2>[0-5]\d)")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `start` on, up to and without `end`."""

    start: datetime
    end: datetime

    def holds(self, now: datetime) -> bool:
        return self.start <= now < self.end


def stretch(grant: Grant, now: datetime, zone: tzinfo | None = None) -> Stretch | None:
    """The stretch that the grant holds in now, or else the next; None when none is left before the grant's end.

    zone: whose days and minutes they are; None is the machine's own.
    """
    if grant.not_after <= now:
        return None
    if not grant.weekly_hours or covers_week(grant.weekly_hours):
        return Stretch(grant.not_before, grant.not_after)
    earliest = max(now, grant.not_before)
    for found in _stretches(grant.weekly_hours, earliest.astimezone(zone).date(), zone):
        if found.end > earliest:
            start, end = max(found.start, grant.not_before), min(found.end, grant.not_after)
            return Stretch(start, end) if start < end else None
    return None


def covers_week(hours: tuple[WeeklyHours, ...]) -> bool:
    """Whether they leave no gap: then they say nothing."""
    reached = 0
    spans = sorted(span for one in hours for span in _spans(one))
    # What begins late in the week goes on at its beginning.
    wrapped = [(start - WEEK_MINUTES, end - WEEK_MINUTES) for start, end in spans if end > WEEK_MINUTES]
    for start, end in sorted([*wrapped, *spans]):
        if start > reached:
            return False
        reached = max(reached, end)
    return reached >= WEEK_MINUTES


def parse(text: str) -> WeeklyHours:
    """One stretch, as in "mon-fri 08:00-18:00" or "sat,sun 22:00-06:00". Raises InvalidArgument HOURS_INVALID."""
    found = _WRITTEN.fullmatch(text.strip().lower())
    days: list[int] = []
    for part in found["days"].split(",") if found else ():
        first, _, last = part.partition("-")
        if first in DAYS and (last or first) in DAYS:
            begin, end = DAYS.index(first), DAYS.index(last or first)
            days += [(begin + n) % 7 + 1 for n in range((end - begin) % 7 + 1)]
        else:
            found = None
            break
    minutes = [int(found[f"h{n}"]) * 60 + int(found[f"m{n}"]) for n in "12"] if found else [DAY_MINUTES, 0]
    if minutes[0] >= DAY_MINUTES or minutes[1] > DAY_MINUTES:
        raise InvalidArgument(
            "HOURS_INVALID", f'{text[:60]!r} are no weekly hours, as in "mon-fri 08:00-18:00" or "sat,sun 22:00-06:00"'
        )
    return WeeklyHours(tuple(sorted(set(days))), minutes[0], minutes[1])


def words(hours: tuple[WeeklyHours, ...]) -> str:
    """As the command line takes them: "mon-fri 08:00-18:00; sat 09:00-12:00"."""
    return "; ".join(f"{','.join(DAYS[day - 1] for day in one.days)} {_clock(one)}" for one in hours)


def _clock(one: WeeklyHours) -> str:
    return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (one.start_minute, one.end_minute))


def length(one: WeeklyHours) -> int:
    """Minutes; an end at or before the start lies on the next day."""
    return (one.end_minute - one.start_minute) % DAY_MINUTES or DAY_MINUTES


def _spans(one: WeeklyHours) -> Iterator[tuple[int, int]]:
    """Minutes of the week, from Monday's midnight; an end may lie in the next week."""
    for day in one.days:
        start = (day - 1) * DAY_MINUTES + one.start_minute
        yield start, start + length(one)


def _stretches(hours: tuple[WeeklyHours, ...], today: date, zone: tzinfo | None) -> Iterator[Stretch]:
    """From yesterday's on, in order, those that touch as one. A week and a day ahead holds a gap."""
    found = []
    for ahead in range(-1, 9):
        day = today + timedelta(days=ahead)
        for one in hours:
            if day.isoweekday() in one.days:
                begin = datetime.combine(day, time()) + timedelta(minutes=one.start_minute)
                found.append((_utc(begin, zone), _utc(begin + timedelta(minutes=length(one)), zone)))
    found.sort()
    current: Stretch | None = None
    for start, end in found:
        if current is not None and start <= current.end:
            current = Stretch(current.start, max(current.end, end))
            continue
        if current is not None:
            yield current
        current = Stretch(start, end)
    if current is not None:
        yield current


def _utc(local: datetime, zone: tzinfo | None) -> datetime:
    return (local if zone is None else local.replace(tzinfo=zone)).astimezone(UTC)
