"""Whatever is done to the register behind the hub's back is found, and where."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from vidhub.audit import AuditLog, Verdict, chain
from vidhub.audit.verify import verify
from vidhub.model import AuditRecord
from vidhub.store import Store
from vidhub.store.engine import make_engine

ENTRIES = 20
SIGNED = 15
TABLES = ("audit_entries", "audit_checkpoints", "audit_heads")
COLUMNS = ("chain_id", "seq", "time", *chain.TEXTS, "previous_hash", "hash")
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


async def _fill(folder: Path) -> None:
    store = await Store.open(f"sqlite:///{folder}/vidhub.db")
    audit = await AuditLog.open(store, KEY, anchor=folder / "anchor.json")
    for i in range(ENTRIES):
        if i == SIGNED:
            await audit.checkpoint()
        record = AuditRecord(
            principal=f"user/张{i}",
            action="session.open",
            resource=f"camera/{i}",
            result="ok",
            principal_unit="u1",
            purpose_kind="patrol",
            purpose_reference=f"案{i}",
            grant_id=f"g{i}",
            session_id=f"s{i}",
            source_address="192.0.2.1",
            detail_json='{"a": 1}',
            trace_id=f"t{i}",
        )
        await store.write(lambda conn, record=record: audit.append(conn, [record]))
    await store.close()


@pytest.fixture(scope="module")
def written() -> Iterator[Path]:
    """A register of 20 entries, 15 of them under a checkpoint, stopped without the last one: as after kill -9."""
    folder = Path(tempfile.mkdtemp(prefix="vidhub-audit-"))
    asyncio.run(_fill(folder))
    yield folder
    shutil.rmtree(folder)


def tampered(written: Path, *changes: Callable[[sqlite3.Connection], object] | str, anchor: bool = True) -> Verdict:
    """The verdict over a copy after `changes` by plain sqlite3, with the triggers gone."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "vidhub.db"
        shutil.copy(written / "vidhub.db", path)
        with sqlite3.connect(path) as db:
            for table in TABLES:
                for word in ("update", "delete"):
                    db.execute(f"DROP TRIGGER {table}_refuses_{word}")
            for change in changes:
                db.execute(change) if isinstance(change, str) else change(db)
        db.close()
        engine = make_engine(path, mode="read", connections=1, busy_timeout_s=1)
        kept = (written / "anchor.json").read_bytes() if anchor else None
        with engine.connect() as conn:
            verdict = verify(conn, KEY.public_key(), anchor=kept)
        engine.dispose()
        return verdict


def chain_of(written: Path) -> str:
    with sqlite3.connect(written / "vidhub.db") as db:
        found = str(db.execute("SELECT chain_id FROM audit_entries").fetchone()[0])
    db.close()
    return found


def test_what_was_not_touched_is_intact(written: Path) -> None:
    assert tampered(written) == Verdict(True, ENTRIES, 1)


@pytest.mark.parametrize("column", COLUMNS)
@settings(max_examples=25)
@given(data=st.data())
def test_one_altered_byte_in_any_field_is_found(written: Path, column: str, data: st.DataObject) -> None:
    seq = data.draw(st.integers(1, ENTRIES), label="seq")
    place = data.draw(st.integers(0, 1_000), label="place")
    flip = data.draw(st.integers(1, 255), label="flip")

    def change(db: sqlite3.Connection) -> None:
        db.text_factory = bytes
        (value,) = db.execute(f"SELECT {column} FROM audit_entries WHERE seq = ?", (seq,)).fetchone()
        if isinstance(value, int):
            new: object = value ^ flip
            db.execute(f"UPDATE OR REPLACE audit_entries SET {column} = ? WHERE seq = ?", (new, seq))
            return
        raw = bytearray(value)
        raw[place % len(raw)] ^= flip
        kind = "BLOB" if column in ("hash", "previous_hash") else "TEXT"
        # CAST keeps the bytes, whatever they are, and the type of the column.
        db.execute(f"UPDATE audit_entries SET {column} = CAST(? AS {kind}) WHERE seq = ?", (bytes(raw), seq))

    verdict = tampered(written, change)
    assert not verdict.intact
    assert verdict.first_bad is not None
    if column not in ("chain_id", "seq"):
        assert verdict.first_bad == (chain_of(written), seq)


