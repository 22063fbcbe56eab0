"""The single writer: what waits commits together, what fails fails alone, and it outlives its disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest
from sqlalchemy import Connection, event

from vidhub.errors import Aborted, Internal, ResourceExhausted, Unavailable
from vidhub.store import Store, meta, writer


@asynccontextmanager
async def held_up(store: Store) -> AsyncIterator[None]:
    """Keeps the writer inside a work, so that what is submitted meanwhile waits together."""
    entered, leave = threading.Event(), threading.Event()

    def work(_conn: Connection) -> None:
        entered.set()
        leave.wait()

    blocker = asyncio.create_task(store.write(work))
    await asyncio.to_thread(entered.wait)
    try:
        yield
    finally:
        leave.set()
        await blocker


def put(key: str, value: str = "1") -> Callable[[Connection], str]:
    def work(conn: Connection) -> str:
        meta.put(conn, key, value)
        return key

    return work


def fail(error: Exception) -> Callable[[Connection], Any]:
    def work(conn: Connection) -> None:
        meta.put(conn, "half", "done")
        raise error

    return work


async def started(*tasks: asyncio.Task[Any]) -> None:
    """Let fresh tasks run up to their first await, where their work is queued."""
    await asyncio.sleep(0)


async def test_what_waits_commits_together(store: Store) -> None:
    commits = []
    event.listen(store._writer_engine, "commit", commits.append)
    async with held_up(store):
        tasks = [asyncio.create_task(store.write(put(f"k{i}"))) for i in range(50)]
        await started(*tasks)
    assert await asyncio.gather(*tasks) == [f"k{i}" for i in range(50)]
    assert len(commits) == 1, "the one that held the writer and the fifty that waited are one transaction"


async def test_a_failing_work_is_undone_alone(store: Store) -> None:
    async with held_up(store):
        tasks = [
            asyncio.create_task(store.write(work))
            for work in (put("before"), fail(Aborted("VERSION", "read again")), put("after"))
        ]
        await started(*tasks)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[0] == "before"
    assert isinstance(results[1], Aborted)
    assert results[2] == "after"
    kept = await store.read(lambda conn: [meta.get(conn, k) for k in ("before", "half", "after")])
    assert kept == ["1", "", "1"]


async def test_a_work_that_breaks_a_rule_of_the_tables_is_undone_alone(store: Store) -> None:
    def breaks(conn: Connection) -> None:
        meta.put(conn, "half", "done")
        conn.exec_driver_sql(
            "INSERT INTO logins (id, user_id, create_time, expire_time, revoke_reason) VALUES (?, ?, ?, ?, '')",
            ("l", "nobody", 1, 2),
        )

    with pytest.raises(Exception, match="FOREIGN KEY"):
        await store.write(breaks)
    assert await store.write(put("after")) == "after"
    assert await store.read(lambda conn: meta.get(conn, "half")) == ""


async def test_interactive_goes_before_bulk_and_neither_starves(store: Store) -> None:
    order: list[str] = []

    def note(name: str) -> Callable[[Connection], None]:
        return lambda _conn: order.append(name)

    async with held_up(store):
        tasks = [asyncio.create_task(store.write(note(f"bulk{i}"), bulk=True)) for i in range(3)]
        tasks += [asyncio.create_task(store.write(note(f"quick{i}"))) for i in range(3)]
        await started(*tasks)
    await asyncio.gather(*tasks)
    assert order == ["quick0", "quick1", "quick2", "bulk0", "bulk1", "bulk2"]


@pytest.mark.parametrize("is_waited_for", [True, False])
async def test_bulk_works_share_a_commit_unless_somebody_waits_for_an_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch, is_waited_for: bool
) -> None:
    monkeypatch.setattr(writer, "_BULK_BUDGET_S", 60.0)
    monkeypatch.setattr(writer, "_BULK_PATIENCE_S", 0.0)
    order: list[str] = []
    with store.turns.interactive() if is_waited_for else nullcontext():
        async with held_up(store):
            tasks = [asyncio.create_task(store.write(lambda _: order.append("bulk"), bulk=True)) for _ in range(3)]
            await started(*tasks)
            event.listen(store._writer_engine, "commit", lambda _: order.append("commit"))
        await asyncio.gather(*tasks)
    assert order[0] == "commit"  # of what held the writer up
    assert order[1:] == (["bulk", "commit"] * 3 if is_waited_for else [*["bulk"] * 3, "commit"])


async def test_interactive_work_gets_in_between_bulk_works(store: Store) -> None:
    order: list[str] = []
    loop = asyncio.get_running_loop()
    entered = threading.Event()
    leave = threading.Event()

    def first(_conn: Connection) -> None:
        order.append("bulk0")
        entered.set()
        leave.wait()

    tasks = [asyncio.create_task(store.write(first, bulk=True))]
    tasks += [
        asyncio.create_task(store.write(lambda _conn, i=i: order.append(f"bulk{i}"), bulk=True)) for i in range(1, 4)
    ]
    await started(*tasks)
    await loop.run_in_executor(None, entered.wait)
    tasks.append(asyncio.create_task(store.write(lambda _conn: order.append("quick"))))
    await started(*tasks)
    leave.set()
    await asyncio.gather(*tasks)
    assert order.index("quick") == 1


async def test_results_are_applied_in_the_order_of_commits_before_callers_go_on(store: Store) -> None:
    seen: list[tuple[str, str]] = []

    async def caller(name: str) -> None:
        await store.write(put(name), apply=lambda result: seen.append(("applied", result)))
        seen.append(("resumed", name))

    async with held_up(store):
        tasks = [asyncio.create_task(caller(f"k{i}")) for i in range(5)]
        await started(*tasks)
    await asyncio.gather(*tasks)
    assert [n for kind, n in seen if kind == "applied"] == [f"k{i}" for i in range(5)]
    for i in range(5):
        assert seen.index(("applied", f"k{i}")) < seen.index(("resumed", f"k{i}"))


async def test_a_durable_write_is_applied_even_when_its_caller_has_gone(store: Store) -> None:
    applied: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def work(conn: Connection) -> str:
        entered.set()
        leave.wait()
        return put("kept")(conn)

    task = asyncio.create_task(store.write(work, apply=applied.append))
    await asyncio.to_thread(entered.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    leave.set()
    await store.write(put("next"))
    assert applied == ["kept"]


async def test_a_work_cancelled_before_it_began_is_not_done(store: Store) -> None:
    async with held_up(store):
        task = asyncio.create_task(store.write(put("never")))
        await started(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await store.write(put("next"))
    assert await store.read(lambda conn: meta.get(conn, "never")) == ""


async def test_an_apply_that_fails_is_told_and_hurts_no_other(store: Store) -> None:
    def apply(_result: str) -> None:
        raise Internal("CORE_FAILED", "the core failed")

    async with held_up(store):
        bad = asyncio.create_task(store.write(put("a"), apply=apply))
        good = asyncio.create_task(store.write(put("b")))
        await started(bad, good)
    with pytest.raises(Internal, match="CORE_FAILED"):
        await bad
    assert await good == "b"
    assert await store.read(lambda conn: meta.get(conn, "a")) == "1"


async def test_the_queue_is_bounded(store: Store) -> None:
    async with held_up(store):
        tasks = [asyncio.create_task(store.write(put("k"), bulk=True)) for _ in range(257)]
        await started(*tasks)
        with pytest.raises(ResourceExhausted, match="LIMIT_WRITES"):
            await tasks[-1]
    await asyncio.gather(*tasks[:-1])


async def test_a_locked_database_is_told_and_survived(store: Store) -> None:
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    results = await asyncio.gather(*(store.write(put(f"k{i}")) for i in range(20)), return_exceptions=True)
    assert {type(r) for r in results} == {Unavailable}
    assert {r.reason for r in results if isinstance(r, Unavailable)} == {"STORE_UNAVAILABLE"}
    other.execute("ROLLBACK")
    other.close()
    assert await store.write(put("after")) == "after"
    assert await store.read(lambda conn: meta.get(conn, "k0")) == ""


async def test_a_full_disk_is_told_and_survived_with_nothing_half_done(store: Store) -> None:
    def limit(pages: int) -> Callable[[Connection], int]:
        return lambda conn: int(conn.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar_one())

    def large(conn: Connection) -> None:
        meta.put(conn, "small", "first")
        for i in range(200):
            meta.put(conn, f"large{i}", "x" * 8_000)

    pages = await store.read(lambda conn: int(conn.exec_driver_sql("PRAGMA page_count").scalar_one()))
    await store.write(limit(pages + 10))
    results = await asyncio.gather(*(store.write(work) for work in (put("a"), large, put("b"))), return_exceptions=True)
    assert isinstance(results[1], Unavailable)
    assert results[1].reason == "STORE_UNAVAILABLE"
    assert "disk is full" in results[1].message
    kept = await store.read(lambda conn: [meta.get(conn, k) for k in ("a", "small", "large0", "b")])
    # Whoever was told "done" is there, whoever was told otherwise is not.
    assert kept == ["1" if results[0] == "a" else "", "", "", "1" if results[2] == "b" else ""]
    await store.write(limit(1_000_000))
    await store.write(large)
    assert await store.read(lambda conn: meta.get(conn, "small")) == "first"


async def test_state_in_memory_moves_with_the_transaction(store: Store) -> None:
    class Counter:
        value = durable = 0

        def mark(self) -> object:
            return self.value

        def restore(self, mark: object, /) -> None:
            assert isinstance(mark, int)
            self.value = mark

        def committed(self) -> None:
            self.durable = self.value

    counter = Counter()
    store.join_transactions(counter)

    def count(error: Exception | None = None) -> Callable[[Connection], None]:
        def work(_conn: Connection) -> None:
            counter.value += 1
            if error is not None:
                raise error

        return work

    async with held_up(store):
        tasks = [asyncio.create_task(store.write(count(e))) for e in (None, Aborted("X", "x"), None)]
        await started(*tasks)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (counter.value, counter.durable) == (2, 2)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        await store.write(count())
    other.execute("ROLLBACK")
    other.close()
    assert (counter.value, counter.durable) == (2, 2)


async def test_nothing_is_taken_after_close_and_what_waited_is_finished(store: Store) -> None:
    async with held_up(store):
        waiting = asyncio.create_task(store.write(put("waited")))
        await started(waiting)
    await store.close()
    assert await waiting == "waited"
    with pytest.raises(Unavailable, match="HUB_DRAINING"):
        await store.write(put("late"))
    with pytest.raises(Unavailable, match="HUB_DRAINING"):
        await store.read(meta.epoch)
    await store.close()
