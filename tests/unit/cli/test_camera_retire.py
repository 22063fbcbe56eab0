"""What `--retire-missing` asks for before a camera goes."""

from __future__ import annotations

import pytest

from vidhub.cli import camera_retire
from vidhub.errors import FailedPrecondition


def refusal(missing: int, of: int, *, rejected: int = 0, yes: bool = False, answer: bool | None = None) -> str:
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return bool(answer)

    try:
        camera_retire.check(
            ["x"] * missing, of=of, rejected=rejected, yes=yes, confirm=None if answer is None else confirm
        )
    except FailedPrecondition as error:
        return error.reason
    return "asked" if asked else ""


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ({"missing": 0, "of": 9}, ""),
        ({"missing": 0, "of": 9, "rejected": 1}, ""),
        ({"missing": 1, "of": 9}, "RETIRE_NOT_CONFIRMED"),
        ({"missing": 1, "of": 9, "yes": True}, ""),
        ({"missing": 1, "of": 9, "answer": True}, "asked"),
        ({"missing": 1, "of": 9, "answer": False}, "RETIRE_NOT_CONFIRMED"),
        ({"missing": 1, "of": 9, "rejected": 1, "yes": True}, "RETIRE_AFTER_REJECTED"),
        ({"missing": 4, "of": 8, "answer": True}, "asked"),
        ({"missing": 5, "of": 9, "answer": True}, "RETIRE_TOO_MANY"),
        ({"missing": 9, "of": 9, "yes": True}, ""),
    ],
)
def test_nothing_goes_by_mistake(case: dict[str, int | bool], found: str) -> None:
    assert refusal(**case) == found  # type: ignore[arg-type]
