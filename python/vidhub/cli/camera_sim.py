"""`vidhub camera-sim`: an RTSP server that plays real footage, as a camera would."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import typer

from vidhub.cli import clips
from vidhub.cli.report import settings
from vidhub.core import CameraSim

CACHE = Path(".cache/clips")


def add_to(app: typer.Typer) -> None:
    app.command("camera-sim")(camera_sim)


def camera_sim(
    context: typer.Context,
    files: list[Path] = typer.Argument(
        None, metavar="[FILE]...", help="Video files; the demo's own when none is given."
    ),
    listen: str = typer.Option("127.0.0.1:0", help="ADDRESS:PORT; port 0 picks a free one."),
    username: str = typer.Option("", help="Ask for Digest login."),
    password_stdin: bool = typer.Option(
        False, "--password-stdin", help="Read the login's password from standard input."
    ),
    cache: Path = typer.Option(CACHE, help="Where prepared footage is kept."),
) -> None:
    """Serve video files over RTSP until Ctrl-C; prints where, one address a line."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin else ""
    prepared = [clips.prepare(source, cache) for source in files or clips.packaged()]
    cameras = [(clip.path.stem, str(clip.path), clip.frame_rate) for clip in prepared]
    # Blocked before the server's threads start, so that the wait below is the one who hears.
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = CameraSim(listen, cameras, username, password)
    try:
        urls = [f"rtsp://{server.address()}/{name}" for name, _, _ in cameras]
        settings(context).answer({"ready": {"rtsp": server.address(), "urls": urls}}, "\n".join(urls))
        signal.sigwait(signals)
    finally:
        server.stop()
