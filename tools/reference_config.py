"""Makes docs/reference/configuration.md of config.py (keys, defaults, bounds) and vidhub.example.toml (what for)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from vidhub import config

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "reference" / "configuration.md"
EXAMPLE = ROOT / "vidhub.example.toml"
HEAD = """\
<!-- Made by tools/reference_config.py of python/vidhub/config.py and vidhub.example.toml: change those. -->
# Configuration

`vidhub.toml` in the working directory (or `--config FILE`), then the environment, then flags of `vidhub serve`: the
later one wins. In the environment a key is in capitals with `VIDHUB_` in front and two underscores for the dot:
`stream.linger_s` is `VIDHUB_STREAM__LINGER_S`; a list is separated by commas. An unknown key is an error that names it
and the nearest one.

`vidhub config check` says what is in force, where each value came from, and what is wrong.
[vidhub.example.toml](../../vidhub.example.toml) holds every option with its default. Seconds end in `_s`, octets in
`_bytes`.

| key | default | bounds | what |
| --- | --- | --- | --- |
"""
FOOT = """
`hub` is settled at the first start and then kept in the store. The data directory is chosen by `--data-dir` of every
command.
"""


def made() -> str:
    """The whole text of `TARGET`. Raises KeyError for an option that the example does not explain."""
    told, defaults = _told(), {one.key: one.value for one in config.explain(environment={})}
    bounds = {key: f"{lowest:,g} to {highest:,.0f}" for key, lowest, highest in config.RANGES}
    bounds["hub.level"] = ", ".join(config.LEVELS)
    rows = [
        f"| `{key}` | {f'`{value}`' if value else ''} | {bounds.get(key, '')} | {told[key]} |\n"
        for key, value in defaults.items()
    ]
    return HEAD + "".join(rows) + FOOT


def _told() -> dict[str, str]:
    """The comment in front of each option, or of its section where it has none."""
    found: dict[str, str] = {}
    section, of_section = "", ""
    comment: list[str] = []
    is_fresh = True
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            comment = [] if not is_fresh else comment
            is_fresh = True
            comment.append(line.removeprefix("#").strip())
        elif line.startswith("["):
            section, of_section, comment = line.strip("[] ") + ".", " ".join(comment), []
        elif name := re.match(r"(\w+) = ", line):
            behind = line.partition(" # ")[2]
            # A comment also stands for the options right under the first.
            found[section + name[1]] = behind or " ".join(comment) or of_section
            is_fresh = False
        else:
            comment, is_fresh = [], True
    assert _keys(tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))) == set(found)
    return found


def _keys(tree: dict[str, object], prefix: str = "") -> set[str]:
    return {
        key
        for name, value in tree.items()
        for key in (_keys(value, f"{name}.") if isinstance(value, dict) else {prefix + name})
    }


if __name__ == "__main__":
    TARGET.write_text(made(), encoding="utf-8")
