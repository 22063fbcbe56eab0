"""`vidhub backup` and `vidhub restore`: the whole hub in one file, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from vidhub import logs
from vidhub.cli import local
from vidhub.cli.report import Settings, settings
from vidhub.errors import FailedPrecondition

_WORDS = {"database": "copying the database", "file": "packing", "proof": "proving"}


def add_to(app: typer.Typer) -> None:
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    context: typer.Context,
    file: Path = typer.Argument(..., help="What to write; must not exist."),
    without_keys: bool = typer.Option(False, "--without-keys", help="Leave out the hub's keys; keep them elsewhere."),
) -> None:
    """Write the whole hub into one file, while it runs or not. The file holds the hub's keys: guard it like them."""
    from vidhub.backup import Taken, take
    from vidhub.store.engine import database_path

    chosen = settings(context)
    config = chosen.load()
    logs.configure()

    def record(taken: Taken) -> None:
        arguments = {"sha256": taken.sha256, "size": taken.size, "with_keys": taken.manifest.keys}
        local.call(chosen, "backup_record", arguments)

    with _progress(chosen, _WORDS) as told:
        taken = take(
            config.data_dir,
            database_path(config.database_url),
            file,
            with_keys=not without_keys,
            record=record,
            told=told,
        )
    made = taken.manifest
    document = {
        "file": str(file),
        "size": taken.size,
        "sha256": taken.sha256,
        "hub_id": made.hub_id,
        "time": made.time,
        "revision": {"epoch": made.epoch, "number": made.revision},
        "keys": made.keys,
    }
    guard = (
        "It holds the hub's KEYS and its authority's: who has it can be this hub. Guard it like them."
        if made.keys
        else "It holds no keys: it is of use only with a copy of the folder keys, kept elsewhere."
    )
    chosen.answer(document, f"{file}: hub {made.hub_id} as of {made.time}, {taken.size} octets\n{guard}")


def restore(
    context: typer.Context,
    file: Path = typer.Argument(..., help="What vidhub backup wrote."),
    keys: Path = typer.Option(None, help="A copy of the hub's folder keys, for a backup without keys."),
    accept_broken_register: bool = typer.Option(
        False, "--accept-broken-register", help="Restore even though the register of use does not prove."
    ),
) -> None:
    """Make a data directory (--data-dir, which must be empty or not there) of a backup."""
    from vidhub.backup import restore as make

    chosen = settings(context)
    config = chosen.load()
    if config.store_url:
        raise FailedPrecondition(
            "STORE_URL_SET", "store_url puts the database elsewhere: restore without it, then move vidhub.db there"
        )
    logs.configure()
    with _progress(chosen, {**_WORDS, "file": "unpacking"}) as told:
        done = make(file, config.data_dir, keys=keys, accept_broken_register=accept_broken_register, told=told)
    of = done.manifest
    document = {
        "data_dir": str(config.data_dir),
        "hub_id": of.hub_id,
        "backup_time": of.time,
        "epoch": done.epoch,
        "cameras": done.cameras,
        "sessions_lost": done.sessions,
        "register": {"intact": done.register.intact, "entries": done.register.entries},
    }
    text = (
        f"{config.data_dir}: hub {of.hub_id} as of {of.time}, {done.cameras} cameras\n"
        "Gone is all that was done since: revoke, suspend and retire again what was, and let units register again."
    )
    chosen.answer(document, text)


@contextlib.contextmanager
def _progress(chosen: Settings, words: dict[str, str]) -> Iterator[Callable[[str, int, int], None]]:
    """One bar a step, on stderr; none with --json."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=chosen.as_json,
    )
    tasks: dict[str, TaskID] = {}

    def told(step: str, done: int, total: int) -> None:
        if not tasks:
            bars.start()
        if step not in tasks:
            tasks[step] = bars.add_task(words[step])
        bars.update(tasks[step], completed=done, total=total)

    try:
        yield told
    finally:
        if tasks:
            bars.stop()
