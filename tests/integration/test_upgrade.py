"""A data directory of the first release, whose schema was 0001, under this one: nothing is lost, and it works on.

What stands in it is real: a hub of today wrote it, and its rows were put into a database of that schema.
"""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine
from support.cameras import gst_camera, make_clip
from support.hub import PASSWORD, Ended, hub, person
from support.site import HERE, Site, opened, site

from vidhub.store.engine import known_schemas, migrations

FIRST = "0001"
# What a hub that starts writes anew; of the others no row changes.
MOVES_ON = ("meta", "counters", "changes", "logins", "refresh_tokens", "sessions")
_Rows = dict[str, list[tuple[object, ...]]]


def make_first(path: Path, modern: Path) -> _Rows:
    """A database of the first schema with what `modern` holds of it; its rows by table, in the order of its columns."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as conn:
        config = migrations()
        config.attributes["connection"] = conn
        command.upgrade(config, FIRST)
    engine.dispose()
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.execute("PRAGMA journal_mode=WAL")
        conn.execute("ATTACH ? AS modern", (str(modern),))
        for table, columns in _tables(conn).items():
            conn.execute(f"DELETE FROM main.{table}")
            conn.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM modern.{table}")
        return rows(conn, _tables(conn))


def _tables(conn: sqlite3.Connection) -> dict[str, str]:
    """Columns of each table."""
    names = [name for (name,) in conn.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")]
    return {
        name: ", ".join(f'"{row[1]}"' for row in conn.execute(f"PRAGMA main.table_info({name})"))
        for name in names
        if name != "alembic_version" and not name.startswith("sqlite_")
    }


def rows(conn: sqlite3.Connection, tables: dict[str, str]) -> _Rows:
    return {
        table: sorted(conn.execute(f"SELECT {columns} FROM main.{table}"), key=repr)
        for table, columns in tables.items()
    }


async def test_a_hub_of_the_first_schema_goes_on_as_it_was(tmp_path: Path) -> None:
    data = tmp_path / "data"
    clip = make_clip(tmp_path / "clip.h264", seconds=2, fps=15)
    async with gst_camera(clip=str(clip)) as camera:
        async with site(data) as place:
            identifier = await place.register(1, camera.url, username="admin", password="hunter22#")
            await place.operator()
            async with person(place.running, "zhang") as caller:
                await opened(caller, identifier)
            await place.running.end()
        database = data / "vidhub.db"
        modern = database.rename(tmp_path / "modern.db")
        first = make_first(database, modern)
        for table in ("cameras", "grants", "users", "units", "sessions", "audit_entries", "certificates"):
            assert first[table], f"nothing of {table} would be proved"
        with closing(sqlite3.connect(database)) as conn:
            columns = _tables(conn)
        async with hub(data, **HERE) as running:
            with closing(sqlite3.connect(database)) as conn:
                assert conn.execute("SELECT version_num FROM alembic_version").fetchone() == (known_schemas()[0],)
                now = rows(conn, columns)
            for table, held in first.items():
                if table in MOVES_ON:
                    assert len(now[table]) >= len(held), table
                else:
                    assert set(held) <= set(now[table]), table
            assert (await running.ask("camera_show", id=identifier))["name"] == "东门1"
            assert (await running.ask("audit_verify"))["intact"]
            async with person(running, "zhang", PASSWORD) as caller:
                assert (await opened(caller, identifier))["session"]["cameraId"] == identifier
            # The camera's password is read by the key that wrote it.
            await Site(running, place.unit).until_state(identifier, "ONLINE")
            assert await running.end() == 0


async def test_a_hub_of_a_newer_release_is_refused_by_name_and_left_as_it_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with hub(data) as running:
        assert await running.end() == 0
    database = data / "vidhub.db"
    with closing(sqlite3.connect(database)) as conn, conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
    before = database.read_bytes()
    with pytest.raises(Ended) as ended:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(hub(data))
    assert ended.value.status == 1
    assert "STORE_NEWER" in ended.value.said
    assert "newer release" in ended.value.said
    assert database.read_bytes() == before
