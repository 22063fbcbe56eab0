"""Opening, refusing to open, and what holds on every connection."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from vidhub.errors import FailedPrecondition, InvalidArgument, Unavailable
from vidhub.store import Store, changes, industries, meta, purposes, regions
from vidhub.store.engine import translated
from vidhub.store.regions import RegionTable
from vidhub.store.tables import metadata


async def test_every_connection_is_durable_and_checks_keys(store: Store) -> None:
    def pragmas(conn: Connection) -> list[int]:
        return [conn.exec_driver_sql(f"PRAGMA {p}").scalar_one() for p in ("synchronous", "foreign_keys")]

    assert await store.write(pragmas) == [2, 1]
    assert await store.read(pragmas) == [2, 1]
    assert await store.read(lambda c: c.exec_driver_sql("PRAGMA journal_mode").scalar_one()) == "wal"


async def test_readers_cannot_write(store: Store) -> None:
    with pytest.raises(Unavailable, match="may not be written"):
        await store.read(lambda conn: meta.put(conn, "k", "v"))


async def test_a_reader_sees_one_state_throughout(store: Store) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def reader(conn: Connection) -> tuple[str, str]:
        first = meta.get(conn, "k")
        begun.set()
        go_on.wait()
        return first, meta.get(conn, "k")

    task = asyncio.create_task(store.read(reader))
    await asyncio.to_thread(begun.wait)
    await store.write(lambda conn: meta.put(conn, "k", "new"))
    go_on.set()
    assert await task == ("", "")


async def test_the_file_is_for_its_owner_alone(store: Store) -> None:
    await store.write(lambda conn: meta.put(conn, "k", "v"))
    for path in store.path.parent.glob("vidhub.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


async def test_the_migrations_build_the_tables_of_tables_py(store: Store) -> None:
    def differences(conn: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(conn), metadata))

    assert [d for d in await store.read(differences) if "alembic_version" not in str(d)] == []


async def test_it_opens_again_with_what_it_held(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a folder/vidhub.db"
    store = await Store.open(url)
    epoch = await store.read(meta.epoch)
    await store.write(lambda conn: meta.next_revision(conn, 3))
    await store.close()
    store = await Store.open(url)
    revision = await store.read(meta.revision)
    assert (revision.epoch, revision.number) == (epoch, 3)
    await store.close()


async def test_a_database_put_back_from_a_copy_starts_a_new_epoch(tmp_path: Path) -> None:
    path = tmp_path / "vidhub.db"

    async def run() -> str:
        store = await Store.open(f"sqlite:///{path}")
        await store.write(lambda conn: changes.append(conn, [(meta.next_revision(conn), "upserted", "c")]))
        epoch = await store.read(meta.epoch)
        await store.close()
        return epoch

    first = await run()
    copy = path.read_bytes()
    assert await run() == first
    path.write_bytes(copy)
    second = await run()
    assert second != first
    assert await run() == second
    # As after a kill between the file and the database: the file names both openings.
    mark = tmp_path / "vidhub.db.opened"
    mark.write_text(json.dumps(["never committed", *json.loads(mark.read_text())]))
    assert await run() == second
    mark.unlink()
    assert await run() != second, "moved without its file: nobody knows what was told before"


@pytest.mark.parametrize("url", ["postgresql://localhost/vidhub", "sqlite://", "sqlite:///:memory:", "nonsense"])
async def test_what_is_no_file_of_sqlite_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="STORE_URL"):
        await Store.open(url)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vidhub.db").write_bytes(b"this is no database at all, " * 100)
    with pytest.raises(Unavailable, match="STORE_CORRUPT"):
        await Store.open(f"sqlite:///{tmp_path}/vidhub.db")


@pytest.mark.parametrize("table", ["audit_entries", "audit_heads", "cameras"])
async def test_a_table_that_somebody_took_away_is_named(store: Store, table: str) -> None:
    """As one who tampers with the register might: `audit verify` and the doctor say so."""
    await store.write(lambda conn: conn.execute(text(f"DROP TABLE {table}")))
    with pytest.raises(Unavailable, match=table) as caught:
        await Store.open(f"sqlite:///{store.path}")
    assert caught.value.reason == "STORE_CORRUPT"


async def test_a_database_of_a_newer_release_is_refused(store: Store) -> None:
    await store.write(lambda conn: conn.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(FailedPrecondition, match="STORE_NEWER"):
        await Store.open(f"sqlite:///{store.path}")


def test_no_room_for_the_index_of_the_log_is_a_full_disk_and_no_bad_one() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    assert "the disk is full: free some space" in str(translated(error))
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
    assert "the disk fails: check it" in str(translated(error))


async def test_a_path_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="STORE_UNAVAILABLE"):
        await Store.open(f"sqlite:///{tmp_path}/file/vidhub.db")


async def test_a_locked_database_cannot_be_opened(store: Store) -> None:
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="STORE_UNAVAILABLE"):
        await Store.open(f"sqlite:///{store.path}", busy_timeout_s=0.05)
    other.close()


async def test_revisions_count_only_when_they_commit(store: Store) -> None:
    def fails(conn: Connection) -> None:
        meta.next_revision(conn, 10)
        raise RuntimeError("undone")

    assert await store.write(meta.next_revision) == 1
    with pytest.raises(RuntimeError):
        await store.write(fails)
    assert await store.write(lambda conn: meta.next_revision(conn, 5)) == 2
    assert await store.write(meta.next_revision) == 7
    assert (await store.read(meta.revision)).number == 7


async def test_counters_are_apart(store: Store) -> None:
    assert await store.write(lambda conn: meta.next_number(conn, "a", 2)) == 1
    assert await store.write(lambda conn: meta.next_number(conn, "b")) == 1
    assert await store.write(lambda conn: meta.next_number(conn, "a")) == 3


async def test_the_change_log_is_bounded_by_whole_revisions(store: Store) -> None:
    def work(conn: Connection) -> list[tuple[int, str, str]]:
        changes.append(conn, [(r, "upserted", f"c{i}") for r in range(1, 5) for i in range(3)])
        changes.append(conn, [(4, "removed", "c2")])
        changes.trim(conn, keep=4)
        return changes.load(conn)

    assert await store.write(work) == [(4, "upserted", "c0"), (4, "upserted", "c1"), (4, "removed", "c2")]


async def test_a_new_epoch_forgets_the_change_log(store: Store) -> None:
    def work(conn: Connection) -> bool:
        before = meta.epoch(conn)
        changes.append(conn, [(1, "upserted", "c")])
        return meta.new_epoch(conn) != before and changes.load(conn) == []

    assert await store.write(work)


async def test_clean_shutdown_is_remembered(store: Store) -> None:
    assert await store.read(meta.was_clean_shutdown)
    await store.write(lambda conn: meta.set_clean_shutdown(conn, False))
    assert not await store.read(meta.was_clean_shutdown)


async def test_regions_are_seeded_and_judged(store: Store) -> None:
    table = RegionTable(await store.read(regions.load))
    for code in ("360000", "360600", "360602", "360603", "360681", "360691", "360692", "360693", "110000", "110105"):
        assert table.knows(code), code
    for code in ("360699", "990000", "3606", "36060２", "abcdef", "", "3606022"):
        assert not table.knows(code), code
    yuehu = table.get("360602")
    assert yuehu is not None
    assert (yuehu.name, yuehu.parent_code) == ("月湖区", "360600")


def test_industries_are_those_of_the_standard() -> None:
    assert industries.knows("11")
    assert industries.knows("56")
    assert industries.knows("90")
    for code in ("15", "60", "9", "1", "", "１１"):
        assert not industries.knows(code), code


async def test_the_purposes_of_the_default_register_are_there(store: Store) -> None:
    found = await store.read(purposes.load)
    assert [p.kind for p in found] == [
        "patrol",
        "incident",
        "investigation",
        "traffic",
        "emergency",
        "safety",
        "maintenance",
    ]
    assert [p.kind for p in found if p.wants_reference] == ["investigation"]
