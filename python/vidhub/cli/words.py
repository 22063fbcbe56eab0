"""Options that take several words: each may be repeated, and holds words separated by commas."""

from __future__ import annotations

from collections.abc import Sequence

import typer


def words(option: str, values: Sequence[str]) -> list[str]:
    """The words of all values of an option; none when it was not given.

    Raises typer.BadParameter for one that was given and says nothing, as an unset variable of a script does: left out
    it would widen what is shared or granted.
    """
    found: list[str] = []
    for value in values:
        given = [word for part in value.split(",") if (word := part.strip())]
        if not given:
            raise typer.BadParameter(f"--{option} says nothing: give it a value, or leave it out")
        found += given
    return found
