"""`vidhub report`: what the supervisor's department asks for."""

from __future__ import annotations

from typing import Any

import typer

from vidhub.cli import local
from vidhub.cli.report import settings

app = typer.Typer(help="Reports.", no_args_is_help=True)

# Option -> where the rows are, and what stands before the figures beside the key.
_TABLES = {
    "region": ("regions", ["name"]),
    "industry": ("industries", ["name"]),
    "unit": ("units", ["name", "region", "state"]),
}
_COLUMNS = ["connected", "online", "complete", "overdue", "days"]


@app.callback()
def group() -> None:
    """A group, though it has one command yet."""


@app.command("compliance")
def compliance(
    context: typer.Context,
    by: str = typer.Option("", help="Only the table by region, industry or unit; --json has all."),
) -> None:
    """What is connected, online, complete and overdue, by region, industry and unit."""
    if by and by not in _TABLES:
        raise typer.BadParameter(f"--by is {', '.join(_TABLES)}")
    chosen = settings(context)
    found = local.call(chosen, "report_compliance", {})
    if chosen.as_json:
        chosen.answer(found, "")
        return
    print(_headline(found))
    for name, (key, named) in _TABLES.items():
        if by in ("", name) and found[key]:
            print()
            chosen.table(found, [name, *named, *_COLUMNS], ([*_words(row), *_cells(row)] for row in found[key]))
    if found["units_left_out"] and by in ("", "unit"):
        print(f"… and {found['units_left_out']} more units of other hubs")


def _headline(found: dict[str, Any]) -> str:
    total, units = found["total"], found["total"]["units"]
    online = f"{total['online']} online{_share(total['online'], total['connected'])}"
    lines = [
        f"as of {found['time']}",
        f"cameras: {total['connected']} connected, {online}"
        + (f"; {total['stale']} are as they were last known: a link is down" if total["stale"] else ""),
        f"records: {total['complete']} of {total['records']} complete{_share(total['complete'], total['records'])}, "
        f"{total['overdue']} incomplete for more than {found['term_days']} days",
        f"units: {units['connected']} connected, {units['waiting'] + units['overdue']} without cameras, "
        f"{units['overdue']} of these for more than {found['term_days']} days",
    ]
    if not found["serving"]:
        lines.append("the hub does not run, so nobody knows which cameras are online")
    return "\n".join(lines)


def _words(row: dict[str, Any]) -> list[object]:
    """What a row is of."""
    if "code" in row:
        return [row["code"], row["name"]]
    return [row["id"], row["name"], row["region_code"], row["state"] if row["own"] else "another hub's"]


def _cells(row: dict[str, Any]) -> list[object]:
    """The records of other hubs' cameras are judged there: nothing is said of them here."""
    is_judged = row["records"] > 0
    return [
        row["connected"],
        f"{row['online']}{_share(row['online'], row['connected'])}",
        f"{row['complete']}{_share(row['complete'], row['records'])}" if is_judged else "",
        row["overdue"] if is_judged else "",
        row["overdue_days"] or "",
    ]


def _share(part: int, whole: int) -> str:
    """Rounded down: 100 % is all of them."""
    return f" ({part * 1000 // whole / 10} %)" if whole else ""
