"""kill -9 in the middle of writes: what was answered is there, nothing is half, the register of use proves itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from vidhub.audit import AuditLog
from vidhub.identity import HubKeys
from vidhub.store import Store, changes

_WRITES = """
import asyncio, sys
from pathlib import Path
from vidhub.audit import AuditLog
from vidhub.identity import HubKeys
from vidhub.model import AuditRecord
from vidhub.store import Store, changes, meta

async def main() -> None:
    data = Path(sys.argv[1])
    store = await Store.open(f"sqlite:///{data}/vidhub.db")
    audit = await AuditLog.open(store, HubKeys.open(data).hub, anchor=data / "audit-anchor.json")

    def work(conn):
        number = meta.next_revision(conn)
        changes.append(conn, [(number, "upserted", f"{number}-{i}") for i in range(50)])
        audit.append(conn, [AuditRecord("unit/u1", "camera.register", "batch", trace_id=str(number))])
        return number

    async def writer(bulk):
        while True:
            print(await store.write(work, bulk=bulk), flush=True)

    await asyncio.gather(*(writer(i % 2 == 0) for i in range(8)))

asyncio.run(main())
"""


def run_and_kill(folder: Path, answers: int) -> list[int]:
    """Every number that a writing process had answered when it was killed, which is after `answers` of them."""
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root / "python")}
    command = [sys.executable, "-c", _WRITES, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
        assert child.stdout is not None
        answered = [int(child.stdout.readline()) for _ in range(answers)]
        child.send_signal(signal.SIGKILL)
        # The last line may be cut.
        return answered + [int(line) for line in child.stdout.read().split("\n")[:-1]]


async def test_a_kill_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    highest = 0
    for answers in (1, 40, 150):
        answered = await asyncio.to_thread(run_and_kill, tmp_path, answers)
        highest = max([highest, *answered])
        store = await Store.open(f"sqlite:///{tmp_path}/vidhub.db")
        audit = await AuditLog.open(store, HubKeys.open(tmp_path).hub, anchor=tmp_path / "audit-anchor.json")
        rows = await store.read(changes.load)
        numbers = {r[0] for r in rows}
        assert set(answered) <= numbers
        assert len(rows) == 50 * len(numbers), "no batch is there in part"
        assert max(numbers) >= highest
        verdict = await audit.verify()
        assert verdict.intact, verdict
        assert verdict.entries == len(numbers), "one entry for each batch"
        await store.close()
