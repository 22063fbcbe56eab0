"""The pure parts of the benches: what runs come to, and what is read out of /proc and of cargo."""

import json
import os
from pathlib import Path

import pytest
from benches.figures import Figures, Mark, document, markdown
from benches.measure import (
    TICKS_PER_S,
    Reading,
    Summary,
    Use,
    core_busy_s,
    percentile,
    private_kib,
    rounded,
    schedule_s,
)
from benches.programs import Failed, executables


def test_several_runs_come_to_their_median_and_ends() -> None:
    assert Summary.of([3.0, 1.0, 2.0]) == Summary(2.0, 1.0, 3.0, 3)
    assert str(Summary.of([0.653, 0.701, 0.7])) == "0.7 [0.653–0.701]"
    assert str(Summary.of([7.0])) == "7"
    assert Summary.of([]) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (1.234, "1.23"),
        (99.96, "100"),
        (123.4, "123"),
        (12345, "12 300"),
        (1e-5, "0.00001"),
    ],
)
def test_numbers_are_shown_with_three_figures(value: float, shown: str) -> None:
    assert rounded(value) == shown


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([5, 1, 4, 2, 3], 0.5) == 3
    assert percentile([1, 2], 1.0) == 2
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_what_the_kernel_counts_is_read() -> None:
    assert schedule_s("1500000000 77 12\n") == 1.5
    rollup = (
        "7f00-7fff ---p 00000000 00:00 0 [rollup]\nRss:    2048 kB\nPrivate_Clean:  24 kB\nPrivate_Dirty: 1000 kB\n"
    )
    assert private_kib(rollup) == 1024
    with pytest.raises(ValueError, match="private"):
        private_kib("Rss: 1 kB")
    stat = f"cpu  9 9 9 9 9 9 9 9 0 0\ncpu1 {2 * TICKS_PER_S} 0 {TICKS_PER_S} 500 50 0 0 0 0 0\n"
    assert core_busy_s(stat, 1) == 3.0
    with pytest.raises(ValueError, match="core 2"):
        core_busy_s(stat, 2)


def test_this_process_can_be_read() -> None:
    reading = Reading.take(os.getpid(), min(os.sched_getaffinity(0)))
    assert reading.cpu_s > 0
    assert reading.memory_kib > 1024


def test_what_ran_beside_is_told_apart() -> None:
    use = Use.between(Reading(10.0, 1.0, 5.0, 100), Reading(12.0, 2.0, 6.5, 130))
    assert use == Use(cpu_s=1.0, wall_s=2.0, foreign_share=0.25, memory_kib=30)


def test_cost_is_told_in_times_the_floor_and_a_rate_in_shares_of_it() -> None:
    figures = Figures()
    figures.add("media", "cost", "s", 0.6, floor=0.5)
    figures.add("media", "cost", "s", 0.7, floor=0.5)
    figures.add("control", "rate", "1/s", 30.0, floor=60.0, is_rate=True)
    shown = markdown(figures)
    assert "| cost | s | 0.65 [0.6–0.7] | 0.5 [0.5–0.5] | 1.30 × |  |" in shown
    assert "| rate | 1/s | 30 | 60 | 50 % |  |" in shown
    rows = document(figures, {"commit": "c"})["figures"]
    assert rows[0]["ratio"]["median"] == pytest.approx(1.3)
    json.dumps(rows)


def test_executables_are_found_among_the_messages_of_cargo() -> None:
    lines = [
        json.dumps({"reason": "compiler-artifact", "target": {"name": "bytes"}, "executable": None}),
        json.dumps({"reason": "compiler-artifact", "target": {"name": "load"}, "executable": "/t/load-1"}),
        json.dumps({"reason": "build-finished"}),
    ]
    assert executables(lines, ["load"]) == {"load": Path("/t/load-1")}
    with pytest.raises(Failed, match="core"):
        executables(lines, ["load", "core"])


def test_a_mark_is_met_or_missed_by_the_median_or_by_its_ratio() -> None:
    figures = Figures()
    for value in (1.0, 4.0, 2.0):
        figures.add("a", "delay", "ms", value, mark=Mark(2))
        figures.add("a", "cost", "s", value, floor=0.9, mark=Mark(2, of_ratio=True))
        figures.add("a", "playable", "%", value, mark=Mark(3, at_least=True))
        figures.add("a", "no mark", "s", value)
    assert [figure.is_met for figure in figures] == [True, False, False, None]
    assert [str(figure.mark) for figure in figures][:3] == ["≤ 2", "≤ 2 ×", "≥ 3"]
    assert "| ≤ 2 × missed |" in markdown(figures)
    assert [row["is_met"] for row in document(figures, {})["figures"]] == [True, False, False, None]
