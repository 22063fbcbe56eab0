"""Reading events and acknowledging them, each caller within what they may know of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from vidhub import paging
from vidhub.core import Core
from vidhub.errors import Aborted, NotFound, OutOfRange, ResourceExhausted, Unavailable
from vidhub.events.log import Append, EventLog
from vidhub.events.sight import asks, matches, told
from vidhub.model import Event, EventFilter, EventPage, Principal, PrincipalKind, Revision

MOST_WATCHERS = 256
# How far the events that ask for somebody are counted.
MOST_COUNTED = 1_000
# Events judged in one turn of the loop; each may ask the core for 20 cameras.
_TURN = 25
_SYSTEM = Principal(PrincipalKind.SYSTEM)


class EventDesk:
    def __init__(self, events: EventLog, core: Core, append: Append) -> None:
        """append: the register of use."""
        self._events = events
        self._core = core
        self._append = append
        self._watchers: set[asyncio.Event] = set()
        self._is_draining = False
        events.on_change(self._wake)

    def drain(self) -> None:
        """The hub is stopping: every watch ends, so that nobody waits for it."""
        self._is_draining = True
        self._wake()

    async def list(
        self, principal: Principal, wanted: EventFilter, *, page_size: int = 0, page_token: str = ""
    ) -> EventPage:
        """Raises InvalidArgument PAGE_SIZE_INVALID, PAGE_TOKEN_INVALID."""
        size = paging.size(page_size)
        question = (principal.ref, wanted)
        after = paging.after("events", question, page_token)
        before = int(after) if after.isdecimal() and len(after) < 20 else None
        revision = self._events.revision
        found: list[Event] = []
        more = False
        waiting = 0
        for place, event in enumerate(self._events.newest_first()):
            if place % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            fits = not more and (before is None or event.number < before)
            counts = asks(event) and waiting < MOST_COUNTED
            if not (fits or counts) or not matches(event, wanted):
                continue
            seen = told(principal, event, lambda camera_id: self._may_list(principal, camera_id))
            if seen is None or not matches(seen, wanted):
                continue
            waiting += counts
            if fits and len(found) == size:
                more = True
            elif fits:
                found.append(seen)
        token = paging.token("events", question, str(found[-1].number) if more else None)
        return EventPage(tuple(found), token, revision, waiting)

    async def watch(
        self, principal: Principal, from_revision: Revision | None, wanted: EventFilter
    ) -> AsyncGenerator[Event | Revision]:
        """Events as they change, each as it is now; after all of a round the revision. Without `from_revision` all that
        match come first. Ends by being cancelled.

        Raises OutOfRange REVISION_TOO_OLD, ResourceExhausted LIMIT_WATCHES, Unavailable HUB_DRAINING.
        """
        self._refuse_while_draining()
        if len(self._watchers) >= MOST_WATCHERS:
            raise ResourceExhausted("LIMIT_WATCHES", f"{MOST_WATCHERS} callers watch already: try again later")
        newest = self._events.revision
        is_first = from_revision is None or from_revision == Revision("", 0)
        at = 0 if from_revision is None else from_revision.number
        if not is_first and from_revision is not None and (from_revision.epoch != newest.epoch or at > newest.number):
            raise OutOfRange("REVISION_TOO_OLD", "the hub's store was put back since then: list again")
        awake = asyncio.Event()
        self._watchers.add(awake)
        try:
            while True:
                awake.clear()
                self._refuse_while_draining()
                newest = self._events.revision
                for place, event in enumerate(self._events.since(at)):
                    if place % _TURN == _TURN - 1:
                        await asyncio.sleep(0)
                    seen = self._seen(principal, event, wanted, as_it_was=not is_first)
                    if seen is not None:
                        yield seen
                at, is_first = newest.number, False
                yield newest
                await awake.wait()
        finally:
            self._watchers.discard(awake)

    def camera_name(self, camera_id: str) -> str:
        """Of a camera that the caller was told of; empty when it is no more."""
        try:
            return self._core.get_camera(_SYSTEM, camera_id).name
        except NotFound:
            return ""

    async def acknowledge(self, principal: Principal, event_id: str, note: str) -> Event:
        """Raises NotFound EVENT_NOT_FOUND, Aborted EVENT_ACKNOWLEDGED, and what the store raises."""
        held = self._events.get(event_id)
        if held is None or self._seen(principal, held, EventFilter()) is None:
            raise NotFound("EVENT_NOT_FOUND", "no such event, or it is not yours to know of: list again")
        if self._events.is_acknowledged(held):
            raise Aborted("EVENT_ACKNOWLEDGED", "somebody has acknowledged it before you: look again")
        done = await self._events.acknowledge(principal, held, note, self._append)
        return self._seen(principal, done, EventFilter()) or done

    def _seen(
        self, principal: Principal, event: Event, wanted: EventFilter, *, as_it_was: bool = False
    ) -> Event | None:
        if not matches(event, wanted, as_it_was=as_it_was):
            return None
        seen = told(principal, event, lambda camera_id: self._may_list(principal, camera_id))
        return seen if seen is not None and matches(seen, wanted, as_it_was=as_it_was) else None

    def _may_list(self, principal: Principal, camera_id: str) -> bool:
        try:
            self._core.get_camera(principal, camera_id)
        except NotFound:
            return False
        return True

    def _wake(self) -> None:
        for awake in self._watchers:
            awake.set()

    def _refuse_while_draining(self) -> None:
        if self._is_draining:
            raise Unavailable("HUB_DRAINING", "the hub is stopping: watch again when it is back")
