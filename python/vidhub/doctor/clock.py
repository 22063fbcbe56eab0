"""Whether this machine's clock can be believed: tickets, certificates and the register of use stand on it."""

from __future__ import annotations

import ctypes
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from vidhub.link.probe import Hop

# What a clock may have gone ahead or back beside the monotonic one since the hub started.
MOST_JUMP_S = 5.0
# adjtimex(2).
_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class _Timex(ctypes.Structure):
    """The head of `struct timex` (adjtimex(2)); the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("room", ctypes.c_byte * 512),
    )


def synchronised() -> Hop:
    """What the kernel says. No failure either way: some time services keep a clock without telling the kernel."""
    name, timex = "clock.synchronised", _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    if state < 0:
        return Hop(name, "", "the kernel does not tell", "see that chrony, ntpd or systemd-timesyncd runs")
    if state == _TIME_ERROR or timex.status & _STA_UNSYNC:
        return Hop(
            name,
            "",
            "the kernel knows of nothing that keeps the clock",
            "see that chrony, ntpd or systemd-timesyncd runs; in a container, on the machine below",
        )
    return Hop(name, "", f"kept by a time service, within {timex.maxerror / 1e6:.3f} s")


def register(database: Path, now: datetime | None = None) -> Hop:
    """Whether the register of use holds what has not happened yet: then the clock went back, or was ahead before."""
    name, now = "clock.register", now or datetime.now(UTC)
    address = f"file:{quote(str(database.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=5)) as conn:
            row = conn.execute("SELECT max(time) FROM audit_entries").fetchone()
    except sqlite3.Error:
        return Hop(name, "", "the register can't be read: see the checks of the store")
    if row is None or row[0] is None:
        return Hop(name, "", "the register is empty")
    newest = datetime.fromtimestamp(row[0] / 1e6, UTC)
    ahead = (newest - now).total_seconds()
    if ahead > MOST_JUMP_S:
        return Hop(
            name,
            "CLOCK_BACK",
            f"the newest entry of the register is {ahead:.0f} s in the future ({newest:%Y-%m-%d %H:%M:%S}Z)",
            "set this machine's clock (NTP): it stands back, or stood ahead before",
        )
    return Hop(name, "", f"the newest entry is of {newest:%Y-%m-%d %H:%M:%S}Z")


def jump(began: datetime, began_monotonic: float) -> Hop:
    """Whether the clock was set since the hub started. began_monotonic: `time.monotonic()` at that moment."""
    expected = began.timestamp() + time.monotonic() - began_monotonic
    off = time.time() - expected
    told = f"{off:+.1f} s beside the time since the start"
    if abs(off) > MOST_JUMP_S:
        return Hop(
            "clock.jump",
            "CLOCK_JUMPED",
            f"the clock was set while the hub ran: {told}",
            "keep the clock by NTP, which moves it slowly; restart the hub, so that all times count from the right one",
        )
    return Hop("clock.jump", "", told)
