"""What `--retire-missing` asks for before a camera goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from vidhub.cli import camera_retire
from vidhub.errors import FailedPrecondition


def refusal(
    missing: int,
    of: int,
    *,
    named: int = 4,
    rejected: int = 0,
    yes: bool = False,
    most: bool = False,
    answer: bool | str | None = None,
) -> str:
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        if answer == "Ctrl-C":
            raise typer.Abort
        return bool(answer)

    try:
        camera_retire.check(
            ["x"] * missing,
            of=of,
            named=named,
            rejected=rejected,
            yes=yes,
            most=most,
            confirm=None if answer is None else confirm,
        )
    except FailedPrecondition as error:
        return error.reason
    return "asked" if asked else ""


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ({"missing": 0, "of": 9}, ""),
        ({"missing": 0, "of": 9, "rejected": 1}, ""),
        ({"missing": 0, "of": 0, "named": 0}, ""),
        ({"missing": 1, "of": 9}, "RETIRE_NOT_CONFIRMED"),
        ({"missing": 1, "of": 9, "yes": True}, ""),
        ({"missing": 1, "of": 9, "answer": True}, "asked"),
        ({"missing": 1, "of": 9, "answer": False}, "RETIRE_NOT_CONFIRMED"),
        ({"missing": 1, "of": 9, "answer": "Ctrl-C"}, "RETIRE_NOT_CONFIRMED"),
        ({"missing": 1, "of": 9, "rejected": 1, "yes": True}, "RETIRE_AFTER_REJECTED"),
        ({"missing": 4, "of": 8, "answer": True}, "asked"),
        ({"missing": 5, "of": 9, "answer": True}, "RETIRE_TOO_MANY"),
        ({"missing": 5, "of": 9, "yes": True}, "RETIRE_TOO_MANY"),
        ({"missing": 5, "of": 9, "most": True}, "RETIRE_NOT_CONFIRMED"),
        ({"missing": 5, "of": 9, "most": True, "answer": True}, "asked"),
        ({"missing": 9, "of": 9, "most": True, "yes": True}, ""),
        ({"missing": 9, "of": 9, "named": 0, "most": True, "yes": True}, "RETIRE_ALL"),
    ],
)
def test_nothing_goes_by_mistake(case: dict[str, int | bool], found: str) -> None:
    assert refusal(**case) == found  # type: ignore[arg-type]


def test_whatever_the_file_is_called_its_cameras_go() -> None:
    assert camera_retire.reason(Path("/x/九月 2026.csv")) == "not in 九月 2026.csv"
    assert camera_retire.reason(Path("/x/a\nb\udcff.csv")) == "not in a?b?.csv"
