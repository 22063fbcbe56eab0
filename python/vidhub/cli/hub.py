"""`vidhub hub`: the hubs linked to this one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from vidhub.cli import local
from vidhub.cli.identity_files import read_json
from vidhub.cli.report import private_file, settings

app = typer.Typer(help="Links to other hubs.", no_args_is_help=True)


@app.command("invite")
def invite(
    context: typer.Context,
    name: str,
    level: str = typer.Option(..., help="What the other hub is: province, city, district or zone; below this one."),
    region: str = typer.Option(..., help="Its region code, 6 digits (GB/T 2260), within this hub's."),
    out: Path = typer.Option(..., help="Where to write the invitation file (0600)."),
) -> None:
    """Invite a hub to stand below this one: valid 24 hours, for one hub."""
    answer = local.call(settings(context), "hub_invite", {"name": name, "level": level, "region_code": region})
    private_file(out, json.dumps(answer["invitation"], indent=1, ensure_ascii=False) + "\n")
    document = {"id": answer["id"], "name": answer["name"], "file": str(out), "expire_time": answer["expire_time"]}
    settings(context).answer(document, f"{out}: for {name}, good until {answer['expire_time']}")


@app.command("join")
def join(context: typer.Context, file: Path) -> None:
    """Use an invitation: this hub stands below the one that wrote it. Its key never leaves this machine."""
    invitation = read_json(file, ("hub", "ca_pem", "claim_certificate_pem", "claim_key_pem"), "an invitation file")
    hub = local.call(settings(context), "hub_join", {"invitation": invitation})
    settings(context).answer(
        hub,
        f"joined {hub['name']} ({hub['id']}, {hub['level']} of {hub['region_code']}): "
        f"`vidhub hub accept {hub['id']}` on both sides",
    )


@app.command("accept")
def accept(context: typer.Context, peer: str = typer.Argument(..., metavar="PEER", help="Id or name.")) -> None:
    """Confirm name, level and region of a hub that has joined; each side once."""
    hub = local.call(settings(context), "hub_accept", {"hub": peer})
    waits = "" if hub["accepted_there"] else "; the other side has yet to accept"
    settings(context).answer(
        hub, f"{hub['name']} ({hub['id']}), {hub['level']} of {hub['region_code']}, is accepted{waits}"
    )


@app.command("list")
def list_hubs(context: typer.Context) -> None:
    """List the linked hubs."""
    answer = local.call(settings(context), "hub_list", {})
    settings(context).table(
        answer,
        ["id", "name", "level", "region", "side", "state", "lag", "trouble"],
        (
            [*(hub[key] for key in ("id", "name", "level", "region_code", "side", "state", "lag")), _trouble(hub)]
            for hub in answer["hubs"]
        ),
    )


@app.command("end")
def end(
    context: typer.Context,
    peer: str = typer.Argument(..., metavar="PEER", help="Id or name."),
    reason: str = typer.Option(..., help="Why; it goes on record."),
) -> None:
    """End a link for good, with its certificate, catalogue and views."""
    hub = local.call(settings(context), "hub_end", {"hub": peer, "reason": reason})
    settings(context).answer(hub, f"the link with {hub['name']} has ended")


def _trouble(hub: dict[str, Any]) -> str:
    reason = hub["trouble_reason"]
    return f"{reason}: {hub['trouble_message']}" if reason else ""
