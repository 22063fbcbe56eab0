"""Commands of ours as programs, for what works with them as a person would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from vidhub.errors import Internal, Unavailable

# Time a program of ours may take to say that it is ready, and to end.
PATIENCE_S = 60.0


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """All at the same time. What fails first is raised as it is, and the others are given up."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "vidhub.cli", "--json", *words]


async def vidhub(*words: str, stdin: str | None = None) -> dict[str, Any]:
    """One command, as a person would give it. Raises Internal with what it said."""
    process = await asyncio.create_subprocess_exec(
        *_command(*words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, said = await process.communicate(f"{stdin}\n".encode() if stdin is not None else b"")
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise Internal(
            "DEMO_STEP_FAILED", f"vidhub {words[0]} {words[1]}: {said.decode().strip() or out.decode().strip()}"
        )
    return dict(json.loads(out))


@contextlib.asynccontextmanager
async def running(
    *words: str, environment: dict[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A program of ours that says when it is ready and is ended with the demo. In a session of its own, so that
    Ctrl-C reaches us alone and everything ends in order."""
    process = await asyncio.create_subprocess_exec(
        *_command(*words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = await process.stdout.readline()
        if not line:
            raise Unavailable("DEMO_STEP_FAILED", f"vidhub {words[0]} did not start: see its log above")
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
