"""Rows in bulk: however many there are, each is written once."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from vidhub.store import Store, bulk


@pytest.mark.parametrize("count", [0, 1, 49, 50, 199, 200, 451])
async def test_any_number_of_rows_goes_in_once_and_in_order(store: Store, count: int) -> None:
    values = [value for number in range(count) for value in (f"name{number}", number)]

    def work(conn: Connection) -> list[tuple[str, int]]:
        bulk.insert(conn, "INSERT INTO counters (name, value) VALUES", "(?1 || ?, ?)", values, ("bulk/",))
        rows = conn.exec_driver_sql("SELECT name, value FROM counters WHERE name LIKE 'bulk/%' ORDER BY rowid")
        return [(row[0], row[1]) for row in rows]

    assert await store.write(work) == [(f"bulk/name{number}", number) for number in range(count)]
