"""GB/T 28181-2022 device ids, Annex E: 8 digits of the centre, 2 industry, 3 type, 1 network, 6 serial."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from sqlalchemy import Connection

from vidhub.errors import ResourceExhausted
from vidhub.store import cameras, meta

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


def assign(conn: Connection, start: str, reserved: Collection[str]) -> str:
    """A new id under `start`, never given before. Units choose ids of their own too, so a taken one is stepped over.

    reserved: ids that the same transaction is about to take.
    """
    serial = meta.next_number(conn, f"serial/{start}")
    if serial < SERIALS:
        wanted = f"{start}{serial:06d}"
        is_taken = conn.exec_driver_sql("SELECT 1 FROM cameras WHERE id = ?", (wanted,)).first() is not None
        if not is_taken and wanted not in reserved:
            return wanted
    rows = conn.exec_driver_sql("SELECT id FROM cameras WHERE id BETWEEN ? AND ?", (start + "000000", start + "999999"))
    taken = {str(row[0]) for row in rows}.union(one for one in reserved if one.startswith(start))
    return f"{start}{free_serial(start, taken):06d}"


def assign_many(conn: Connection, start: str, count: int, reserved: set[str]) -> list[str]:
    """As `assign`, for many at once: one after the other where some of them are taken."""
    first = meta.next_number(conn, f"serial/{start}", count)
    wanted = [f"{start}{serial:06d}" for serial in range(first, first + count)]
    if first + count <= SERIALS and not cameras.known(conn, wanted) and reserved.isdisjoint(wanted):
        return wanted
    given: list[str] = []
    for _ in range(count):
        given.append(assign(conn, start, reserved | set(given)))
    return given


def free_serial(start: str, taken: Iterable[str]) -> int:
    """The serial after the highest that is taken, else the first gap; retired cameras keep theirs."""
    serials = {int(one[14:]) for one in taken}
    after = max(serials, default=0) + 1
    if after < SERIALS:
        return after
    free = next((serial for serial in range(1, SERIALS) if serial not in serials), None)
    if free is None:
        raise ResourceExhausted(
            "ID_SPACE_FULL", f"no id is left under {start}: register with ids of another region or industry"
        )
    return free
