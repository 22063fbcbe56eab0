"""`vidhub doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

from typing import Any

import typer

from vidhub.cli.report import settings


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    context: typer.Context,
    hub: str = typer.Option("", help="Examine the link with this hub alone: id or name."),
    camera: str = typer.Option("", metavar="ID", help="Examine this camera alone, hop by hop up to its picture."),
) -> None:
    """Examine the hub, running or not: disk, keys, store, clock, ports, certificates, addresses, links; or one camera.

    Exit code 1 when a check fails.
    """
    # The whole hub takes a second to import: only for commands that want it.
    import vidhub.app

    chosen = settings(context)
    answer = vidhub.app.examine(chosen.load(), hub=hub, camera_id=camera)
    checks = answer["checks"]
    failed = sum(not check["ok"] for check in checks)
    lines = [_line(check) for check in checks]
    lines.append(f"{len(checks)} checks, {failed} failed" if checks else "nothing to examine")
    chosen.answer(answer, "\n".join(lines))
    if failed:
        raise typer.Exit(1)


def _line(check: dict[str, Any]) -> str:
    mark, reason = ("✓", "") if check["ok"] else ("✗", f"{check['reason']}: ")
    remedy = f"\n  → {check['remedy']}" if check["remedy"] else ""
    return f"{mark} {check['name']}: {reason}{check['message']}{remedy}"