@pytest.mark.parametrize("column", chain.TEXTS)
def test_a_field_of_another_type_is_found(written: Path, column: str) -> None:
    verdict = tampered(written, f"UPDATE audit_entries SET {column} = CAST({column} AS BLOB) WHERE seq = 3")
    assert verdict.first_bad == (chain_of(written), 3)


@pytest.mark.parametrize("seq", [1, 2, 10, SIGNED])
def test_a_missing_entry_is_found(written: Path, seq: int) -> None:
    verdict = tampered(written, f"DELETE FROM audit_entries WHERE seq = {seq}")
    assert verdict.first_bad == (chain_of(written), seq)


def test_a_tail_cut_below_a_checkpoint_is_found(written: Path) -> None:
    verdict = tampered(written, "DELETE FROM audit_entries WHERE seq > 12")
    assert verdict.first_bad == (chain_of(written), 13)
    assert "signed" in verdict.reason


def test_an_emptied_register_is_found(written: Path) -> None:
    assert tampered(written, "DELETE FROM audit_entries").first_bad == (chain_of(written), 1)


def test_a_cut_with_its_checkpoint_is_found_by_the_anchor(written: Path) -> None:
    cut = (
        "DELETE FROM audit_entries WHERE seq > 5",
        "DELETE FROM audit_heads WHERE number > 1",
        "DELETE FROM audit_checkpoints WHERE number > 1",
    )
    assert tampered(written, *cut, anchor=False).intact, "which is why the anchor is kept elsewhere"
    verdict = tampered(written, *cut)
    assert (verdict.first_bad, verdict.reason) == (
        ("", 0),
        "checkpoint 2, kept outside the store, is missing in it",
    )


def test_a_duplicate_is_found(written: Path) -> None:
    """The table is made anew without its key."""
    verdict = tampered(
        written,
        "CREATE TABLE other AS SELECT * FROM audit_entries",
        "INSERT INTO other SELECT * FROM audit_entries WHERE seq = 4",
        "DROP TABLE audit_entries",
        "ALTER TABLE other RENAME TO audit_entries",
    )
    assert verdict.first_bad == (chain_of(written), 4)
    assert "twice" in verdict.reason


def test_an_entry_forged_with_its_hashes_is_found_by_the_checkpoint(written: Path) -> None:
    """Whoever knows the encoding can hash anew to the end, but not sign."""

    def forge(db: sqlite3.Connection) -> None:
        previous = chain.ZERO
        for row in db.execute("SELECT * FROM audit_entries ORDER BY seq").fetchall():
            texts = list(row[3:15])
            if row[1] == 7:
                texts[0] = "user/nobody"
            hashed = chain.entry_hash(row[0], row[1], row[2], texts, previous)
            values = (texts[0], previous, hashed, row[1])
            db.execute("UPDATE audit_entries SET principal = ?, previous_hash = ?, hash = ? WHERE seq = ?", values)
            previous = hashed

    verdict = tampered(written, forge)
    assert verdict.first_bad == (chain_of(written), SIGNED)
    assert "signed" in verdict.reason


def test_a_chain_from_nowhere_is_found(written: Path) -> None:
    def forge(db: sqlite3.Connection) -> None:
        texts = ["x"] * 12
        hashed = chain.entry_hash("zz", 1, 1, texts, chain.ZERO)
        db.execute(
            f"INSERT INTO audit_entries VALUES ({', '.join('?' * 17)})", ("zz", 1, 1, *texts, chain.ZERO, hashed)
        )

    assert tampered(written, forge).first_bad == ("zz", 1)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_checkpoints SET time = time + 1 WHERE number = 2",
        "UPDATE audit_checkpoints SET signature = zeroblob(64) WHERE number = 2",
        "UPDATE audit_checkpoints SET signature = 'text' WHERE number = 2",
        "UPDATE audit_checkpoints SET number = 7 WHERE number = 2",
        "UPDATE audit_heads SET seq = 14 WHERE number = 2",
        "UPDATE audit_heads SET hash = zeroblob(32) WHERE number = 2",
        "UPDATE audit_heads SET seq = 'x' WHERE number = 2",
        "UPDATE audit_heads SET chain_id = CAST('a' AS BLOB) WHERE number = 2",
        "UPDATE audit_heads SET number = 9 WHERE number = 2",
        "DELETE FROM audit_checkpoints WHERE number = 1",
        "DELETE FROM audit_checkpoints WHERE number = 2",
        "DELETE FROM audit_heads WHERE number = 2",
        "DELETE FROM audit_checkpoints",
        "UPDATE audit_entries SET chain_id = CAST('a' AS BLOB)",
        "UPDATE audit_entries SET time = 9e99 WHERE seq = 5",
        "UPDATE audit_entries SET seq = -1 WHERE seq = 1",
        "UPDATE audit_entries SET hash = NULL WHERE seq = 20",
    ],
)
def test_a_tampered_checkpoint_or_shape_is_found(written: Path, change: str) -> None:
    relaxed: list[Any] = []
    if "NULL" in change:
        relaxed = [
            "CREATE TABLE o AS SELECT * FROM audit_entries",
            "DROP TABLE audit_entries",
            "ALTER TABLE o RENAME TO audit_entries",
        ]
    assert not tampered(written, *relaxed, change).intact


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"number": 2}', b"\xff\xfe"])
def test_a_tampered_anchor_is_found(written: Path, text: bytes) -> None:
    engine = make_engine(written / "vidhub.db", mode="read", connections=1, busy_timeout_s=1)
    with engine.connect() as conn:
        verdict = verify(conn, KEY.public_key(), anchor=text)
    engine.dispose()
    assert "kept outside" in verdict.reason


