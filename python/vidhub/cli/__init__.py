"""The command line: one file per command.

stdout carries the answer, stderr the log; exit codes 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import typer

from vidhub import __version__
from vidhub.cli import (
    audit,
    backup,
    bench_ticket,
    camera,
    camera_sim,
    config,
    demo,
    doctor,
    grant,
    hub,
    hub_share,
    purpose,
    report_compliance,
    serve,
    unit,
    user,
    view,
)
from vidhub.cli.report import Settings, fail, wrong_usage
from vidhub.errors import Unavailable, VidhubError

# Typer carries its own copy of click; this is the public way to its base class.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]

# These may stand before or after the subcommand.
FLAGS = ("--json",)
VALUES = ("--data-dir", "--config")

app = typer.Typer(
    name="vidhub",
    help="Registers, shares and shows the video of public places, under access control and on record.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    context: typer.Context,
    as_json: bool = typer.Option(False, "--json", help="Answer with one JSON document."),
    data_dir: str | None = typer.Option(None, "--data-dir", metavar="DIR", help="The hub's data directory."),
    config_file: str | None = typer.Option(None, "--config", metavar="FILE", help="Options; default ./vidhub.toml."),
) -> None:
    """What every command takes."""
    context.obj = Settings(as_json=as_json, data_dir=data_dir, config_file=config_file)


@app.command()
def version(context: typer.Context) -> None:
    """Print the version."""
    context.obj.answer({"version": __version__}, __version__)


serve.add_to(app)
demo.add_to(app)
camera_sim.add_to(app)
view.add_to(app)
bench_ticket.add_to(app)
backup.add_to(app)
doctor.add_to(app)
app.add_typer(user.app, name="user")
app.add_typer(unit.app, name="unit")
app.add_typer(camera.app, name="camera")
app.add_typer(grant.app, name="grant")
app.add_typer(purpose.app, name="purpose")
app.add_typer(audit.app, name="audit")
app.add_typer(report_compliance.app, name="report")
hub_share.add_to(hub.app)
app.add_typer(hub.app, name="hub")
app.add_typer(config.app, name="config")


def hoist(arguments: Sequence[str]) -> list[str]:
    """Moves the options that may stand anywhere to the front, where the parser wants them; stops at "--"."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word in FLAGS or word.startswith(tuple(f"{name}=" for name in VALUES)):
            front.append(word)
        elif word in VALUES:
            front.append(word)
            front += [value for value in [next(words, None)] if value is not None]
        else:
            rest.append(word)
    return front + rest


def speak(*, as_json: bool) -> None:
    """JSON is UTF-8 everywhere; a terminal that can't show a character shows a mark for it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                encoding="utf-8" if as_json else None, errors="backslashreplace" if as_json else "replace"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the `vidhub` command."""
    words = hoist(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in words
    speak(as_json=as_json)
    try:
        status = app(words, standalone_mode=False, prog_name="vidhub")
        if sys.stdout is not None:
            sys.stdout.flush()
    except UsageError as wrong:
        wrong_usage(wrong, as_json=as_json)
        raise SystemExit(2) from None
    except VidhubError as error:
        fail(error, as_json=as_json)
        raise SystemExit(1) from None
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(1) from None
    except BrokenPipeError:
        # The reader of our answer has gone: nothing to tell anybody.
        sys.stderr.close()
        raise SystemExit(1) from None
    except OSError as cause:
        # What commands read and write names itself; this is, above all, the disk that stdout goes to.
        said = f"{cause.filename}: {cause.strerror}" if cause.filename else f"{cause.strerror or cause}"
        fail(Unavailable("FILE_UNAVAILABLE", f"{said}: check the disk, and where the output goes"), as_json=as_json)
        raise SystemExit(1) from None
    raise SystemExit(status if isinstance(status, int) else 0)
