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
_ACTIONS = typer.Option([], "--action", help="What may be done, separated by commas; without: list,view_live.")
_PURPOSES = typer.Option([], "--purpose", help="For which purposes; without: all of the register.")
_FIELDS = typer.Option([], "--fields", help="What goes along beside the list: legal,device,location.address.")


def share(
    context: typer.Context,
    peer: str = _PEER,
    region: list[str] = _REGION,
    unit: list[str] = _UNIT,
    camera: list[str] = _CAMERA,
    industry: list[str] = _INDUSTRY,
    everything: bool = _ALL,
    action: list[str] = _ACTIONS,
    purpose: list[str] = _PURPOSES,
    fields: list[str] = _FIELDS,
) -> None:
    """Let a linked hub know of cameras, until the rule is taken back. A rule of the same scope is changed to what is
    given now: without --action it permits live view, without --purpose every purpose, without --fields no more than the
    list, whatever it said before (`hub shares` tells)."""
    scope = _scope(region, unit, camera, industry, everything)
    given = _given(action, purpose, fields)
    rule = local.call(settings(context), "hub_share", {"hub": peer, **scope, **given})
    settings(context).answer(
        rule, f"{_told(rule)} is shared with {rule['hub']}, until it is unshared ({rule['id']})\n{_terms(rule)}"
    )


def unshare(
    context: typer.Context,
    peer: str = _PEER,
    region: list[str] = _REGION,
    unit: list[str] = _UNIT,
    camera: list[str] = _CAMERA,
    industry: list[str] = _INDUSTRY,
    everything: bool = _ALL,
) -> None:
    """Take the sharing rule of this very scope back; pictures by it end at once. What other rules share stays."""
    rule = local.call(
        settings(context), "hub_unshare", {"hub": peer, **_scope(region, unit, camera, industry, everything)}
    )
    told = f"{_told(rule)} is no longer shared with {rule['hub']} by this rule"
    if left := rule["still_shared"]:
        told += f"; {left} of its cameras still are by other rules: see `vidhub hub shares {rule['hub']}`"
    settings(context).answer(rule, told)


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
    action: list[str] = _ACTIONS,
    purpose: list[str] = _PURPOSES,
    fields: list[str] = _FIELDS,
) -> None:
    """What the other hub would see by such a rule, and might do, before it is given."""
    scope = _scope(region, unit, camera, industry, everything)
    given = _given(action, purpose, fields)
    answer = local.call(settings(context), "hub_preview", {"hub": peer, **scope, **given})
    settings(context).table(
        answer,
        [f"{answer['cameras']} cameras, {answer['added']} new", "name", "region"],
        ([one["id"], one.get("name", ""), one.get("regionCode", "")] for one in answer["sample"]),
    )
    if not settings(context).as_json:
        typer.echo(_terms(answer))


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
        ([one["hub"], _seen(one), one["reason"], one["message"]] for one in answer["reasons"]),
    )


def _seen(reason: dict[str, Any]) -> str:
    seen = "yes" if reason["visible"] else "no"
    return f"{seen}, stale" if reason["visible"] and reason["stale"] else seen


def conflicts(context: typer.Context, peer: str = typer.Argument("", metavar="[PEER]", help="Id or name.")) -> None:
    """List the cameras that are not taken: theirs here, and this hub's there."""
    answer = local.call(settings(context), "hub_conflicts", {"hub": peer})
    settings(context).table(
        answer,
        ["camera", "offered by", "not taken by", "reason", "whose it is", "given to"],
        (
            [
                one[key]
                for key in (
                    "camera_id",
                    "offering_hub_id",
                    "refusing_hub_id",
                    "reason",
                    "holding_hub_id",
                    "assigned_hub_id",
                )
            ]
            for one in answer["conflicts"]
        ),
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
    for command in (share, unshare, shares, preview, explain, conflicts, digest, assign):
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


def _given(action: Sequence[str], purpose: Sequence[str], fields: Sequence[str]) -> dict[str, Any]:
    return {
        "actions": words("action", action),
        "purposes": words("purpose", purpose),
        "fields": words("fields", fields),
    }


def _terms(rule: dict[str, Any]) -> str:
    """What a rule permits, so that nobody who has left something out is surprised by the widest."""
    lists = {name: ", ".join(rule[name]) for name in ("actions", "purposes", "fields")}
    return f"it may: {lists['actions']}; for: {lists['purposes']}; beside the list: {lists['fields'] or 'nothing'}"


def _told(rule: dict[str, Any]) -> str:
    if rule["all"]:
        return "everything"
    return "; ".join(f"{name.replace('_', ' ')} {', '.join(entries)}" for name, entries in rule["scope"].items())
