"""Bulk work gives way to what people wait for, and is never kept from getting on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vidhub import turns
from vidhub.store import Store, writer
from vidhub.turns import Turns


async def test_a_piece_waits_until_nobody_does() -> None:
    here = Turns()
    done: list[str] = []

    async def bulk() -> None:
        await here.give_way()
        done.append("bulk")

    with here.interactive(), here.interactive():
        assert here.is_busy
        task = asyncio.create_task(bulk())
        for _ in range(5):
            await asyncio.sleep(0)
        assert done == []
    await task
    assert not here.is_busy
    async with asyncio.timeout(30):
        await here.give_way()


async def test_it_gets_on_though_somebody_always_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", 0.01)
    here = Turns()
    with here.interactive():
        async with asyncio.timeout(30):
            await here.give_way()


async def test_a_call_that_fails_is_over_too() -> None:
    here = Turns()
    with pytest.raises(ValueError, match="no"), here.interactive():
        raise ValueError("no")
    assert not here.is_busy


async def test_bulk_writes_are_not_begun_while_somebody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_BULK_PATIENCE_S", 60.0)
    store = await Store.open(f"sqlite:///{tmp_path}/vidhub.db")
    order: list[str] = []
    try:
        async with asyncio.timeout(30):
            with store.turns.interactive():
                bulk = asyncio.create_task(store.write(lambda _: order.append("bulk"), bulk=True))
                await asyncio.sleep(0)
                for _ in range(3):
                    await store.write(lambda _: order.append("interactive"))
                assert order == ["interactive"] * 3
            await bulk
    finally:
        await store.close()
    assert order[-1] == "bulk"


async def test_bulk_writes_get_on_though_somebody_always_waits(tmp_path: Path) -> None:
    store = await Store.open(f"sqlite:///{tmp_path}/vidhub.db")
    try:
        async with asyncio.timeout(30):
            with store.turns.interactive():
                await store.write(lambda _: None, bulk=True)
    finally:
        await store.close()
