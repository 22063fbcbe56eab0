"""`vidhub audit`: the register of use, and the proof that nobody altered it."""

from __future__ import annotations

import json

import typer

from vidhub.cli import local
from vidhub.cli.report import settings

app = typer.Typer(help="The register of use.", no_args_is_help=True)


@app.command("list")
def list_entries(
    context: typer.Context,
    camera: str = typer.Option("", help="Only about this camera."),
    principal: str = typer.Option("", help='Only by this principal, as in "user/zhang".'),
    action: str = typer.Option("", help='Only this action, as in "session.open".'),
    limit: int = typer.Option(100, min=1, max=1000, help="At most so many, newest first."),
) -> None:
    """List entries, newest first."""
    answer = local.call(
        settings(context),
        "audit_list",
        {"camera_id": camera, "principal": principal, "action": action, "limit": limit},
    )
    settings(context).table(
        answer,
        ["time", "who", "what", "about", "purpose", "result"],
        (
            [
                entry.get("time"),
                entry.get("principal"),
                entry.get("action"),
                entry.get("resource", ""),
                entry.get("purposeKind", ""),
                entry.get("result"),
            ]
            for entry in answer["entries"]
        ),
    )


@app.command("verify")
def verify(context: typer.Context) -> None:
    """Prove every chain; exit code 1 when one is broken."""
    verdict = local.call(settings(context), "audit_verify", {})
    if verdict["intact"]:
        text = f"intact: {verdict['entries']} entries in {verdict['chains']} chains"
    else:
        bad = verdict["first_bad"]
        text = f"BROKEN at chain {bad['chain_id']}, entry {bad['seq']}: {verdict['reason']}"
    for entry in verdict["restores"]:
        since = json.loads(entry["detailJson"])["backup_time"]
        text += f"\nrestored at {entry['time']} from a backup of {since}"
    settings(context).answer(verdict, text)
    if not verdict["intact"]:
        raise typer.Exit(1)
