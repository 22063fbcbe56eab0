"""`vidhub doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import typer

from vidhub.cli import local
from vidhub.cli.report import settings


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    context: typer.Context,
    hub: str = typer.Option("", help="Examine the link with this hub alone: id or name."),
) -> None:
    """Examine the links to other hubs hop by hop and name the hop that fails. Exit code 1 when one does."""
    answer = local.call(settings(context), "hub_probe", {"hub": hub})
    lines = [_line(check) for check in answer["checks"]] or ["no other hub is linked"]
    settings(context).answer(answer, "\n".join(lines))
    if not all(check["ok"] for check in answer["checks"]):
        raise typer.Exit(1)


def _line(check: dict[str, str]) -> str:
    if check["ok"]:
        return f"ok    {check['name']}: {check['message']}"
    remedy = f"\n      {check['remedy']}" if check["remedy"] else ""
    return f"FAIL  {check['name']}: {check['reason']}: {check['message']}{remedy}"
