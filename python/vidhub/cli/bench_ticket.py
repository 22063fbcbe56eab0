"""`vidhub bench-ticket`: one ticket for many connections, for load programs; only with VIDHUB_BENCH=1."""

from __future__ import annotations

import typer

from vidhub.cli import local
from vidhub.cli.report import settings


def add_to(app: typer.Typer) -> None:
    app.command("bench-ticket", hidden=True)(bench_ticket)


def bench_ticket(
    context: typer.Context,
    camera: str = typer.Argument(help="Its id."),
    viewers: int = typer.Option(..., min=1, help="Connections per protocol that it is good for."),
) -> None:
    """Give a ticket to a load program, on record as `system`. The hub must run with VIDHUB_BENCH=1."""
    answer = local.call(settings(context), "bench_ticket", {"camera_id": camera, "viewers": viewers})
    settings(context).answer(answer, answer["ticket"])
