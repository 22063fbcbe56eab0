"""Times as the store keeps them: whole microseconds since 1970-01-01 UTC, which sort, compare and hash exactly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now() -> datetime:
    return datetime.now(UTC)


def to_us(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def to_us_or_none(time: datetime | None) -> int | None:
    return None if time is None else to_us(time)


def from_us_or_none(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)
