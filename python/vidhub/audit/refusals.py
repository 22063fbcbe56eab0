"""Keeps floods of refusals from filling the disk: per reason, address and minute a few that differ, then one count."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import structlog

from vidhub.errors import VidhubError
from vidhub.model import AuditRecord

# Distinct (reason, address, minute) kept at once; past it addresses are counted together, per reason.
MAX_KEYS = 4_096
# Refusals that differ in who, what or how have entries of their own, so many of one key; the others are counted.
MAX_APART = 8
# The same of one linked hub: it speaks for many people, and says itself what their addresses are.
MAX_APART_OF_HUB = 128
_MAX_WAITING = 3 * MAX_KEYS
_MANY = "many addresses"

log = structlog.get_logger(__name__)

_Key = tuple[str, str, int]


@dataclasses.dataclass(slots=True)
class _Count:
    first: AuditRecord
    more: int = 0
    apart: set[int] = dataclasses.field(default_factory=set)


class Refusals:
    """Lives on the event loop. `write` makes records durable."""

    def __init__(
        self, write: Callable[[Sequence[AuditRecord]], Awaitable[None]], clock: Callable[[], datetime]
    ) -> None:
        self._write = write
        self._clock = clock
        self._counts: dict[_Key, _Count] = {}
        self._waiting: list[AuditRecord] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, record: AuditRecord, *, hub_id: str = "") -> None:
        """hub_id: the linked hub by which it came; counted together then, whatever the addresses."""
        minute = int(self._clock().timestamp()) // 60
        self._fold(before=minute)
        key: _Key = (record.result, f"hub/{hub_id}" if hub_id else record.source_address, minute)
        most = MAX_APART_OF_HUB if hub_id else MAX_APART
        if key not in self._counts and len(self._counts) >= MAX_KEYS:
            record = dataclasses.replace(record, source_address=_MANY)
            key, most = (record.result, _MANY, minute), 1
        count = self._counts.setdefault(key, _Count(record))
        what = hash((record.principal, record.action, record.resource, record.detail_json))
        if what in count.apart or len(count.apart) >= most:
            count.more += 1
            return
        count.apart.add(what)
        self._enqueue(record)

    async def flush(self, *, everything: bool = False) -> None:
        """Write out the counts of minutes that are over; of this one too with `everything`."""
        minute = int(self._clock().timestamp()) // 60
        self._fold(before=minute + 1 if everything else minute)
        while self._task is not None:
            await self._task

    def _fold(self, before: int) -> None:
        for key in [k for k in self._counts if k[2] < before]:
            count = self._counts.pop(key)
            if count.more:
                detail = json.dumps({"folded": count.more, "minute": key[2] * 60})
                self._enqueue(dataclasses.replace(count.first, session_id="", detail_json=detail))

    def _enqueue(self, record: AuditRecord) -> None:
        if len(self._waiting) >= _MAX_WAITING:
            log.error("refusals lost from the record", reason=record.result)
            return
        self._waiting.append(record)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        """One at a time, so that a flood takes one place in the writer's queue."""
        try:
            while self._waiting:
                records, self._waiting = self._waiting, []
                try:
                    await self._write(records)
                except VidhubError as error:  # nothing was allowed, so nothing is unrecorded but the attempt
                    log.error("refusals not recorded", count=len(records), reason=error.reason)
        finally:
            self._task = None
