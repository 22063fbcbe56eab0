"""Many rows at once: tuples straight to the driver, which is several times faster than compiled statements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

from sqlalchemy import Connection, Table


@cache
def _statement(table: Table, keep: tuple[str, ...]) -> str:
    names = [c.name for c in table.columns]
    key = [c.name for c in table.primary_key.columns]
    sets = ", ".join(f"{n} = excluded.{n}" for n in names if n not in key and n not in keep)
    marks = ", ".join("?" for _ in names)
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sets}"
    )


def upsert(conn: Connection, table: Table, rows: Sequence[tuple[object, ...]], *, keep: Iterable[str] = ()) -> None:
    """Insert or replace whole rows, in the order of the table's columns; columns in `keep` stay as they were."""
    if rows:
        conn.exec_driver_sql(_statement(table, tuple(keep)), list(rows))
