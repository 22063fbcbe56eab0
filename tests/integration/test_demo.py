"""`vidhub demo`: the network comes up, and the operator at the city sees a district's camera."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
from pathlib import Path

from support.site import cli

from vidhub.cli.demo import PORTS
from vidhub.cli.demo_places import HUBS

PATIENCE_S = 120.0
# Of the district's unit: the first camera that it registers.
CAMERA = "36060200001322000001"


def free_offset() -> int:
    """Shifts every port of the demo to where nobody listens."""
    wanted = list(itertools.product(HUBS, PORTS.values(), (socket.SOCK_STREAM, socket.SOCK_DGRAM)))
    for offset in range(1_000, 9_000, 10):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for hub, port, kind in wanted:
                stack.enter_context(socket.socket(socket.AF_INET, kind)).bind((hub.address, port + offset))
            return offset
    raise AssertionError("no ports are free")


async def test_the_operator_at_the_city_sees_a_districts_camera(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vidhub.cli", "--json", "demo", "--port-offset", str(free_offset())),
        *("--data-dir", str(tmp_path / "demo")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            ready = json.loads(await process.stdout.readline())
        assert set(ready["hubs"]) == {"yingtan", "yuehu", "yujiang", "gaoxin"}
        seen = await cli(
            *("view", CAMERA, "--hub", ready["console"], "--user", ready["user"], "--password-stdin"),
            *("--purpose", "patrol", "--seconds", "2"),
            stdin=f"{ready['password']}\n",
        )
        assert seen.status == 0, seen.err
        assert seen.answer["frames"] > 20
        # On record where it was asked for, and where the camera is.
        for hub, who in (("yingtan", "user/zhang"), ("yuehu", "user/zhang@yingtan")):
            entries = (await cli("audit", "list", "--data-dir", tmp_path / "demo" / hub)).answer["entries"]
            assert who in {entry["principal"] for entry in entries if entry["action"] == "session.open"}
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
