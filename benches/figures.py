"""What was measured, and how it is shown: a table for people, JSON for programs, Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from benches.measure import Summary, rounded


@dataclass(frozen=True, slots=True)
class Mark:
    """What a figure is to stay within: its median, or how many times its floor that is."""

    limit: float
    of_ratio: bool = False
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {rounded(self.limit)}{' ×' if self.of_ratio else ''}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing measured several times. floor: what the same cost without us, in the same runs and order."""

    group: str
    name: str
    unit: str
    values: tuple[float, ...]
    floor: tuple[float, ...] = ()
    # A rate: more is better, and the floor is a ceiling.
    is_rate: bool = False
    note: str = ""
    mark: Mark | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the mark is met; None when there is none, or nothing was measured."""
        summary = self.ratio if self.mark and self.mark.of_ratio else Summary.of(self.values)
        if self.mark is None or summary is None:
            return None
        return summary.median >= self.mark.limit if self.mark.at_least else summary.median <= self.mark.limit

    @property
    def ratio(self) -> Summary | None:
        """How many times the floor it costs; of a rate, which share of the ceiling it reaches."""
        return Summary.of(value / floor for value, floor in zip(self.values, self.floor, strict=False) if floor > 0)


@dataclass(slots=True)
class Figures:
    """All figures of a run, in the order they were first seen."""

    _found: dict[tuple[str, str], Figure] = field(default_factory=dict)

    def add(
        self,
        group: str,
        name: str,
        unit: str,
        value: float,
        *,
        floor: float = 0.0,
        is_rate: bool = False,
        note: str = "",
        mark: Mark | None = None,
    ) -> None:
        """One more value of a figure."""
        old = self._found.get((group, name))
        values = (*(old.values if old else ()), value)
        floors = (*(old.floor if old else ()), *((floor,) if floor else ()))
        self._found[group, name] = Figure(group, name, unit, values, floors, is_rate, note, mark)

    def __iter__(self) -> Any:
        return iter(self._found.values())

    def groups(self) -> Iterable[tuple[str, list[Figure]]]:
        names = dict.fromkeys(figure.group for figure in self._found.values())
        for name in names:
            yield name, [figure for figure in self._found.values() if figure.group == name]


HEADINGS = ("", "unit", "median [min–max]", "floor", "ratio", "mark", "")


def _cells(figure: Figure) -> Sequence[str]:
    floor, ratio = Summary.of(figure.floor), figure.ratio
    times = "" if ratio is None else f"{ratio.median * 100:.0f} %" if figure.is_rate else f"{ratio.median:.2f} ×"
    return (
        figure.name,
        figure.unit,
        str(Summary.of(figure.values) or ""),
        str(floor or ""),
        times,
        "" if figure.mark is None else f"{figure.mark} {'met' if figure.is_met else 'missed'}",
        figure.note,
    )


def table(figures: Figures) -> Table:
    shown = Table(title_justify="left")
    for place, heading in enumerate(HEADINGS):
        shown.add_column(heading, justify="right" if 2 <= place <= 5 else "left", overflow="fold")
    for group, rows in figures.groups():
        shown.add_row(f"[bold]{group}[/bold]")
        for figure in rows:
            shown.add_row(*_cells(figure))
        shown.add_section()
    return shown


def page(figures: Figures, about: dict[str, Any]) -> str:
    """`docs/reference/benchmarks.md`."""
    facts = "".join(f"- {name}: {f'`{value}`' if name == 'command' else value}\n" for name, value in about.items())
    return f"""# Figures

Written by `make bench BENCH="--markdown docs/reference/benchmarks.md"`; what each figure means, and what is in
its floor, stands in `benches/README.md`. The hub has one core of the machine; camera, readers and viewers have another.

{facts}
{markdown(figures)}"""


def markdown(figures: Figures) -> str:
    """The table of each group."""
    lines = []
    for group, rows in figures.groups():
        lines += [f"## {group}", "", "| | unit | median [min–max] | floor | ratio | mark | |"]
        lines += ["|---|---|--:|--:|--:|--:|---|"]
        lines += ["| " + " | ".join(_cells(figure)) + " |" for figure in rows]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def document(figures: Figures, about: dict[str, Any]) -> dict[str, Any]:
    """For `.cache/bench.json`."""
    rows = []
    for figure in figures:
        ratio, summary = figure.ratio, Summary.of(figure.values)
        rows.append(
            {
                **asdict(figure),
                "summary": asdict(summary) if summary else None,
                "ratio": asdict(ratio) if ratio else None,
                "is_met": figure.is_met,
            }
        )
    return {**about, "figures": rows}
