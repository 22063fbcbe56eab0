"""`vidhub audit export`: the register of use, or a part of it, as one file that proves itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import typer

from vidhub.cli import local
from vidhub.cli.report import Settings, bars
from vidhub.errors import InvalidArgument

_PREFIX = ".vidhub-export-"


def format_of(file: Path, given: str) -> str:
    """ "jsonl" or "csv", by what was given or by the file's name. Raises typer.BadParameter."""
    from vidhub.audit.export import FORMATS

    found = given or file.suffix.removeprefix(".").lower()
    if found not in FORMATS:
        raise typer.BadParameter(f"name the file .jsonl or .csv, or give --format {'|'.join(FORMATS)}")
    return found


def export(chosen: Settings, file: Path, filters: dict[str, str], *, format: str) -> dict[str, object]:
    """What was written. filters: as `audit_list` takes them. Raises InvalidArgument FILE_EXISTS, FILE_NOT_WRITTEN."""
    from vidhub.api.admin_audit import search_of
    from vidhub.audit import export as register
    from vidhub.backup.workplace import workplace
    from vidhub.store.engine import database_path
    from vidhub.store.keyfiles import sync_directory

    if os.path.lexists(file):
        raise InvalidArgument("FILE_EXISTS", f"{file} is there already: choose another name, or move it away")
    search = search_of(filters)
    # It signs a checkpoint, and the file goes up to there.
    begun = local.call(chosen, "audit_export_begin", {})
    source = register.Source(begun["hub_id"], begun["public_key_pem"], begun["checkpoint"])
    try:
        with workplace(file.parent, _PREFIX) as place, _progress(chosen) as told:
            made = place / "export"
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
                database = database_path(chosen.load().database_url)
                written = register.write(target, database, source, search, format=format, told=told)
                sealed = local.call(
                    chosen,
                    "audit_export_seal",
                    {"sha256": written.sha256.hex(), "entries": written.entries, "filters": register.described(search)},
                )
                register.seal(target, written, bytes.fromhex(sealed["signature"]), format=format)
                target.flush()
                os.fsync(target.fileno())
            size = made.stat().st_size
            try:
                os.link(made, file)  # unlike a rename, refuses when it exists
            except FileExistsError:
                raise InvalidArgument("FILE_EXISTS", f"{file} is there already: choose another name") from None
            sync_directory(file.parent)
    except OSError as cause:
        raise InvalidArgument(
            "FILE_NOT_WRITTEN", f"{file}: {cause.strerror}: choose another place, or make room"
        ) from cause
    return {
        "file": str(file),
        "format": format,
        "size": size,
        "entries": written.entries,
        "checkpoints": written.checkpoints,
        "checkpoint": source.checkpoint,
        "hub_id": source.hub_id,
        "filters": register.described(search),
        "sha256": written.sha256.hex(),
        "key_sha256": begun["key_sha256"],
    }


@contextlib.contextmanager
def _progress(chosen: Settings) -> Iterator[Callable[[int, int], None]]:
    """A bar of the entries that were looked through, on stderr; none with --json."""
    shown = bars(chosen)
    task = shown.add_task("exporting", total=None)
    with shown:
        yield lambda done, total: shown.update(task, completed=done, total=total)
