"""`vidhub grant`: who may do what with which cameras, for which purposes, until when."""

from __future__ import annotations

import typer

from vidhub.cli import local
from vidhub.cli.report import settings

app = typer.Typer(help="Grants.", no_args_is_help=True)


def _words(values: list[str]) -> list[str]:
    return [word for value in values for word in value.split(",") if word]


@app.command("create")
def create(
    context: typer.Context,
    user: str = typer.Option("", help="Name of the person."),
    department: str = typer.Option("", help="Department, instead of a person."),
    camera: list[str] = typer.Option([], help="Camera id; may be repeated."),
    unit: list[str] = typer.Option([], help="Unit id; may be repeated."),
    region: list[str] = typer.Option([], help="Prefix of the region code; may be repeated."),
    industry: list[str] = typer.Option([], help="Industry code, 2 digits; may be repeated."),
    action: list[str] = typer.Option(..., help="list, view_live, snapshot; separated by commas."),
    purpose: list[str] = typer.Option([], help="patrol, incident, …; separated by commas."),
    until: str = typer.Option(..., help="End of the grant, ISO 8601, as in 2030-01-31T18:00:00+08:00."),
    since: str = typer.Option("", help="Start of the grant; now when not given."),
    reason: str = typer.Option("", help="Why it is given."),
) -> None:
    """Give a grant. Lists given together narrow each other."""
    grant = local.call(
        settings(context),
        "grant_create",
        {
            "username": user,
            "department": department,
            "camera_ids": _words(camera),
            "unit_ids": _words(unit),
            "region_prefixes": _words(region),
            "industries": _words(industry),
            "actions": _words(action),
            "purposes": _words(purpose),
            "not_before": since,
            "not_after": until,
            "reason": reason,
        },
    )
    settings(context).answer(grant, f"grant {grant['id']} given")


@app.command("list")
def list_grants(
    context: typer.Context,
    user: str = typer.Option("", help="Only this person's."),
    camera: str = typer.Option("", help="Only those that cover this camera."),
    include_ended: bool = typer.Option(False, "--include-ended", help="Also those that are over or revoked."),
) -> None:
    """List grants."""
    answer = local.call(
        settings(context), "grant_list", {"username": user, "camera_id": camera, "include_ended": include_ended}
    )
    settings(context).table(
        answer,
        ["id", "to", "actions", "purposes", "until", "revoked"],
        (
            [
                grant["id"],
                grant.get("username") or grant.get("department"),
                ", ".join(word.removeprefix("ACTION_").lower() for word in grant.get("actions", [])),
                ", ".join(grant.get("purposes", [])),
                grant.get("notAfter"),
                grant.get("revokeReason", ""),
            ]
            for grant in answer["grants"]
        ),
    )


@app.command("revoke")
def revoke(
    context: typer.Context, grant_id: str = typer.Argument(..., metavar="ID"), reason: str = typer.Option(...)
) -> None:
    """Take a grant back; every view it carried ends within a second."""
    answer = local.call(settings(context), "grant_revoke", {"id": grant_id, "reason": reason})
    settings(context).answer(answer, f"grant {grant_id} revoked")
