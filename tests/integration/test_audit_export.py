"""`vidhub audit export` beside a hub that runs and after it, and `vidhub audit verify FILE` where there is no hub."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from support.hub import hub

ROOT = Path(__file__).parents[2]


async def vidhub(*words: str, cwd: Path) -> tuple[int, dict[str, Any]]:
    """The exit code, and what was said as JSON: the answer, or the error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vidhub.cli", "--json", *words),
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, json.loads(out or err.splitlines()[-1])


async def test_a_register_is_taken_along_and_proved_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    data = tmp_path / "data"
    async with hub(data) as running:
        for number in range(3):
            await running.ask("unit_token", name=f"第{number}中学", region_code="360603", industry="11")
        status, made = await vidhub(
            "audit", "export", str(elsewhere / "r.jsonl"), "--data-dir", str(data), cwd=tmp_path
        )
        assert (status, made["filters"]) == (0, {}), made
        words = ("audit", "export", str(elsewhere / "r.csv"), "--action", "unit.token", "--data-dir", str(data))
        status, searched = await vidhub(*words, cwd=tmp_path)
        assert (status, searched["entries"], searched["filters"]) == (0, 3, {"action": "unit.token"}), searched
        _, listed = await vidhub("audit", "list", "--action", "audit.export", "--data-dir", str(data), cwd=tmp_path)
        taken = [json.loads(entry["detailJson"]) for entry in listed["entries"]]
        assert [one["sha256"] for one in taken] == [searched["sha256"], made["sha256"]]
        _, verdict = await vidhub("audit", "verify", "--data-dir", str(data), cwd=tmp_path)
        assert (verdict["intact"], verdict["key_sha256"]) == (True, made["key_sha256"])
    assert (elsewhere / "r.csv").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in elsewhere.iterdir()) == ["r.csv", "r.jsonl"]
    for name, entries in (("r.jsonl", made["entries"]), ("r.csv", 3)):
        status, proof = await vidhub("audit", "verify", name, "--key-sha256", made["key_sha256"], cwd=elsewhere)
        assert (status, proof["intact"], proof["entries"]) == (0, True, entries), proof
    status, proof = await vidhub("audit", "verify", "r.csv", "--key-sha256", "ab" * 32, cwd=elsewhere)
    assert (status, proof["intact"]) == (1, False)
    (elsewhere / "r.jsonl").write_bytes((elsewhere / "r.jsonl").read_bytes().replace(b"unit.token", b"unit.taken", 1))
    status, proof = await vidhub("audit", "verify", "r.jsonl", cwd=elsewhere)
    assert (status, proof["reason"]) == (1, "it was altered: the seal does not fit")


async def test_an_export_that_can_not_be_written_says_why(tmp_path: Path) -> None:
    async with hub(tmp_path / "data"):
        pass
    data = ("--data-dir", str(tmp_path / "data"))
    there = tmp_path / "there.csv"
    there.write_text("mine")
    nothing = ("--from", "2026-02-01", "--to", "2026-01-01")
    for words, status, reason in (
        (("audit", "export", str(there), *data), 1, "FILE_EXISTS"),
        (("audit", "export", str(tmp_path / "no" / "r.csv"), *data), 1, "FILE_NOT_WRITTEN"),
        (("audit", "export", str(tmp_path / "r.pdf"), *data), 2, "USAGE"),
        (("audit", "export", str(tmp_path / "r.csv"), "--from", "yesterday", *data), 1, "TIME_INVALID"),
        (("audit", "export", str(tmp_path / "r.csv"), *nothing, *data), 1, "TIME_ORDER"),
        (("audit", "export", str(tmp_path / "r.csv"), "--data-dir", str(tmp_path / "none")), 1, "DATA_DIR_EMPTY"),
        (("audit", "verify", "--key-sha256", "ab", *data), 2, "USAGE"),
        (("audit", "verify", str(there)), 1, "EXPORT_INVALID"),
        (("audit", "verify", str(tmp_path / "none.csv")), 1, "FILE_NOT_READ"),
    ):  # fmt: skip
        found = await vidhub(*words, cwd=tmp_path)
        assert (found[0], found[1]["error"]["reason"]) == (status, reason), words
    assert there.read_text() == "mine"
    assert not (tmp_path / "r.csv").exists()
