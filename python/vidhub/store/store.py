"""The facade: reads in a few threads, writes through the one writer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from vidhub.errors import ResourceExhausted, Unavailable, VidhubError
from vidhub.store import changes, origin, purposes, regions
from vidhub.store.engine import create_file, database_path, make_engine, migrate, translated
from vidhub.store.writer import Participant, Writer
from vidhub.turns import Turns

T = TypeVar("T")

_MAX_READS = 1_024


class Store:
    """The truth of the hub. Works are plain functions of a Connection; the modules beside this one hold the nouns."""

    def __init__(self, path: Path, writer_engine: Engine, reader_engine: Engine, readers: int) -> None:
        self.path = path
        self._writer_engine = writer_engine
        self._reader_engine = reader_engine
        self.turns = Turns()
        self._writer = Writer(writer_engine, self.turns)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="vidhub-reader")
        self._reading = 0
        self._closed = False

    @classmethod
    async def open(cls, url: str, *, readers: int = 2, busy_timeout_s: float = 5.0) -> Store:
        """Open, migrate and seed. url: sqlite:///PATH. Raises Unavailable STORE_UNAVAILABLE or STORE_CORRUPT,
        FailedPrecondition STORE_NEWER, InvalidArgument STORE_URL."""
        path = database_path(url)
        return await asyncio.to_thread(cls._open, path, readers, busy_timeout_s)

    @classmethod
    def _open(cls, path: Path, readers: int, busy_timeout_s: float) -> Store:
        create_file(path)
        writer = make_engine(path, mode="write", connections=1, busy_timeout_s=busy_timeout_s)
        reader = make_engine(path, mode="read", connections=readers, busy_timeout_s=busy_timeout_s)
        try:
            migrate(writer)
            with writer.begin() as conn:
                word = _prepare(conn, path)
            origin.settled(path, word)
        except BaseException as error:
            writer.dispose()
            reader.dispose()
            told = translated(error)
            if told is error:
                raise
            raise told from error
        return cls(path, writer, reader, readers)

    async def close(self) -> None:
        """Finish what waits, then let go of the file. Idempotent."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._readers.shutdown()
        self._reader_engine.dispose()
        self._writer_engine.dispose()  # the last connection: SQLite folds the log into the file

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a reader thread; it sees one state of the store throughout."""
        if self._closed:
            raise Unavailable("HUB_DRAINING", "the hub is stopping: try again when it is back")
        if self._reading >= _MAX_READS:
            raise ResourceExhausted("LIMIT_READS", f"{_MAX_READS} reads are waiting: try again in a moment")
        self._reading += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)
        finally:
            self._reading -= 1

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            with self._reader_engine.connect() as conn:
                return work(conn)
        except DBAPIError as error:
            told = translated(error)
            if told is error:
                raise
            raise told from error

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        bulk: bool = False,
        apply: Callable[[T], None] | None = None,
    ) -> T:
        """Run `work` in the writer and return its result once that is durable.

        `work` must not commit, and touches nothing but the connection: it may be undone. A bulk work holds at most
        200 rows, so that interactive work gets in between. `apply` is called on the event loop after the commit, in
        the order of commits, before the caller goes on.
        Raises what `work` raised, Unavailable STORE_UNAVAILABLE by disk or lock, ResourceExhausted LIMIT_WRITES.
        """
        result: Any = await self._writer.submit(work, bulk=bulk, apply=apply)
        return result  # type: ignore[no-any-return]

    def on_trouble(self, listener: Callable[[VidhubError | None], None]) -> None:
        """Calls `listener` on the running loop when the store begins to refuse writes, and with None when it takes
        them again."""
        loop = asyncio.get_running_loop()

        def tell(error: VidhubError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(listener, error)

        self._writer.on_trouble(tell)

    def join_transactions(self, participant: Participant) -> None:
        """Let state in memory move with the writer's transactions."""
        self._writer.join_transactions(participant)


def _prepare(conn: Connection, path: Path) -> str:
    word = origin.settle(conn, path)
    regions.seed(conn)
    purposes.seed(conn)
    changes.trim(conn)
    return word
