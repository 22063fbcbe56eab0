"""The single writer: one thread, one connection, everything that waits committed together.

Each work runs under a savepoint, so one that fails is undone alone. Interactive work goes first; bulk work is taken
only while nothing interactive waits, and after each round of interactive work at least one bulk work gets its turn,
so neither starves. Results reach the event loop in the order of their commits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from sqlalchemy import Connection, Engine

from vidhub.errors import Internal, ResourceExhausted, Unavailable, VidhubError
from vidhub.store.engine import describe, is_environmental, translated
from vidhub.turns import Turns

_MAX_INTERACTIVE = 4_096
_MAX_BULK = 256
_GROUP = 512
_BULK_BUDGET_S = 0.02
# Bulk work is not begun while people wait for answers, but for so long at most; meanwhile we look so often.
_BULK_PATIENCE_S = 0.02
_LOOK_S = 0.002

log = structlog.get_logger(__name__)

Work = Callable[[Connection], Any]
Apply = Callable[[Any], None]


class Participant(Protocol):
    """State in memory that moves with the transaction, such as the head of the audit chain; called in the writer."""

    def mark(self) -> object:
        """What is now, to come back to."""

    def restore(self, mark: object, /) -> None:
        """Undo: back to `mark`."""

    def committed(self) -> None:
        """What is now is durable."""


@dataclass(slots=True, eq=False)
class _Job:
    work: Work
    apply: Apply | None
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: BaseException | None = field(default=None)


class Writer:
    """Owns the writing connection and its thread."""

    def __init__(self, engine: Engine, turns: Turns) -> None:
        self._engine = engine
        self._turns = turns
        self._interactive: deque[_Job] = deque()
        self._bulk: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._participants: list[Participant] = []
        # Transactions in a row that disk, lock or file have broken.
        self._failures = 0
        self._told: Callable[[VidhubError | None], None] | None = None
        self._thread = threading.Thread(target=self._run, name="vidhub-writer", daemon=True)
        self._thread.start()

    def join_transactions(self, participant: Participant) -> None:
        self._participants.append(participant)

    def on_trouble(self, listener: Callable[[VidhubError | None], None]) -> None:
        """`listener` is called in the writer's thread: at the first transaction that is lost, and with None when one
        has gone well again."""
        self._told = listener

    def submit(self, work: Work, *, bulk: bool, apply: Apply | None) -> asyncio.Future[Any]:
        """Queue a work from a task of the running loop; the future ends when it is durable and applied, or failed."""
        loop = asyncio.get_running_loop()
        job = _Job(work, apply, loop.create_future(), loop)
        with self._wake:
            if self._closing:
                raise Unavailable("HUB_DRAINING", "the hub is stopping: try again when it is back")
            queue, limit = (self._bulk, _MAX_BULK) if bulk else (self._interactive, _MAX_INTERACTIVE)
            if len(queue) >= limit:
                raise ResourceExhausted("LIMIT_WRITES", f"{limit} writes are waiting: try again in a moment")
            queue.append(job)
            self._wake.notify()
        return job.future

    def close(self) -> None:
        """Take no more, finish what waits, end the thread. Blocks; idempotent."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._interactive or self._bulk or self._closing):
                    self._wake.wait()
                if not (self._interactive or self._bulk):
                    return
            self._round(self._take_interactive())
            self._let_pass()
            self._round(self._take_bulk())

    def _let_pass(self) -> None:
        until = time.monotonic() + _BULK_PATIENCE_S
        while self._bulk and self._turns.is_busy and not self._closing and time.monotonic() < until:
            with self._wake:
                if not self._interactive:
                    self._wake.wait(_LOOK_S)
            self._round(self._take_interactive())

    def _take_interactive(self) -> Callable[[], _Job | None]:
        left = _GROUP

        def take() -> _Job | None:
            nonlocal left
            with self._wake:
                if left == 0 or not self._interactive:
                    return None
                left -= 1
                return self._interactive.popleft()

        return take

    def _take_bulk(self) -> Callable[[], _Job | None]:
        until = time.monotonic() + _BULK_BUDGET_S
        first = True

        def take() -> _Job | None:
            nonlocal first
            with self._wake:
                # Whoever waits for an answer and has queued nothing yet is about to: a second work would be in the way.
                goes_on = first or not (self._interactive or self._turns.is_busy or time.monotonic() >= until)
                if not self._bulk or not goes_on:
                    return None
                first = False
                return self._bulk.popleft()

        return take

    def _round(self, take: Callable[[], _Job | None]) -> None:
        """Run works until there is none left to take; more than one transaction only when the store broke one."""
        while (job := take()) is not None:
            done: list[_Job] = []
            marks = [p.mark() for p in self._participants]
            try:
                with self._engine.connect() as conn, conn.begin():
                    while job is not None:
                        done.append(job)
                        if not self._attempt(conn, job):
                            raise job.error or Internal("STORE_BROKEN", "a transaction was lost")
                        job = take()
            except BaseException as error:  # the thread must outlive whatever a work or the disk does
                for participant, mark in zip(self._participants, marks, strict=True):
                    participant.restore(mark)
                told = translated(error)
                log.error("writes undone", works=len(done), cause=describe(error))
                if isinstance(told, VidhubError):
                    self._tell(told)
                for undone in done:
                    if undone.error is None or is_environmental(undone.error):
                        undone.error = told if isinstance(told, VidhubError) else _internal(told)
                if not done:  # no transaction could begin: whoever waits is told now, not after a time-out each
                    while job is not None:
                        job.error = told if isinstance(told, VidhubError) else _internal(told)
                        done.append(job)
                        job = take()
            else:
                for participant in self._participants:
                    participant.committed()
                self._tell(None)
            _deliver(done)

    def _tell(self, error: VidhubError | None) -> None:
        failures, self._failures = self._failures, 0 if error is None else self._failures + 1
        if self._told is not None and (error is None) != (failures == 0):
            self._told(error)

    def _attempt(self, conn: Connection, job: _Job) -> bool:
        """Run one work under a savepoint; False when the whole transaction is gone."""
        if job.future.cancelled():  # nobody waits, nothing was begun
            job.error = CancelledError()
            return True
        marks = [p.mark() for p in self._participants]
        try:
            conn.exec_driver_sql("SAVEPOINT work")
            job.result = job.work(conn)
            conn.exec_driver_sql("RELEASE work")
        except BaseException as error:
            job.error = error
            try:
                conn.exec_driver_sql("ROLLBACK TO work")
                conn.exec_driver_sql("RELEASE work")
            except Exception:  # SQLite ends a transaction itself when the disk is full or fails
                return False
            for participant, mark in zip(self._participants, marks, strict=True):
                participant.restore(mark)
        return True


def _internal(cause: BaseException) -> Internal:
    error = Internal("STORE_FAILED", "the store failed: see the log of the hub")
    error.__cause__ = cause
    return error


def _deliver(jobs: list[_Job]) -> None:
    """Hand results to their loops, in order, in one wake-up each."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, group in by_loop.items():
        try:
            loop.call_soon_threadsafe(_finish, group)
        except RuntimeError:  # the loop is closed: durable all the same, and nobody is left to tell
            log.warning("nobody waits for these writes", works=len(group))


def _finish(jobs: list[_Job]) -> None:
    for job in jobs:
        error = job.error
        if error is None and job.apply is not None:
            try:
                job.apply(job.result)  # also when the caller has gone: it is durable
            except Exception as cause:
                log.error("a durable write could not be applied", cause=describe(cause))
                error = cause
        if job.future.done():
            continue
        if error is None:
            job.future.set_result(job.result)
        elif isinstance(error, CancelledError):
            job.future.cancel()
        else:
            told = translated(error)
            if told is not error:
                told.__cause__ = error
            job.future.set_exception(told)
