"""Every `vidhub` command that a document shows exists, with the options that it is shown with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from vidhub.cli import app, hoist

ROOT = Path(__file__).parents[3]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[list[str]]:
    """Words after `vidhub` of each command in the page's blocks."""
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in re.sub(r"\\\n\s*", " ", re.sub(r"\$\(date [^)]*\)", "DATE", block)).splitlines():
            for part in re.split(r"[|;]|\$\(|&&", line):
                command = re.match(r"\s*(?:\$ )?(?:sudo -u vidhub )?(?:\S*/)?vidhub ((?!Console).*)", part)
                if command and not command[1].startswith(("#", ":")):
                    yield shlex.split(command[1].partition(" #")[0].replace("…", "x").rstrip("`"))


def complaint(words: list[str]) -> str:
    """Empty for a command that is."""
    here: Any = typer.main.get_command(app)
    known = {option for parameter in here.params for option in parameter.opts}
    rest = hoist(words)
    while hasattr(here, "commands"):
        word = next((one for one in rest if one in here.commands), None)
        if word is None:
            return "no such command"
        rest = rest[rest.index(word) + 1 :]
        here = here.commands[word]
        known |= {option for parameter in here.params for option in parameter.opts}
    unknown = [one for one in rest if one.startswith("--") and one.partition("=")[0] not in known]
    return f"no option {', '.join(unknown)}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_shows_exists(page: Path) -> None:
    wrong = {" ".join(words): why for words in commands(page) if words and (why := complaint(words))}
    assert wrong == {}


def test_commands_are_found_and_judged() -> None:
    found = list(commands(ROOT / "docs" / "guide" / "unit.md"))
    assert len(found) >= 9
    assert complaint(["unit", "nonsense"]) == "no such command"
    assert complaint(["--data-dir", "x", "unit", "list", "--nonsense"]) == "no option --nonsense"
