"""The programs of `benches/load`: built by cargo, told what to do by a line of JSON, ended with us."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from benches import ROOT

PATIENCE_S = 60.0


class Failed(Exception):
    """A program did not do what it was asked."""


def build(names: Iterable[str]) -> dict[str, Path]:
    """Builds benches of `Cargo.toml`, without the Python module; their executables by name."""
    wanted = list(names)
    flags = [word for name in wanted for word in ("--bench", name)]
    done = subprocess.run(
        ["cargo", "build", "--release", "--quiet", "--message-format=json", *flags],
        cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise Failed("cargo could not build the load programs: see above")
    return executables(done.stdout.splitlines(), wanted)


def executables(lines: Iterable[str], names: Iterable[str]) -> dict[str, Path]:
    """Picks the executables out of cargo's messages. Raises Failed when one is missing."""
    found: dict[str, Path] = {}
    for line in lines:
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            found[message["target"]["name"]] = Path(message["executable"])
    missing = [name for name in names if name not in found]
    if missing:
        raise Failed(f"cargo built no {', '.join(missing)}")
    return {name: found[name] for name in names}


@contextlib.asynccontextmanager
async def running(program: Path, *words: str, configuration: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
    """Runs a program for as long as the block lasts; what it says line by line."""
    process = await asyncio.create_subprocess_exec(
        str(program), *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(configuration).encode() + b"\n")
        await process.stdin.drain()
        yield process.stdout
    finally:
        # It ends when its standard input does.
        process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def said(stream: asyncio.StreamReader, within_s: float = PATIENCE_S) -> dict[str, Any]:
    """The next line of a program. Raises Failed when none comes."""
    try:
        async with asyncio.timeout(within_s):
            line = await stream.readline()
    except TimeoutError as cause:
        raise Failed(f"a load program said nothing for {within_s:.0f} s") from cause
    if not line:
        raise Failed("a load program ended early: see its message above")
    return dict(json.loads(line))


async def result(
    program: Path, *words: str, configuration: dict[str, Any], on_event: Callable[[str], None] = lambda _: None
) -> dict[str, Any]:
    """Runs a program to its result; `on_event` hears when the window opens and closes."""
    async with running(program, *words, configuration=configuration) as stream:
        while True:
            line = await said(stream)
            if "event" not in line:
                return line
            on_event(line["event"])
