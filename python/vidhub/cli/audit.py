"""`vidhub audit`: the register of use, and the proof that nobody altered it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from vidhub.cli import audit_export, local
from vidhub.cli.report import settings

app = typer.Typer(help="The register of use.", no_args_is_help=True)

_CAMERA = typer.Option("", help="Only about this camera.")
_PRINCIPAL = typer.Option("", help='Only by this principal, as in "user/zhang".')
_ACTION = typer.Option("", help='Only this action, as in "session.open".')
_PURPOSE = typer.Option("", help='Only for this purpose, as in "patrol".')
_RESULT = typer.Option("", help='Only with this result: "ok", a reason, or "refused" for all but "ok".')
_UNIT = typer.Option("", help="Only what this unit did, or was done with its cameras.")
_SESSION = typer.Option("", help="Only of this session.")
_TRACE = typer.Option("", help="Only of this request, as every hub that it passed has it.")
_FROM = typer.Option("", "--from", metavar="TIME", help="Not before, as in 2026-03-01 or 2026-03-01T08:00:00+08:00.")
_TO = typer.Option("", "--to", metavar="TIME", help="Before this time.")


def _filters(
    camera: str,
    principal: str,
    action: str,
    purpose: str,
    result: str,
    unit: str,
    session: str,
    trace: str,
    start: str,
    end: str,
) -> dict[str, str]:
    return {
        "camera_id": camera,
        "principal": principal,
        "action": action,
        "purpose_kind": purpose,
        "result": result,
        "unit_id": unit,
        "session_id": session,
        "trace_id": trace,
        "start": start,
        "end": end,
    }


@app.command("list")
def list_entries(
    context: typer.Context,
    camera: str = _CAMERA,
    principal: str = _PRINCIPAL,
    action: str = _ACTION,
    purpose: str = _PURPOSE,
    result: str = _RESULT,
    unit: str = _UNIT,
    session: str = _SESSION,
    trace: str = _TRACE,
    start: str = _FROM,
    end: str = _TO,
    limit: int = typer.Option(100, min=1, max=1000, help="At most so many, newest first."),
) -> None:
    """List entries, newest first."""
    filters = _filters(camera, principal, action, purpose, result, unit, session, trace, start, end)
    answer = local.call(settings(context), "audit_list", {**filters, "limit": limit})
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


@app.command("export")
def export(
    context: typer.Context,
    file: Path = typer.Argument(..., help="What to write, .jsonl or .csv; must not exist."),
    format: str = typer.Option("", help="jsonl or csv, where the file's name does not say it."),
    camera: str = _CAMERA,
    principal: str = _PRINCIPAL,
    action: str = _ACTION,
    purpose: str = _PURPOSE,
    result: str = _RESULT,
    unit: str = _UNIT,
    session: str = _SESSION,
    trace: str = _TRACE,
    start: str = _FROM,
    end: str = _TO,
) -> None:
    """Write the register, or what a search finds, into a file that anybody can prove; itself on record."""
    chosen = settings(context)
    filters = _filters(camera, principal, action, purpose, result, unit, session, trace, start, end)
    made = audit_export.export(chosen, file, filters, format=audit_export.format_of(file, format))
    of = "what the search found" if made["filters"] else f"all up to checkpoint {made['checkpoint']}"
    chosen.answer(
        made,
        f"{file}: {made['entries']} entries ({of}), {made['checkpoints']} checkpoints, {made['size']} octets\n"
        f"sealed by hub {made['hub_id']} with the key {made['key_sha256']}\n"
        f"whoever gets it proves it with: vidhub audit verify {file.name} --key-sha256 {made['key_sha256']}",
    )


@app.command("verify")
def verify(
    context: typer.Context,
    file: Path | None = typer.Argument(None, help="What vidhub audit export wrote; without it the hub's own register."),
    key_sha256: str = typer.Option(
        "", help="Of the key that the hub is known by, as it was told by another way; for a FILE."
    ),
) -> None:
    """Prove every chain, here or in an exported file alone; exit code 1 when one is broken."""
    if file is None and key_sha256:
        raise typer.BadParameter("--key-sha256 is for an exported FILE: name one")
    verdict = local.call(settings(context), "audit_verify", {}) if file is None else _proof(file, key_sha256)
    if verdict["intact"]:
        text = f"intact: {verdict['entries']} entries in {verdict['chains']} chains"
    elif verdict["first_bad"] == {"chain_id": "", "seq": 0}:
        text = f"BROKEN: {verdict['reason']}"
    else:
        bad = verdict["first_bad"]
        text = f"BROKEN at chain {bad['chain_id']}, entry {bad['seq']}: {verdict['reason']}"
    if file is not None:
        asked = ", ".join(f"{name} {value}" for name, value in verdict["filters"].items())
        of = f"what a search found: {asked}" if asked else "its whole register up to its last checkpoint"
        text += f"\nof hub {verdict['hub_id']} at {verdict['time']}, {of}"
    if file is not None and not key_sha256:
        text += f"\nthe key is the file's own: ask the hub's keeper whether theirs is {verdict['key_sha256']}"
    for entry in verdict.get("restores", ()):
        since = json.loads(entry["detailJson"])["backup_time"]
        text += f"\nrestored at {entry['time']} from a backup of {since}"
    settings(context).answer(verdict, text)
    if not verdict["intact"]:
        raise typer.Exit(1)


def _proof(file: Path, key_sha256: str) -> dict[str, Any]:
    from vidhub.api.admin_audit import verdict_json
    from vidhub.audit.exported import prove

    proof = prove(file, key_sha256=key_sha256)
    return {
        **verdict_json(proof.verdict),
        "hub_id": proof.hub_id,
        "time": proof.time,
        "filters": proof.filters,
        "checkpoints": proof.checkpoints,
        "key_sha256": proof.key_sha256,
    }
