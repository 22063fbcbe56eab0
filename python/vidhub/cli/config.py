"""`vidhub config`: what is in force, and what is wrong with it."""

from __future__ import annotations

import os

import typer

from vidhub.cli.report import settings
from vidhub.config import explain

app = typer.Typer(help="Options.", no_args_is_help=True)


@app.callback()
def options() -> None:
    """Options."""


@app.command("check")
def check(context: typer.Context) -> None:
    """Show every option with its value and where it came from; a mistake is explained by its key."""
    chosen = settings(context)
    found = explain(file=chosen.file, environment=os.environ, flags={"data_dir": chosen.data_dir})
    document = {
        "settings": [{"key": setting.key, "value": setting.value, "source": setting.source} for setting in found]
    }
    chosen.table(
        document, ["option", "value", "from"], ([setting.key, setting.value, setting.source] for setting in found)
    )