def test_another_hubs_key_does_not_fit(written: Path) -> None:
    engine = make_engine(written / "vidhub.db", mode="read", connections=1, busy_timeout_s=1)
    with engine.connect() as conn:
        verdict = verify(conn, Ed25519PrivateKey.generate().public_key())
    engine.dispose()
    assert verdict.first_bad == ("", 0)


def test_an_altered_byte_of_the_file_itself_is_found(written: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "vidhub.db"
        data = bytearray((written / "vidhub.db").read_bytes())
        at = data.index("案9".encode())
        data[at] ^= 1
        path.write_bytes(data)
        engine = make_engine(path, mode="read", connections=1, busy_timeout_s=1)
        with engine.connect() as conn:
            verdict = verify(conn, KEY.public_key())
        engine.dispose()
    assert verdict.first_bad == (chain_of(written), 10)


async def test_a_running_hub_knows_what_it_wrote(tmp_path: Path) -> None:
    """Entries newer than any checkpoint, cut off while the hub runs."""
    store = await Store.open(f"sqlite:///{tmp_path}/vidhub.db")
    audit = await AuditLog.open(store, KEY)
    for _ in range(3):
        await store.write(lambda conn: audit.append(conn, [AuditRecord("user/x", "session.open", "camera/1")]))
    with sqlite3.connect(store.path) as db:
        db.execute("DROP TRIGGER audit_entries_refuses_delete")
        db.execute("DELETE FROM audit_entries WHERE seq = 3")
    db.close()
    assert (await audit.verify()).first_bad == (audit.chain_id, 3)
    await store.close()


async def test_a_cut_is_still_found_after_a_restart(tmp_path: Path) -> None:
    """The anchor that tells of it is not written over."""
    anchor = tmp_path / "anchor.json"

    async def run(entries: int) -> Verdict:
        store = await Store.open(f"sqlite:///{tmp_path}/vidhub.db")
        audit = await AuditLog.open(store, KEY, anchor=anchor)
        for _ in range(entries):
            await store.write(lambda conn: audit.append(conn, [AuditRecord("user/x", "session.open", "camera/1")]))
            await audit.checkpoint()
        await audit.close()
        verdict = await audit.verify()
        await store.close()
        return verdict

    assert (await run(2)).intact
    copy = (tmp_path / "vidhub.db").read_bytes()
    assert (await run(5)).intact
    (tmp_path / "vidhub.db").write_bytes(copy)
    for entries in (0, 1, 20):
        verdict = await run(entries)
        assert not verdict.intact
        assert "kept outside the store" in verdict.reason
    anchor.unlink()
    assert (await run(1)).intact, "whoever put the copy back on purpose moves the evidence away"
    assert json.loads(anchor.read_text())["number"] > 0


async def test_the_tables_refuse_to_be_changed(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path}/vidhub.db")
    audit = await AuditLog.open(store, KEY)
    await store.write(lambda conn: audit.append(conn, [AuditRecord("user/x", "session.open", "camera/1")]))
    for statement in ("UPDATE audit_entries SET result = 'x'", "DELETE FROM audit_entries", "DELETE FROM audit_heads"):
        with pytest.raises(Exception, match="append-only"):
            await store.write(lambda conn, statement=statement: conn.exec_driver_sql(statement))
    await store.close()
