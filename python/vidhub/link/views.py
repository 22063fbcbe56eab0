"""Viewing across hubs: requests, decisions, renewals and ends, both ways over each link.

A view lives by its link. While that is down it goes on for the rest of the lease, and on each side by itself: what has
not been renewed by then ends. A link that comes back in time renews what is still wanted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from vidhub.access.beyond import Wish
from vidhub.access.book import SessionBook
from vidhub.access.foreign import ForeignSessions
from vidhub.core import Core
from vidhub.link.answering import Answering
from vidhub.link.asking import Asking
from vidhub.link.grants import GrantWriter
from vidhub.link.links import Links
from vidhub.link.live import SILENCE_S, Link
from vidhub.model import CoreEvent

# A hub that has said that it goes, and why: nothing there waits for a lease.
_MEANT = frozenset({"HUB_DRAINING", "LINK_ENDED"})
_MOST_ORIGINS = 16_384


class Views:
    """The `Part` for views, and the domain's way to other hubs (`access.Beyond`)."""

    bodies = frozenset({"view_request", "view_decision", "view_renewal", "view_end"})

    def __init__(
        self,
        *,
        hub_id: str,
        key_pem: bytes,
        links: Links,
        core: Core,
        book: SessionBook,
        foreign: ForeignSessions,
        holder: Callable[[str], str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """key_pem: the hub's own signing key. holder: the linked hub that a camera came by, "" for none."""
        self._book = book
        self._links = links
        self._clock = clock
        # The hub that ended a session, until the end has been passed on.
        self._origins: OrderedDict[str, str] = OrderedDict()
        self._last_gone: list[Callable[[str, str], None]] = []
        self._asking = Asking(
            hub_id=hub_id,
            links=links,
            book=book,
            grants=GrantWriter(hub_id, key_pem),
            holder=holder,
            clock=clock,
        )
        self._answering = Answering(
            hub_id=hub_id,
            links=links,
            core=core,
            book=book,
            foreign=foreign,
            last_gone=self._gone,
            clock=clock,
        )

    # Of the domain.

    async def ask(self, wish: Wish) -> datetime:
        return await self._asking.ask(wish)

    async def renew(self, session_id: str, expire_time: datetime, *, trace_id: str = "") -> datetime:
        return await self._asking.renew(session_id, expire_time, trace_id=trace_id)

    async def still(self, wish: Wish) -> None:
        await self._asking.still(wish)

    def holds(self, session_id: str) -> bool:
        return self._asking.holds(session_id)

    def drop(self, session_id: str, reason: str) -> None:
        self._asking.drop(session_id, reason)

    def ended(self, events: Sequence[CoreEvent]) -> None:
        """Takes `session_ended` events of the core: each end goes on to the hubs that have a part in it."""
        for event in events:
            by_hub = self._origins.pop(event.subject, "")
            self._asking.drop(event.subject, event.reason, by_hub=by_hub)
            self._answering.drop(event.subject, event.reason, by_hub=by_hub)

    # Of the streams.

    def sessions(self, hub_id: str, camera_id: str) -> frozenset[str]:
        """The sessions by which that hub watches that camera now."""
        return self._answering.sessions(hub_id, camera_id)

    def on_last_gone(self, listener: Callable[[str, str], None]) -> None:
        """Told (hub id, camera id) when a hub's last view of a camera has ended."""
        self._last_gone.append(listener)

    # Of the links.

    async def opened(self, link: Link) -> None:
        for session_id in self._answering.lost(link):
            self._cut(session_id, "SESSION_LOST", link.hub.id)
        # Also of a link that this one takes the place of: who asked may know nothing of them any more.
        self._answering.closed(link, SILENCE_S, "LINK_LEASE_EXPIRED")
        self._asking.opened(link)

    async def take(self, link: Link, body: str, message: Any) -> None:
        match body:
            case "view_request":
                self._answering.asked(link, message)
            case "view_decision":
                self._asking.decided(link, message)
            case "view_renewal":
                self._answering.renewal(link, message)
            case "view_end":
                self._end(link, message.view_id, message.reason, message.hub_id)

    def closed(self, link: Link) -> None:
        if self._links.get(link.hub.id) is not None:  # another one has taken its place, and renews
            return
        if link.end_reason in _MEANT:
            lease_s, reason = 0.0, link.end_reason
        else:
            heard_s = (self._clock() - link.heard_time).total_seconds()
            lease_s, reason = min(max(SILENCE_S - heard_s, 0.0), SILENCE_S), "LINK_LEASE_EXPIRED"
        self._asking.closed(link, lease_s, reason)
        self._answering.closed(link, lease_s, reason)

    async def close(self) -> None:
        await self._answering.close()

    # Inside.

    def _end(self, link: Link, view_id: str, reason: str, by_hub: str) -> None:
        reason, by_hub = reason or "SESSION_TERMINATED", by_hub or link.hub.id
        ours = self._asking.ended_there(link, view_id, reason, by_hub)
        theirs = self._answering.ended_there(link, view_id, reason)
        for session_id in filter(None, (ours, theirs)):
            self._cut(session_id, reason, by_hub)

    def _cut(self, session_id: str, reason: str, by_hub: str) -> None:
        self._origins[session_id] = by_hub
        if len(self._origins) > _MOST_ORIGINS:
            self._origins.popitem(last=False)
        self._book.cut(session_id, reason, by_hub=by_hub)

    def _gone(self, hub_id: str, camera_id: str) -> None:
        for listener in self._last_gone:
            listener(hub_id, camera_id)
