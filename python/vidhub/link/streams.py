"""Media across hubs: one copy of a stream over each link, ordered by the side that wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vidhub.access.book import SessionBook
from vidhub.audit import AuditLog
from vidhub.core import Core
from vidhub.events import Fanout
from vidhub.link.guests import Guests
from vidhub.link.links import Links
from vidhub.link.live import Link
from vidhub.link.ordering import Ordering
from vidhub.link.supplying import Supplying
from vidhub.link.views import Views
from vidhub.store import Store


class Streams:
    """The `Part` for stream orders."""

    bodies = frozenset({"stream_order", "stream_answer", "stream_end"})

    def __init__(
        self,
        *,
        store: Store,
        audit: AuditLog,
        core: Core,
        links: Links,
        book: SessionBook,
        views: Views,
        holder: Callable[[str], str],
    ) -> None:
        """holder: the linked hub that a camera came by, "" for none."""
        guests = Guests(store=store, audit=audit, core=core)
        self._ordering = Ordering(core=core, links=links, guests=guests, holder=holder, is_watched=book.is_watched)
        self._supplying = Supplying(store=store, core=core, links=links, guests=guests, views=views.sessions)
        views.on_last_gone(self._supplying.last_view_gone)

    def listen(self, fanout: Fanout) -> None:
        fanout.on("stream_wanted", self._ordering.wanted)
        fanout.on("stream_released", self._ordering.released)
        fanout.on("session_connected", self._ordering.connected)
        fanout.on("session_ended", self._ordering.session_ended)
        fanout.on("session_ended", self._supplying.session_ended)
        fanout.on("relay_ended", self._supplying.relay_ended)

    async def opened(self, link: Link) -> None:
        self._ordering.opened(link)

    async def take(self, link: Link, body: str, message: Any) -> None:
        match body:
            case "stream_order":
                await self._supplying.ordered(link, message)
            case "stream_answer":
                self._ordering.answered(link, message)
            case "stream_end":
                if not self._ordering.ended_there(link, message):
                    self._supplying.ended_there(link, message)

    def closed(self, link: Link) -> None:
        self._ordering.closed(link)

    async def close(self) -> None:
        await self._ordering.close()
