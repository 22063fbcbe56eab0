"""How commands answer: a table or a sentence for people, one JSON document for programs.

Failures come with a stable reason and a sentence with the remedy.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from vidhub.config import Config, load
from vidhub.errors import InvalidArgument, VidhubError

# Columns of a table that goes into a file or another program: each row on one line.
_NO_TERMINAL_WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that every command takes."""

    as_json: bool = False
    data_dir: str | None = None
    config_file: str | None = None

    @property
    def file(self) -> Path | None:
        return Path(self.config_file) if self.config_file else None

    def load(self, flags: Mapping[str, object] | None = None) -> Config:
        """The options in force for this command. Raises InvalidArgument naming each wrong key."""
        return load(file=self.file, environment=os.environ, flags={"data_dir": self.data_dir, **(flags or {})})

    def answer(self, document: Mapping[str, object], text: str) -> None:
        """Prints the document with `--json`, else the text."""
        print(json.dumps(document, ensure_ascii=False) if self.as_json else text, flush=True)

    def table(self, document: Mapping[str, object], columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Prints the document with `--json`, else a table."""
        if self.as_json:
            self.answer(document, "")
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for place, column in enumerate(columns):
            # The first is what one copies: an id, a time.
            table.add_column(column, overflow="fold", no_wrap=place == 0)
        for row in rows:
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        Console(width=None if sys.stdout.isatty() else _NO_TERMINAL_WIDTH).print(table)


def settings(context: typer.Context) -> Settings:
    """The settings that the callback of the whole command left in the context."""
    found = context.find_object(Settings)
    return found if found is not None else Settings()


def bars(chosen: Settings) -> Progress:
    """Bars that count, on stderr; none with --json."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=chosen.as_json,
    )


def fail(error: VidhubError, *, as_json: bool) -> None:
    """Says on stderr what went wrong: the stable reason and a sentence with the remedy."""
    if as_json:
        body: dict[str, object] = {"reason": error.reason, "message": error.message}
        if error.violations:
            body["violations"] = [
                {"field": violation.field, "reason": violation.reason, "description": violation.description}
                for violation in error.violations
            ]
        print(json.dumps({"error": body}, ensure_ascii=False), file=sys.stderr)
        return
    print(f"{error.reason}: {error.message}", file=sys.stderr)
    for violation in error.violations:
        print(f"  {violation.field}: {violation.description} ({violation.reason})", file=sys.stderr)


def wrong_usage(error: Exception, *, as_json: bool) -> None:
    """Says on stderr how the command is used."""
    message = getattr(error, "format_message", error.__str__)()
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "vidhub"
    usage = context.get_usage() if context is not None else ""
    if usage and message.startswith(usage):
        # No command was named, and the message is the whole help.
        usage, message = message, f"name a command: `{command} --help` says more"
    else:
        message = f"{message.rstrip('.')}: see `{command} --help`"
    if as_json:
        print(json.dumps({"error": {"reason": "USAGE", "message": message}}, ensure_ascii=False), file=sys.stderr)
        return
    if usage:
        print(usage, file=sys.stderr)
    print(f"USAGE: {message}", file=sys.stderr)


def read_password() -> str:
    """The first line of standard input. Raises InvalidArgument PASSWORD_MISSING."""
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise InvalidArgument("PASSWORD_MISSING", "no password came on standard input: printf '%s\\n' WORD | vidhub …")
    return password


def private_file(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, replacing a file that was there, and nothing else. Raises
    InvalidArgument FILE_NOT_WRITTEN."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.exists() and not path.is_file()):
            # A device or a link of the system's, as /dev/stdout: root would take it away.
            raise InvalidArgument(
                "FILE_NOT_WRITTEN", f"{path}: there is something else than a file: choose another place"
            )
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(text)
    except OSError as cause:
        raise InvalidArgument("FILE_NOT_WRITTEN", f"{path}: {cause.strerror}: choose another place") from cause
