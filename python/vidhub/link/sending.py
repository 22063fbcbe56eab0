"""The catalogue as one linked hub gets it: by deltas from where it is, else by comparing digests; then as it moves."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection

from vidhub.access.grant_rules import covers
from vidhub.access.shares import Shares
from vidhub.api import convert
from vidhub.core import Core
from vidhub.errors import OutOfRange
from vidhub.link import digest
from vidhub.link.digest import Span
from vidhub.link.live import BULK_BYTES, Link
from vidhub.link.records import Records
from vidhub.model import CameraState, Revision
from vidhub.store import Store, cameras
from vidhub.v1 import link_service_pb2 as pb

# Deltas and ranges that the other side has not confirmed.
WINDOW = 4
# Ranges that the other side has asked for and that wait; past it no more are taken.
MOST_ASKED = 2_000
# A comparison that failed is tried again after so long, twice as long each time.
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_STEP = 512
# Of one message of a delta: ids of 20 digits.
_MOST_REMOVED = 1_000

log = structlog.get_logger(__name__)


class Sender:
    """What is told to one hub over one link. Everything but `run` returns at once."""

    def __init__(
        self,
        link: Link,
        *,
        shares: Shares,
        store: Store,
        core: Core,
        records: Records,
        told_more: Callable[[Iterable[str]], None],
    ) -> None:
        """told_more: called with cameras that the other side knows of from now on."""
        self.link = link
        # Ids that the other side knows of, as far as it was told.
        self.told: set[str] = set()
        # What the other side has not taken of it, and why, as it says; the total counts those it did not list too.
        self.refused: Mapping[str, tuple[str, str]] = {}
        self.refused_total = 0
        # Up to where the other side has confirmed.
        self.confirmed: Revision | None = None
        self.synced = asyncio.Event()
        self._shares = shares
        self._store = store
        self._core = core
        self._told_more = told_more
        self._records = records
        self._peer = link.hub.id
        self._at = Revision("", 0)
        # (what the confirmation must name, whether it says that the other side is there)
        self._pending: deque[tuple[Revision, bool]] = deque()
        self._room = asyncio.Event()
        self._moved = asyncio.Event()
        self._rules_moved = False
        self._compares = False
        self._failures = 0
        self._comparing: Revision | None = None
        # One at a time: the next part of a digest goes out when this one is answered. None: it was refused.
        self._answer: asyncio.Future[pb.CatalogueDifference | None] | None = None
        self._asked: deque[Span] = deque()

    # What the link brings, and what happens here.

    def wake(self) -> None:
        self._moved.set()

    def rules_moved(self) -> None:
        self._rules_moved = True
        self._moved.set()

    def confirm(self, revision: Revision) -> None:
        if not self._pending:
            self._answered(None)
            return
        expected, is_there = self._pending.popleft()
        self._room.set()
        if revision != expected:
            self._compares = True
            self._failures += 1
            self._moved.set()
        elif is_there:
            self.confirmed = revision
            self._failures = 0

    def difference(self, message: pb.CatalogueDifference) -> None:
        """An answer to the digest that is under way, or a wish for some ranges."""
        if self._comparing is not None and _revision(message) == self._comparing and self._answered(message):
            return
        for found in message.ranges:
            if len(self._asked) < MOST_ASKED:
                self._asked.append(Span(found.after, found.last, found.cameras, found.sha256))
        self._moved.set()

    def _answered(self, message: pb.CatalogueDifference | None) -> bool:
        """Whether somebody has waited for it."""
        if self._answer is None or self._answer.done():
            return False
        self._answer.set_result(message)
        return True

    # Telling.

    async def run(self) -> None:
        """Until the link ends (Unavailable LINK_DOWN)."""
        await self._catch_up()
        while True:
            await self._moved.wait()
            self._moved.clear()
            await self._go_on()

    async def _catch_up(self) -> None:
        have = convert.from_revision(self.link.theirs, "have")
        changed = None if have is None else self._missed(have)
        if have is None or changed is None:
            await self._compare()
            return
        async for ids in self._shares.visible_ids(self._peer):
            self.told.update(ids)
        gone = [camera_id for camera_id in changed if camera_id not in self.told]
        removed = await self._store.read(lambda conn: self._surely_known(conn, gone))
        if removed is None:
            await self._compare()
            return
        self._at = self.confirmed = have
        self._told_more(self.told)
        await self._delta([one for one in changed if one in self.told], removed, self._core_at(changed, have))
        self.synced.set()
        self._moved.set()

    def _missed(self, have: Revision) -> dict[str, int] | None:
        """Camera -> revision of its newest change since; None when that can't be told by deltas."""
        if have.number < self._shares.changed_at(self._peer):
            return None
        found: dict[str, int] = {}
        at = have
        try:
            while changes := self._core.changes_since(at, _STEP):
                found.update((change.camera_id, change.number) for change in changes)
                at = Revision(at.epoch, changes[-1].number)
        except OutOfRange:
            return None
        return found

    def _surely_known(self, conn: Connection, gone: Sequence[str]) -> list[str] | None:
        """Of cameras out of the hub's sight, those that it may hear of once more; None when that is not certain.

        One that was never shared must not be named to it. A retired one of ours says by its record whether it was.
        """
        found: list[str] = []
        records = {camera.id: camera for camera in cameras.list_full(conn, gone)}
        for camera_id in gone:
            record = records.get(camera_id)
            if record is None or record.state is not CameraState.RETIRED:
                return None
            if any(covers(share, record) for share in self._shares.of(self._peer)):
                found.append(camera_id)
        return found

    @staticmethod
    def _core_at(changed: Mapping[str, int], have: Revision) -> Revision:
        return Revision(have.epoch, max(changed.values(), default=have.number))

    async def _go_on(self) -> None:
        if self._compares:
            await self._compare()
        if self._rules_moved:
            self._rules_moved = False
            await self._look_again()
        if self._asked:
            asked = list(self._asked)
            self._asked.clear()
            await self._ranges(asked, self._at, sorted(self.told), final=False)
        now = self._core.revision()
        try:
            while changes := self._core.changes_since(self._at, _STEP):
                newest = dict.fromkeys(change.camera_id for change in changes)
                seen = {one: None for one in newest if self._shares.camera(self._peer, one) is not None}
                gone = [one for one in newest if one in self.told and one not in seen]
                await self._delta(seen, gone, Revision(self._at.epoch, changes[-1].number))
        except OutOfRange:
            await self._compare()
            return
        if self._at.number < now.number:  # a revision that moved no camera
            await self._delta((), (), now)

    async def _look_again(self) -> None:
        """The rules have changed: what leaves the hub's sight goes first."""
        visible: set[str] = set()
        async for ids in self._shares.visible_ids(self._peer):
            visible.update(ids)
        gone = sorted(self.told - visible)
        if gone:
            await self._delta((), gone, self._at)
        # What goes along of each camera may be another part now: comparing finds it.
        await self._compare()

    async def _delta(self, seen: Collection[str], gone: Sequence[str], to: Revision) -> None:
        """Tells of these cameras, and then that the other side is at `to`."""
        message = self._new_delta()
        for start in range(0, len(gone), _MOST_REMOVED):
            message.removed.extend(gone[start : start + _MOST_REMOVED])
            if start + _MOST_REMOVED < len(gone):
                await self._send_delta(message, self._at)
                message = self._new_delta()
        self.told.difference_update(gone)
        size = message.ByteSize()
        async for record in self._records.of(self._peer, seen):
            octets = record.ByteSize()
            if message.upserts and size + octets > BULK_BYTES:
                await self._send_delta(message, self._at)
                message, size = self._new_delta(), 0
            message.upserts.append(record)
            size += octets
        if message.upserts or message.removed or to != self._at:
            await self._send_delta(message, to)

    def _new_delta(self) -> pb.CatalogueDelta:
        return pb.CatalogueDelta(epoch=self._at.epoch, after=self._at.number)

    async def _send_delta(self, message: pb.CatalogueDelta, to: Revision) -> None:
        message.number = to.number
        await self._send(to, is_there=True, catalogue_delta=message)
        self._at = to
        ids = [record.id for record in message.upserts]
        self.told.update(ids)
        self._told_more(ids)

    async def _send(self, revision: Revision, *, is_there: bool, **body: Any) -> None:
        await self._confirmed_but(WINDOW - 1)
        await self.link.send_bulk(**body)
        self._pending.append((revision, is_there))

    async def _confirmed_but(self, most: int) -> None:
        """Waits until at most so many pieces are without confirmation."""
        while len(self._pending) > most:
            self._room.clear()
            await self._room.wait()

    # Comparing.

    async def _compare(self) -> None:
        """Tells digests of ranges, then those ranges whole that the other side holds otherwise."""
        if self._failures:
            await asyncio.sleep(min(_PAUSE_S * 2 ** min(self._failures - 1, 16), _LONGEST_PAUSE_S))
        await self._confirmed_but(0)
        self._compares = self._rules_moved = False
        self._asked.clear()
        at = self._core.revision()
        began = time.monotonic()
        entries = await self._records.digests(self._peer)
        ids = [camera_id for camera_id, _ in entries]
        self.told = set(ids)
        self._at = at
        self._comparing = at
        try:
            differing = await self._differing(digest.spans(entries), at)
        finally:
            self._comparing = None
        if differing is None:
            self._compares = True
            self._failures += 1
            self._moved.set()
            return
        if differing:
            await self._ranges(differing, at, ids, final=True)
        else:
            self.confirmed = at
            self._failures = 0
        log.info(
            "compared the shared catalogue",
            hub=self._peer,
            cameras=len(ids),
            differing_ranges=len(differing),
            seconds=round(time.monotonic() - began, 3),
        )
        self._told_more(ids)
        self.synced.set()
        self._moved.set()

    async def _differing(self, spans: Sequence[Span], at: Revision) -> list[Span] | None:
        """Those that the other side holds otherwise; None when it could not compare."""
        answered: list[Span] = []
        for start in range(0, len(spans), digest.RANGES_A_MESSAGE):
            part = spans[start : start + digest.RANGES_A_MESSAGE]
            message = pb.CatalogueDigest(
                revision=convert.to_revision(at),
                ranges=[to_range(span) for span in part],
                more=start + digest.RANGES_A_MESSAGE < len(spans),
            )
            self._answer = asyncio.get_running_loop().create_future()
            await self.link.send_bulk(catalogue_digest=message)
            answer = await self._answer
            if answer is None:
                return None
            known = {(span.after, span.last) for span in part}
            answered += [
                Span(one.after, one.last, one.cameras, one.sha256)
                for one in answer.ranges
                if (one.after, one.last) in known
            ]
        return answered

    async def _ranges(self, spans: Sequence[Span], at: Revision, ids: Sequence[str], *, final: bool) -> None:
        """ids: all that the hub may know of, in order."""
        for place, span in enumerate(spans):
            is_last_span = final and place == len(spans) - 1
            message = pb.CatalogueRange(revision=convert.to_revision(at), after=span.after)
            size = 0
            async for record in self._records.of(self._peer, digest.ids_between(ids, span.after, span.last)):
                octets = record.ByteSize()
                if message.cameras and size + octets > BULK_BYTES:
                    message.last = message.cameras[-1].id
                    await self._send(at, is_there=False, catalogue_range=message)
                    message = pb.CatalogueRange(revision=convert.to_revision(at), after=message.last)
                    size = 0
                message.cameras.append(record)
                size += octets
            message.last, message.final = span.last, is_last_span
            await self._send(at, is_there=is_last_span, catalogue_range=message)


def to_range(span: Span) -> pb.RangeDigest:
    return pb.RangeDigest(after=span.after, last=span.last, cameras=span.cameras, sha256=span.sha256)


def _revision(message: Any) -> Revision:
    return convert.from_revision(message, "revision") or Revision("", 0)
