"""`vidhub camera`: as a unit over gRPC with `--identity`, else on the data directory."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import typer
from google.protobuf.json_format import MessageToDict
from rich.progress import Progress

from vidhub.cli import camera_import, camera_retire, local, rpc
from vidhub.cli.identity_files import Identity, load_identity
from vidhub.cli.report import bars, settings
from vidhub.errors import VidhubError
from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc

app = typer.Typer(help="Cameras.", no_args_is_help=True)

# Findings of each kind that are printed.
TOLD = 50
IDENTITY = typer.Option(None, help="The unit's folder, as vidhub unit enrol wrote it: ask the hub over gRPC.")


@app.command("register")
def register(
    context: typer.Context,
    file: Path,
    identity: Path = typer.Option(..., help="The unit's folder, as vidhub unit enrol wrote it."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Check every line, say what would change, change nothing."),
    report: Path | None = typer.Option(None, help="Write every finding to this CSV file, a line each."),
    retire_missing: bool = typer.Option(
        False, "--retire-missing", help="The file names all of the unit's cameras: retire those that it lacks."
    ),
    yes: bool = typer.Option(False, "--yes", help="Retire without asking."),
    retire_most: bool = typer.Option(False, "--retire-most", help="Retire even more than half of the unit's cameras."),
) -> None:
    """Register the cameras of a .csv or .xlsx file; every bad line is told by field, rule and remedy."""
    chosen = settings(context)
    who = load_identity(identity)
    total = camera_import.table_of(file).count(file)
    progress = bars(chosen)
    with progress:
        task = progress.add_task("checking" if dry_run else "registering", total=total)
        work = camera_import.Import(
            file, dry_run=dry_run, advance=lambda lines: progress.advance(task, lines), is_whole=retire_missing
        )
        found = rpc.run(rpc.call(who, work.run))
    refusal: VidhubError | None = None
    if retire_missing and not dry_run:
        refusal = _retire(who, file, found, yes=yes, most=retire_most, progress=progress)
    if report is not None:
        found.write(report)
    if chosen.as_json:
        chosen.answer(found.document(dry_run=dry_run), "")
    else:
        tell(found, dry_run=dry_run, report=report)
    if refusal is not None:
        raise refusal
    if found.rejected:
        raise typer.Exit(1)


def _retire(
    who: Identity, file: Path, found: camera_import.Report, *, yes: bool, most: bool, progress: Progress
) -> VidhubError | None:
    """Retires what the file lacks, or says why nothing was: what was registered is told all the same."""
    ask = partial(typer.confirm, err=True) if sys.stdin.isatty() else None
    try:
        camera_retire.check(
            found.missing,
            of=found.before,
            named=found.accepted,
            rejected=len(found.rejected),
            yes=yes,
            most=most,
            confirm=ask,
        )
        if found.missing:
            with progress:
                task = progress.add_task("retiring", total=len(found.missing))

                def note(camera_id: str, went: bool) -> None:
                    progress.advance(task)
                    if went:
                        found.retired.append(camera_id)

                async def end(channel: grpc.aio.Channel) -> None:
                    await camera_retire.retire(channel, found.missing, camera_retire.reason(file), note)

                rpc.run(rpc.call(who, end))
    except VidhubError as refusal:
        return refusal
    finally:
        found.retired.sort()
    return None


def tell(found: camera_import.Report, *, dry_run: bool, report: Path | None) -> None:
    """The first of each kind, and how many there are of all."""
    for change in found.changes[:TOLD]:
        print(f"line {change['line']}: {change['id']} would change {', '.join(change['fields'])}")
    for word, entries in (("warning: ", found.warned), ("", found.rejected)):
        lines = [(entry["line"], one) for entry in entries for one in entry["violations"]]
        for line, one in lines[:TOLD]:
            print(f"line {line}: {word}{one['field'] or 'line'}: {one['description']} ({one['reason']})")
        if len(lines) > TOLD:
            where = f"all are in {report}" if report else "give --report FILE for all"
            print(f"… and {len(lines) - TOLD} more {'warnings' if word else 'findings'}: {where}")
    gone = set(found.retired)
    for camera_id in found.missing[:TOLD]:
        print(f"{'retired' if camera_id in gone else 'not in the file'}: {camera_id}")
    verb = "would be accepted" if dry_run else "accepted"
    print(
        f"{found.accepted} {verb} ({found.created} new, {found.changed} changed, {found.unchanged} unchanged), "
        f"{len(found.rejected)} rejected, {len(found.warned)} with warnings"
    )
    if found.retired:
        print(f"{len(found.retired)} retired that are not in the file")
    elif found.missing:
        print(f"{len(found.missing)} of {found.before} cameras are not in the file: --retire-missing takes them out")


def _columns(camera: dict[str, Any]) -> list[object]:
    return [
        camera.get("id"),
        camera.get("name"),
        camera.get("unitId"),
        camera.get("regionCode"),
        camera.get("state", "").removeprefix("CAMERA_STATE_").lower(),
        camera.get("stateReason", ""),
    ]


@app.command("list")
def list_cameras(
    context: typer.Context,
    region: str = typer.Option("", help="Prefix of the region code."),
    text: str = typer.Option("", help="Part of the name or id, or pinyin initials."),
    identity: Path | None = IDENTITY,
) -> None:
    """List cameras."""
    if identity is None:
        answer = local.call(settings(context), "camera_list", {"region_prefix": region, "text": text})
    else:
        answer = rpc.run(_list(load_identity(identity), region, text))
    settings(context).table(
        answer, ["id", "name", "unit", "region", "state", "why"], (_columns(one) for one in answer["cameras"])
    )


async def _list(who: Identity, region: str, text: str) -> dict[str, Any]:
    async def pages(channel: grpc.aio.Channel) -> dict[str, Any]:
        stub = camera_service_pb2_grpc.CameraServiceStub(channel)
        whole = camera_service_pb2.ListCamerasResponse()
        token = ""
        while True:
            page = await stub.ListCameras(
                camera_service_pb2.ListCamerasRequest(
                    filter=camera_service_pb2.CameraFilter(region_prefix=region, text=text),
                    page_size=1000,
                    page_token=token,
                ),
                timeout=30,
            )
            whole.cameras.extend(page.cameras)
            whole.total_size = page.total_size
            whole.revision.CopyFrom(page.revision)
            token = page.next_page_token
            if not token:
                return {"cameras": [], **MessageToDict(whole)}

    return await rpc.call(who, pages)


@app.command("show")
def show(
    context: typer.Context, camera_id: str = typer.Argument(..., metavar="ID"), identity: Path | None = IDENTITY
) -> None:
    """Show one camera's whole record."""
    if identity is None:
        answer = local.call(settings(context), "camera_show", {"id": camera_id})
    else:

        async def get(channel: grpc.aio.Channel) -> dict[str, Any]:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            found = await stub.GetCamera(camera_service_pb2.GetCameraRequest(id=camera_id), timeout=30)
            return dict(MessageToDict(found.camera))

        answer = rpc.run(rpc.call(load_identity(identity), get))
    settings(context).answer(answer, _sheet(answer))


def _sheet(record: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in record.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", _sheet(value, indent + "  ")]
        elif isinstance(value, list):
            for each in value:
                lines += [
                    f"{indent}{key}:",
                    _sheet(each, indent + "  ") if isinstance(each, dict) else f"{indent}  {each}",
                ]
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(lines)


@app.command("retire")
def retire(
    context: typer.Context,
    camera_id: str = typer.Argument(..., metavar="ID"),
    reason: str = typer.Option(..., help="Why it is taken out of service."),
    identity: Path | None = IDENTITY,
) -> None:
    """Take a camera out of service; who watches it is cut off."""
    if identity is None:
        local.call(settings(context), "camera_retire", {"id": camera_id, "reason": reason})
    else:

        async def end(channel: grpc.aio.Channel) -> None:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            await stub.RetireCamera(camera_service_pb2.RetireCameraRequest(id=camera_id, reason=reason), timeout=30)

        rpc.run(rpc.call(load_identity(identity), end))
    state = camera_pb2.CameraState.Name(camera_pb2.CAMERA_STATE_RETIRED)
    settings(context).answer({"id": camera_id, "state": state}, f"camera {camera_id} retired")
