"""The report for people: headline, tables, shares."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from vidhub.cli import app, local

FIGURES = {
    "connected": 3000,
    "online": 2999,
    "stale": 2,
    "records": 2000,
    "complete": 1000,
    "overdue": 7,
    "overdue_days": 12,
}
NONE = dict.fromkeys(FIGURES, 0)
UNIT = {"region_code": "360603", "industry": "11", "own": True}
REPORT = {
    "time": "2026-11-27T06:00:00Z",
    "serving": True,
    "term_days": 30,
    "total": {**FIGURES, "units": {"connected": 4, "waiting": 2, "overdue": 1}},
    "regions": [{"code": "360603", "name": "余江区", **FIGURES}],
    "industries": [],
    "units": [
        {"id": "late", "name": "迟到单位", "state": "overdue", **UNIT, **NONE, "overdue_days": 9},
        {"id": "school", "name": "余江中学", "state": "connected", **UNIT, **NONE, "own": False, "connected": 2},
    ],
    "units_left_out": 3,
}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*words: str, **changed: object) -> list[str]:
        monkeypatch.setattr(local, "call", lambda *_: {**REPORT, **changed})
        return CliRunner().invoke(app, ["report", "compliance", *words]).stdout.splitlines()

    return run


def test_the_headline_says_how_it_stands(said: Any) -> None:
    lines = said()
    assert lines[1:4] == [
        "cameras: 3000 connected, 2999 online (99.9 %); 2 are as they were last known: a link is down",
        "records: 1000 of 2000 complete (50.0 %), 7 incomplete for more than 30 days",
        "units: 4 connected, 3 without cameras, 1 of these for more than 30 days",
    ]
    assert "the hub does not run, so nobody knows which cameras are online" in said(serving=False)


def test_tables_have_what_there_is_and_judge_only_what_is_judged_here(said: Any) -> None:
    lines = said()
    assert not any(line.startswith("industry") for line in lines)
    (region,) = (line.split() for line in lines if line.startswith("360603"))
    assert region == ["360603", "余江区", "3000", "2999", "(99.9", "%)", "1000", "(50.0", "%)", "7", "12"]
    assert next(line for line in lines if line.startswith("late")).split() == [
        "late",
        "迟到单位",
        "360603",
        "overdue",
        "0",
        "0",
        "9",
    ]
    school = next(line for line in lines if line.startswith("school"))
    assert school.split() == ["school", "余江中学", "360603", "another", "hub's", "2", "0", "(0.0", "%)"]
    assert lines[-1] == "… and 3 more units of other hubs"
    assert not any(line.startswith(("late", "…")) for line in said("--by", "region"))
