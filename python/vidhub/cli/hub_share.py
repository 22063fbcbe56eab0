"""`vidhub hub share` and what belongs to it: what linked hubs may know of, and why they do or don't."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer

from vidhub.cli import local
from vidhub.cli.report import settings
from vidhub.cli.words import words
from vidhub.errors import InvalidArgument

_PEER = typer.Argument(..., metavar="PEER", help="Id or name.")
_REGION = typer.Option([], "--region", metavar="P", help="Cameras whose region code begins so; may be repeated.")
_UNIT = typer.Option([], "--unit", metavar="ID", help="Cameras of this unit; may be repeated.")
_CAMERA = typer.Option([], "--camera", metavar="ID", help="This camera; may be repeated.")
_INDUSTRY = typer.Option([], "--industry", metavar="C", help="Cameras of this industry; may be repeated.")
_ALL = typer.Option(False, "--all", help="All cameras, those to come as well.")
_FIELDS = typer.Option([], "--fields", help="What goes along beside the list: legal,device,location.address.")


def share(
    context: typer.Context,
    peer: str = _PEER,
    region: list[str] = _REGION,
    unit: list[str] = _UNIT,
    camera: list[str] = _CAMERA,
    industry: list[str] = _INDUSTRY,
    everything: bool = _ALL,
    action: list[str] = typer.Option([], help="What may be done, separated by commas; without: list,view_live."),
    purpose: list[str] = typer.Option([], help="For which purposes; without: all of the register."),
    fields: list[str] = _FIELDS,
) -> None:
    """Let a linked hub know of cameras, until the rule is taken back. A rule of the same scope is changed to what is
    given now: without --action it permits live view, without --purpose every purpose, without --fields no more than the
    list, whatever it said before (`hub shares` tells)."""
    scope = _scope(region, unit, camera, industry, everything)
    given = {
        "actions": words("action", action),
        "purposes": words("purpose", purpose),
        "fields": words("fields", fields),
    }
    rule = local.call(settings(context), "hub_share", {"hub": peer, **scope, **given})
    settings(context).answer(rule, f"{_told(rule)} is shared with {rule['hub']}, until it is unshared ({rule['id']})")


def unshare(
    context: typer.Context,
    peer: str = _PEER,
    region: list[str] = _REGION,
    unit: list[str] = _UNIT,
    camera: list[str] = _CAMERA,
    industry: list[str] = _INDUSTRY,
    everything: bool = _ALL,
) -> None:
    """Take the sharing rule of this very scope back; pictures by it end at once."""
    rule = local.call(
        settings(context), "hub_unshare", {"hub": peer, **_scope(region, unit, camera, industry, everything)}
    )
    settings(context).answer(rule, f"{_told(rule)} is no longer shared with {rule['hub']}")


def shares(context: typer.Context, peer: str = typer.Argument("", metavar="[PEER]", help="Id or name.")) -> None:
    """List the sharing rules."""
    answer = local.call(settings(context), "hub_shares", {"hub": peer})
    settings(context).table(
        answer,
        ["", "id", "hub", "scope", "actions", "purposes", "fields"],
        (
            [side, rule["id"], rule["hub"], _told(rule)]
            + [", ".join(rule[key]) for key in ("actions", "purposes", "fields")]
            for side, rules in (("to", answer["shares"]), ("from", answer["received"]))
            for rule in rules
        ),
    )


def preview(
    context: typer.Context,
    peer: str = _PEER,
    region: list[str] = _REGION,
    unit: list[str] = _UNIT,
    camera: list[str] = _CAMERA,
    industry: list[str] = _INDUSTRY,
    everything: bool = _ALL,
    fields: list[str] = _FIELDS,
) -> None:
    """What the other hub would see by such a rule, before it is given."""
    scope = _scope(region, unit, camera, industry, everything)
    answer = local.call(settings(context), "hub_preview", {"hub": peer, **scope, "fields": words("fields", fields)})
    settings(context).table(
        answer,
        [f"{answer['cameras']} cameras, {answer['added']} new", "name", "region"],
        ([one["id"], one.get("name", ""), one.get("regionCode", "")] for one in answer["sample"]),
    )


def explain(
    context: typer.Context,
    camera: str = typer.Argument(..., metavar="CAMERA"),
    hub: str = typer.Option("", help="Seen from this hub alone; id or name."),
) -> None:
    """Why a camera can or can't be seen from the linked hubs."""
    answer = local.call(settings(context), "hub_explain", {"camera_id": camera, "hub": hub})
    settings(context).table(
        answer,
        ["hub", "visible", "reason", "message"],
        ([one["hub"], "yes" if one["visible"] else "no", one["reason"], one["message"]] for one in answer["reasons"]),
    )


def digest(context: typer.Context, peer: str = _PEER) -> None:
    """Count and SHA-256 of what is shared between the two: equal on both sides when they are in step."""
    answer = local.call(settings(context), "hub_digest", {"hub": peer})
    down = answer["down"]
    settings(context).answer(
        answer,
        f"up    {answer['cameras']} cameras  {answer['sha256']}\ndown  {down['cameras']} cameras  {down['sha256']}",
    )


def assign(
    context: typer.Context,
    camera: str = typer.Argument(..., metavar="CAMERA", help="An id that two hubs claim, see `hub explain`."),
    peer: str = typer.Argument(..., metavar="PEER", help="Whose it is: a hub that claims it, or this one."),
    reason: str = typer.Option(..., help="Why; it goes on record."),
) -> None:
    """Say whose an id is: that hub's camera takes the place of the other's as soon as it comes."""
    answer = local.call(settings(context), "hub_assign", {"camera_id": camera, "hub": peer, "reason": reason})
    settings(context).answer(answer, f"{answer['camera']} is {answer['hub']}'s from now on")


def add_to(app: typer.Typer) -> None:
    """The commands under `vidhub hub`."""
    for command in (share, unshare, shares, preview, explain, digest, assign):
        app.command(command.__name__)(command)


def _scope(
    region: Sequence[str], unit: Sequence[str], camera: Sequence[str], industry: Sequence[str], everything: bool
) -> dict[str, Any]:
    if not everything and not (region or unit or camera or industry):
        raise InvalidArgument("SCOPE_EMPTY", "say what: --region P, --unit ID, --camera ID, --industry C, or --all")
    return {
        "everything": everything,
        "camera_ids": words("camera", camera),
        "unit_ids": words("unit", unit),
        "region_prefixes": words("region", region),
        "industries": words("industry", industry),
    }


def _told(rule: dict[str, Any]) -> str:
    if rule["all"]:
        return "everything"
    return "; ".join(f"{name.replace('_', ' ')} {', '.join(entries)}" for name, entries in rule["scope"].items())
