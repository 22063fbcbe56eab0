"""Times on a link: each side speaks by its own clock, and the link knows by how much the two differ."""

from __future__ import annotations

from datetime import datetime, timedelta

from google.protobuf.message import Message

from vidhub.api import convert
from vidhub.errors import InvalidArgument
from vidhub.link.live import Link


def by_our_clock(link: Link, message: Message, field: str) -> datetime | None:
    """A time that the other side told; None when it told none. Raises InvalidArgument TIME_INVALID."""
    told = convert.from_time(message, field)
    return None if told is None else _moved(told, -link.skew_s)


def by_their_clock(link: Link, time: datetime) -> datetime:
    """Raises InvalidArgument TIME_INVALID where the other clock stands so far off that there is no such time."""
    return _moved(time, link.skew_s)


def _moved(time: datetime, by_s: float) -> datetime:
    try:
        return time + timedelta(seconds=by_s)
    except OverflowError as cause:
        raise InvalidArgument("TIME_INVALID", "the two clocks are too far apart: set them right") from cause
