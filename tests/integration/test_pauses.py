"""What holds the hub's event loop up: Python's collector of cycles does not go through what is there for good."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from support.hub import hub

# In the hub's own process: at a signal it tells how many objects the collector goes through, and how many it does not.
TELLER = """
import gc, os, signal

def tell(*_):
    with open(os.environ["TOLD"], "w") as told:
        print(len(gc.get_objects()), gc.get_freeze_count(), file=told)

if "TOLD" in os.environ:
    signal.signal(signal.SIGUSR1, tell)
"""


async def test_a_full_collection_goes_through_what_came_after_the_start_alone(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(TELLER, encoding="utf-8")
    os.mkfifo(tmp_path / "told")
    ways = os.pathsep.join([str(tmp_path), *sys.path])
    async with hub(tmp_path / "data", TOLD=str(tmp_path / "told"), PYTHONPATH=ways) as running:
        os.kill(int(running.ready["pid"]), signal.SIGUSR1)
        async with asyncio.timeout(30):
            told = await asyncio.to_thread((tmp_path / "told").read_text)
    looked_at, settled = map(int, told.split())
    assert settled > 50_000
    assert looked_at < settled / 10
