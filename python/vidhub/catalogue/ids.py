"""GB/T 28181-2022 device ids, Annex E: 8 digits of the centre, 2 industry, 3 type, 1 network, 6 serial."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vidhub.errors import ResourceExhausted

NETWORK_CAMERA = "132"
# 2 is the private network of an industry: where the cameras of connecting units stand.
UNIT_NETWORK = "2"
SERIALS = 1_000_000

_ID = re.compile(r"[1-9]\d{19}", re.ASCII)


def is_device_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def prefix(region_code: str, industry: str) -> str:
    """The 14 digits before the serial of an id that the hub assigns; 00 stands for no basic unit."""
    return f"{region_code}00{industry}{NETWORK_CAMERA}{UNIT_NETWORK}"


def assign(start: str, count: int, taken: Iterable[str]) -> list[str]:
    """The next `count` ids under the prefix `start`: after the highest that is taken, then in the gaps.

    An id is never given twice, so `taken` holds retired cameras too.
    """
    serials = {int(one[14:]) for one in taken if one.startswith(start)}
    first = max(serials, default=0) + 1
    found = list(range(first, min(first + count, SERIALS)))
    if len(found) < count:
        gaps = (serial for serial in range(1, first) if serial not in serials)
        found.extend(serial for serial, _ in zip(gaps, range(count - len(found)), strict=False))
    if len(found) < count:
        raise ResourceExhausted(
            "ID_SPACE_FULL", f"no id is left under {start}: register with ids of another region or industry"
        )
    return [f"{start}{serial:06d}" for serial in found]
