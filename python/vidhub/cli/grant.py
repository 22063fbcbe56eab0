"""`vidhub grant`: who may do what with which cameras, for which purposes, until when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from vidhub.cli import local
from vidhub.cli.report import settings
from vidhub.cli.words import words

app = typer.Typer(help="Grants.", no_args_is_help=True)


_DAYS = ("", "mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _stretch(hours: dict[str, Any]) -> str:
    minutes = (hours.get("startMinute", 0), hours.get("endMinute", 0))
    clock = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in minutes)
    return f"{','.join(_DAYS[day] for day in hours['days'])} {clock}"


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
    hours: list[str] = typer.Option(
        [], help="Weekly hours by the hub's clock, as in 'mon-fri 08:00-18:00'; may be repeated; always when not given."
    ),
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
            "camera_ids": words("camera", camera),
            "unit_ids": words("unit", unit),
            "region_prefixes": words("region", region),
            "industries": words("industry", industry),
            "actions": words("action", action),
            "purposes": words("purpose", purpose),
            "weekly_hours": hours,
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
    department: str = typer.Option("", help="Only this department's."),
    camera: str = typer.Option("", help="Only those that cover this camera."),
    include_ended: bool = typer.Option(False, "--include-ended", help="Also those that are over or revoked."),
) -> None:
    """List grants."""
    wanted = {"username": user, "department": department, "camera_id": camera, "include_ended": include_ended}
    answer = local.call(settings(context), "grant_list", wanted)
    settings(context).table(
        answer,
        ["id", "to", "actions", "purposes", "hours", "until", "revoked"],
        (
            [
                grant["id"],
                grant.get("username") or grant.get("department"),
                ", ".join(word.removeprefix("ACTION_").lower() for word in grant.get("actions", [])),
                ", ".join(grant.get("purposes", [])),
                "; ".join(_stretch(one) for one in grant.get("weeklyHours", [])),
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


@app.command("explain")
def explain(
    context: typer.Context,
    user: str = typer.Argument(..., help="Name of the person."),
    camera: str = typer.Argument(..., help="Camera id."),
    action: str = typer.Argument(..., help="list, view_live or snapshot."),
    purpose: str = typer.Option("", help="patrol, incident, …; not needed for list."),
) -> None:
    """Say why a person may or may not do something with a camera, now."""
    asked = {"username": user, "camera_id": camera, "action": action, "purpose": purpose}
    answer = local.call(settings(context), "grant_explain", asked)
    settings(context).answer(answer, "\n".join(_told(answer)))


def _told(answer: dict[str, Any]) -> Iterator[str]:
    yield "allowed" if answer["allowed"] else f"refused, {answer['reason']}: {answer['message']}"
    for step in answer["steps"]:
        passed = step.get("passed", False)
        reason = "" if passed else f"{step['reason']}: "
        name = step["check"].removeprefix("EXPLAIN_CHECK_").lower()
        yield f"  {'✓' if passed else '✗'} {name}: {reason}{step['message']}"
    for one in answer.get("grants", []):
        yield f"  {'✓' if one.get('applies') else '✗'} grant {one['grant']['id']}"
        for miss in one.get("misses", []):
            yield f"      {miss['reason']}: {miss['message']}"
    if answer.get("grantsLeftOff"):
        yield f"  and {answer['grantsLeftOff']} more grants"
