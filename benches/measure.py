"""Numbers: what the kernel counts of a process and a core, and what several runs come to."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Summary:
    """Several runs of one measurement."""

    median: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary | None:
        """None when there is nothing to sum up."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1], len(found)) if found else None

    def __str__(self) -> str:
        middle = rounded(self.median)
        return middle if self.runs == 1 else f"{middle} [{rounded(self.low)}–{rounded(self.high)}]"


def rounded(value: float) -> str:
    """Three figures, and no more than the number needs: 0.0123, 1.23, 12.3, 12 300."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        figures = len(str(int(abs(value))))
        return f"{int(round(value, 3 - figures)):,}".replace(",", " ")
    text = f"{value:.3g}"
    return f"{value:.5f}".rstrip("0") if "e" in text else text


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest one; raises ValueError when there are none."""
    if not values:
        raise ValueError("no values")
    found = sorted(values)
    return found[round((len(found) - 1) * share)]


def schedule_s(text: str) -> float:
    """CPU seconds out of /proc/…/schedstat: the scheduler's own nanoseconds, finer than the ticks of /proc/…/stat."""
    return int(text.split()[0]) / 1e9


def private_kib(text: str) -> int:
    """Memory that a process has for itself, out of /proc/…/smaps_rollup; its share of common pages (PSS) would move
    with every other Python process that comes and goes."""
    found = {}
    for line in text.splitlines():
        label, _, value = line.partition(":")
        if label in ("Private_Clean", "Private_Dirty"):
            found[label] = int(value.split()[0])
    if len(found) != 2:
        raise ValueError("no private memory in smaps_rollup")
    return sum(found.values())


def core_busy_s(text: str, core: int) -> float:
    """Seconds that a core has not been idle, out of /proc/stat."""
    for line in text.splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            ticks = [int(field) for field in fields[:8]]
            return (sum(ticks) - ticks[3] - ticks[4]) / TICKS_PER_S
    raise ValueError(f"no core {core} in /proc/stat")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a process has used at one moment, and its core."""

    time_s: float
    cpu_s: float
    core_busy_s: float
    memory_kib: int

    @classmethod
    def take(cls, pid: int, core: int) -> Reading:
        cpu = 0.0
        for task in (PROC / str(pid) / "task").iterdir():
            try:
                cpu += schedule_s((task / "schedstat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue  # a thread that has ended in between
        return cls(
            time_s=time.monotonic(),
            cpu_s=cpu,
            core_busy_s=core_busy_s((PROC / "stat").read_text(), core),
            memory_kib=private_kib((PROC / str(pid) / "smaps_rollup").read_text()),
        )


@dataclass(frozen=True, slots=True)
class Use:
    """What a process used between two readings."""

    cpu_s: float
    wall_s: float
    # What else ran on the core, in shares of the time: a high one tells of a noisy run.
    foreign_share: float
    memory_kib: int

    @classmethod
    def between(cls, first: Reading, last: Reading) -> Use:
        wall = max(last.time_s - first.time_s, 1e-9)
        cpu = last.cpu_s - first.cpu_s
        foreign = max(0.0, last.core_busy_s - first.core_busy_s - cpu) / wall
        return cls(cpu, wall, foreign, last.memory_kib - first.memory_kib)
