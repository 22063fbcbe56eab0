"""An exported register proves itself, and whatever is done to the file is found."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vidhub.audit import AuditLog, Search, export
from vidhub.audit.exported import key_digest, prove
from vidhub.errors import FailedPrecondition, InvalidArgument
from vidhub.model import AuditRecord
from vidhub.store import Store

# Texts that a spreadsheet, a line or a quote would trip over.
AWKWARD = ("=1+1", "'=1", "'", "a,b", 'say "so"', "two\nlines", "案〔2026〕1号", "-3", "\ttab", "")


def record(number: int) -> AuditRecord:
    return AuditRecord(
        principal="user/zhang" if number % 2 else "user/li",
        action="session.open",
        resource=f"camera/3606020011132200000{number % 3}",
        result="ok",
        purpose_kind="patrol",
        purpose_reference=AWKWARD[number % len(AWKWARD)],
        detail_json='{"a": 1}',
    )


@pytest.fixture
async def filled(audit: AuditLog, store: Store, clock, monkeypatch: pytest.MonkeyPatch) -> AuditLog:
    """25 entries a minute apart, a checkpoint at every tenth, read in stretches of 4."""
    monkeypatch.setattr(export, "_STRETCH", 4)
    for number in range(25):
        await audit.record([record(number)])
        clock.advance(60)
        if number % 10 == 9:
            await audit.checkpoint()
    return audit


async def exported(audit: AuditLog, file: Path, search: Search | None = None, *, format: str = "jsonl") -> Path:
    number = await audit.checkpoint()
    pem = audit.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    told: list[tuple[int, int]] = []
    with file.open("wb") as target:
        written = export.write(
            target,
            audit._store.path,
            export.Source("yingtan", pem, number),
            search or Search(),
            format=format,
            told=lambda done, total: told.append((done, total)),
        )
        signature = await audit.seal_export(AuditRecord("system", "audit.export", "hub/yingtan"), written.sha256)
        export.seal(target, written, signature, format=format)
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    return file


@pytest.mark.parametrize("format", ["jsonl", "csv"])
async def test_the_whole_register_is_proved_by_the_file_alone(filled: AuditLog, tmp_path: Path, format: str) -> None:
    file = await exported(filled, tmp_path / "register", format=format)
    proof = prove(file, key_sha256=key_digest(filled.public_key).upper())
    assert (proof.verdict.intact, proof.verdict.entries, proof.verdict.chains) == (True, 25, 1), proof
    assert (proof.is_whole, proof.checkpoints, proof.hub_id, proof.filters) == (True, 4, "yingtan", {})


async def test_csv_is_for_spreadsheets_and_loses_nothing(filled: AuditLog, tmp_path: Path) -> None:
    data = (await exported(filled, tmp_path / "register.csv", format="csv")).read_bytes()
    assert data.startswith(b"\xef\xbb\xbfkind,chain_id,seq,time,")
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert [row["kind"] for row in rows] == ["header", *["entry"] * 25, *["checkpoint"] * 4, "seal"]
    references = [row["purpose_reference"] for row in rows if row["kind"] == "entry"]
    assert not any(text.startswith(("=", "+", "-", "@", "\t", "\r")) for text in references)
    assert references[:3] == ["'=1+1", "''=1", "''"]
    assert "two\nlines" in references


async def test_a_search_is_proved_entry_by_entry(filled: AuditLog, tmp_path: Path, clock) -> None:
    search = Search(principal="user/li", start=clock.time - timedelta(minutes=20))
    file = await exported(filled, tmp_path / "li.jsonl", search)
    proof = prove(file)
    assert (proof.verdict.intact, proof.verdict.entries, proof.is_whole, proof.checkpoints) == (True, 10, False, 1)
    assert proof.filters == {"principal": "user/li", "from": "2026-11-23T08:05:00.000000Z"}
    assert {json.loads(line)["principal"] for line in file.read_text().splitlines()[1:-2]} == {"user/li"}


async def test_a_time_takes_the_checkpoints_of_that_time_along(filled: AuditLog, tmp_path: Path, clock) -> None:
    search = Search(start=clock.time - timedelta(minutes=16), end=clock.time - timedelta(minutes=4))
    proof = prove(await exported(filled, tmp_path / "hour.jsonl", search))
    assert (proof.verdict.intact, proof.verdict.entries, proof.checkpoints) == (True, 12, 2)


@pytest.mark.parametrize("format", ["jsonl", "csv"])
@pytest.mark.parametrize("search", [Search(), Search(principal="user/li")], ids=["whole", "search"])
async def test_no_octet_can_be_changed_or_left_out(
    filled: AuditLog, tmp_path: Path, format: str, search: Search
) -> None:
    file = await exported(filled, tmp_path / "register", search, format=format)
    key = key_digest(filled.public_key)
    whole = file.read_bytes()

    def complaint(data: bytes) -> str:
        file.write_bytes(data)
        try:
            return prove(file, key_sha256=key).verdict.reason
        except InvalidArgument as error:
            return error.reason

    assert complaint(whole) == ""
    for place in range(0, len(whole) - 3, max(1, len(whole) // 60)):
        assert complaint(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    lines = whole.splitlines(keepends=True)
    for place in range(len(lines)):
        assert complaint(b"".join(lines[:place] + lines[place + 1 :])), place
    # The seal signs what is before its own line, so each octet of that is looked at.
    end = len(whole.rstrip(b"\r\n"))
    for place in range(len(whole) - len(lines[-1]), end):
        other = whole[place] ^ (0x20 if chr(whole[place]).isalpha() else 1)
        assert complaint(whole[:place] + bytes([other]) + whole[place + 1 :]), whole[place:]
    assert complaint(b"".join(lines[:-1])) == "it has no seal: it was cut short"
    assert complaint(whole + lines[1])
    assert complaint(b"") == "EXPORT_INVALID"


async def test_who_forges_an_entry_has_to_sign_with_another_key(filled: AuditLog, tmp_path: Path) -> None:
    """The seal made anew by a stranger is found by the key, and what it seals by the checkpoints."""
    file = await exported(filled, tmp_path / "register.jsonl")
    own, stranger = key_digest(filled.public_key), Ed25519PrivateKey.generate()
    lines = file.read_bytes().replace(b"user/zhang", b"user/chang").splitlines(keepends=True)
    header = json.loads(lines[0])
    pem = stranger.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    lines[0] = json.dumps({**header, "public_key_pem": pem}).encode() + b"\n"
    reseal(file, lines, stranger)
    assert prove(file, key_sha256=own).verdict.reason == "it is sealed by another key than the one that was given"
    assert prove(file).key_sha256 != own
    assert prove(file).verdict.reason == "checkpoint 1 was altered: its signature does not fit"
    # Whoever has the hub's key, and forgot the hashes.
    lines[0] = json.dumps(header).encode() + b"\n"
    reseal(file, lines, filled._key)
    verdict = prove(file, key_sha256=own).verdict
    assert (verdict.first_bad or ("", 0))[1] == 2
    assert verdict.reason == "this entry was altered: its hash does not fit"


def reseal(file: Path, lines: list[bytes], key: Ed25519PrivateKey) -> None:
    digest = hashlib.sha256(b"".join(lines[:-1])).digest()
    signature = key.sign(export.seal_bytes(digest)).hex()
    seal = {**json.loads(lines[-1]), "sha256": digest.hex(), "signature": signature}
    file.write_bytes(b"".join(lines[:-1]) + json.dumps(seal, separators=(",", ":")).encode())


async def test_nothing_is_written_into_the_seal(filled: AuditLog, tmp_path: Path) -> None:
    """A spreadsheet shows what stands in the cells beside it, and a program whatever it finds there."""
    file = await exported(filled, tmp_path / "register.csv", format="csv")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"\r\nseal,,,,,", b"\r\nseal,,,,user/zhang,"))
    assert prove(file).verdict.reason == "it was altered: the seal does not fit"
    file = await exported(filled, tmp_path / "register.jsonl")
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'{"kind":"seal",', b'{"kind":"seal","note":"approved",'))
    assert prove(file).verdict.reason == "it was altered: the seal does not fit"


async def test_chains_stand_in_the_order_in_which_they_began(
    filled: AuditLog, store: Store, key: Ed25519PrivateKey, clock, tmp_path: Path
) -> None:
    await store.write(lambda conn: conn.exec_driver_sql("DELETE FROM meta WHERE key = 'audit_chain'"))
    second = await AuditLog.open(store, key, clock=clock)
    await second.record([record(1)])
    file = await exported(second, tmp_path / "two.jsonl")
    entries = [one for one in map(json.loads, file.read_text().splitlines()) if one["kind"] == "entry"]
    assert [one["chain_id"] for one in entries] == [filled.chain_id] * 25 + [second.chain_id]
    assert prove(file).verdict.chains == 2


async def test_a_register_that_no_hub_wrote_is_named(filled: AuditLog, store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(store.path)) as behind:
        behind.execute("DROP TRIGGER audit_entries_refuses_update")
        behind.execute("UPDATE audit_entries SET time = 'now' WHERE seq = 3")
        behind.commit()
    with pytest.raises(FailedPrecondition, match="REGISTER_BROKEN"):
        await exported(filled, tmp_path / "register.jsonl")
