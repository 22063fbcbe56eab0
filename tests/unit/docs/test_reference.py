"""The documents say what is so: what is made of the sources is up to date, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from tools import reference_api, reference_config, reference_errors

ROOT = Path(__file__).parents[3]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.mark.parametrize("tool", [reference_api, reference_config], ids=lambda tool: tool.__name__)
def test_what_is_made_of_the_sources_is_up_to_date(tool: ModuleType) -> None:
    assert tool.TARGET.read_text(encoding="utf-8") == tool.made(), "run make reference"


def test_every_reason_has_a_row() -> None:
    known = reference_errors.reasons()
    assert len(known) > 400
    assert reference_errors.untold() == [], f"tell in {reference_errors.WORDS.name} what these mean"
    page = reference_errors.TARGET.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (?=\S)", page, re.MULTILINE)
    assert sorted(set(known) ^ set(rows)) == [], "run make reference"
    assert sorted(set(reference_errors.told()) - set(known)) == [], "nobody says these any more"


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_picture_is_shown() -> None:
    shown = {Path(target).name for page in PAGES for target in _LINK.findall(page.read_text(encoding="utf-8"))}
    assert sorted(path.name for path in (ROOT / "docs" / "images").iterdir() if path.name not in shown) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} is not there"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{target} has no such heading"
