"""One altered byte in the register of use is found, and named."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub import PASSWORD, hub, person
from support.site import cli


async def filled(data: Path) -> None:
    """A stopped hub with some history."""
    async with hub(data) as running:
        await running.ask("user_add", name="zhang", roles=["operator"], password=PASSWORD)
        await running.ask("unit_token", name="第一中学", region_code="360602", industry="11")
        async with person(running, "zhang") as caller:
            for kind in ("patrol", "traffic", "safety"):
                await caller.call("SessionService/OpenSession", cameraId="36060200111320000001", purpose={"kind": kind})
        assert await running.end() == 0


async def verdict(data: Path) -> tuple[int, dict[str, object]]:
    done = await cli("--data-dir", data, "audit", "verify")
    return done.status, done.answer


@contextlib.contextmanager
def forced_open(data: Path) -> Iterator[sqlite3.Connection]:
    """The database as somebody has it who owns the file: what guards the table is no obstacle to them."""
    with contextlib.closing(sqlite3.connect(data / "vidhub.db")) as store, store:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            store.execute("DELETE FROM audit_entries")
        guards = store.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'audit_entries'")
        for (name,) in guards.fetchall():
            store.execute(f"DROP TRIGGER {name}")
        yield store


def altered(text: str) -> str:
    """Another text of the same length, one character apart."""
    return text[:-1] + ("x" if text[-1] != "x" else "y")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("history") / "data"
    asyncio.run(filled(place))
    status, found = asyncio.run(verdict(place))
    assert status == 0, found
    assert found["intact"] is True
    assert found["first_bad"] is None
    assert int(str(found["entries"])) >= 5
    return place


@pytest.fixture
def data(tmp_path: Path, history: Path) -> Path:
    """A copy to lay hands on."""
    return Path(shutil.copytree(history, tmp_path / "data"))


async def test_one_altered_byte_is_found_and_named(data: Path):
    with forced_open(data) as store:
        rows = store.execute("SELECT chain_id, seq, principal FROM audit_entries WHERE principal != ''").fetchall()
        chain_id, seq, principal = rows[len(rows) // 2]
        store.execute(
            "UPDATE audit_entries SET principal = ? WHERE chain_id = ? AND seq = ?", (altered(principal), chain_id, seq)
        )
    status, found = await verdict(data)
    assert (status, found["intact"]) == (1, False)
    assert found["first_bad"] == {"chain_id": chain_id, "seq": seq}
    assert found["reason"]
    # A hub that runs says the same.
    async with hub(data) as running:
        status, found = await verdict(data)
        assert (status, found["first_bad"]) == (1, {"chain_id": chain_id, "seq": seq})
        assert await running.end() == 0


async def test_an_entry_taken_out_is_found(data: Path):
    with forced_open(data) as store:
        chain_id, seq = store.execute(
            "SELECT chain_id, seq FROM audit_entries ORDER BY seq LIMIT 1 OFFSET 2"
        ).fetchone()
        store.execute("DELETE FROM audit_entries WHERE chain_id = ? AND seq = ?", (chain_id, seq))
    status, found = await verdict(data)
    assert (status, found["intact"]) == (1, False)
    assert found["first_bad"]["chain_id"] == chain_id  # type: ignore[index]


async def test_a_tail_cut_off_is_found(data: Path):
    with forced_open(data) as store:
        chain_id, seq = store.execute("SELECT chain_id, max(seq) FROM audit_entries GROUP BY chain_id").fetchone()
        store.execute("DELETE FROM audit_entries WHERE chain_id = ? AND seq = ?", (chain_id, seq))
    status, found = await verdict(data)
    assert (status, found["intact"]) == (1, False)
