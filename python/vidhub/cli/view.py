"""`vidhub view`: watches a camera as an operator, and says what came."""

from __future__ import annotations

import asyncio
from pathlib import Path

import typer

from vidhub.cli.report import read_password, settings


def add_to(app: typer.Typer) -> None:
    app.command("view")(view)


def view(
    context: typer.Context,
    camera: str,
    hub: str = typer.Option(..., help="The hub's URL, as in http://127.0.0.1:8080."),
    user: str = typer.Option(..., help="Name of the operator."),
    password_stdin: bool = typer.Option(False, "--password-stdin", help="Read the password from standard input."),
    purpose: str = typer.Option(..., help="KIND[:REFERENCE], as in investigation:A2030-17."),
    seconds: float = typer.Option(10.0, min=0.1, max=86_400, help="How long to watch."),
    save: Path | None = typer.Option(None, help="Write the video to this file (.mp4, .mkv)."),
    snapshot: Path | None = typer.Option(None, help="Write the first picture to this file (.jpg, .png)."),
) -> None:
    """Watch a camera; print what was received."""
    if not password_stdin:
        raise typer.BadParameter("give the password on standard input with --password-stdin")
    # aiortc takes a second to import: only for this command.
    from vidhub.cli import viewer

    result = asyncio.run(
        viewer.watch(hub, user, read_password(), camera, purpose, seconds=seconds, save=save, snapshot=snapshot)
    )
    settings(context).answer(
        result,
        f"{result['frames']} pictures of {result['width']}x{result['height']},"
        f" the first after {result['first_frame_s']:.2f} s, {result['lost_packets']} packets lost",
    )
