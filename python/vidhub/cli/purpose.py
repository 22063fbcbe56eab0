"""`vidhub purpose`: the register of purposes."""

from __future__ import annotations

import typer

from vidhub.cli import local
from vidhub.cli.report import settings

app = typer.Typer(help="What a view may be for.", no_args_is_help=True)


@app.command("list")
def list_purposes(
    context: typer.Context,
    include_retired: bool = typer.Option(False, "--include-retired", help="Also those that are out of force."),
) -> None:
    """List the purposes."""
    answer = local.call(settings(context), "purpose_list", {"include_retired": include_retired})
    settings(context).table(
        answer,
        ["kind", "name", "in English", "reference", "retired"],
        (
            [
                one["kind"],
                one["name"],
                one["nameEn"],
                "needed" if one["referenceRequired"] else "",
                one.get("retireTime", ""),
            ]
            for one in answer["purposes"]
        ),
    )


@app.command("add")
def add(
    context: typer.Context,
    kind: str,
    name: str = typer.Option(..., help="Name in Chinese."),
    name_en: str = typer.Option(..., help="Name in English."),
    reference: bool = typer.Option(False, "--reference", help="A case or document number must be given."),
) -> None:
    """Add a purpose, or bring a retired one back."""
    wanted = {"kind": kind, "name": name, "name_en": name_en, "reference_required": reference}
    answer = local.call(settings(context), "purpose_add", wanted)
    settings(context).answer(answer, f"{kind} is in force")


@app.command("retire")
def retire(context: typer.Context, kind: str, reason: str = typer.Option(..., help="Why; it goes on record.")) -> None:
    """Take a purpose out of force: nothing is opened for it any more; grants and records keep it."""
    answer = local.call(settings(context), "purpose_retire", {"kind": kind, "reason": reason})
    settings(context).answer(answer, f"{kind} is out of force")
