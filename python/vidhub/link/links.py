"""The links that are up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime

from vidhub.link.live import Link

# How long the other side gets to hear why a link ends.
FAREWELL_S = 1.0


class Links:
    """The live links by hub; a new one of the same hub replaces the old."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self._left: dict[Link, asyncio.Event] = {}
        self._heard: dict[str, datetime] = {}

    def all(self) -> list[Link]:
        return list(self._links.values())

    def get(self, hub_id: str) -> Link | None:
        """The link that is up and accepted by both sides."""
        link = self._links.get(hub_id)
        return link if link is not None and link.is_open else None

    def connected(self, hub_id: str) -> Link | None:
        """Accepted or not."""
        return self._links.get(hub_id)

    def heard_time(self, hub_id: str) -> datetime | None:
        """When the hub was last heard, since this process runs."""
        link = self._links.get(hub_id)
        return self._heard.get(hub_id) if link is None else link.heard_time

    @contextlib.asynccontextmanager
    async def holding(self, link: Link) -> AsyncIterator[None]:
        """For as long as anything of it runs, its farewell included."""
        earlier = self._links.get(link.hub.id)
        if earlier is not None:
            earlier.end("LINK_REPLACED")
        self._links[link.hub.id] = link
        left = self._left[link] = asyncio.Event()
        try:
            yield
        finally:
            del self._left[link]
            left.set()
            if self._links.get(link.hub.id) is link:
                del self._links[link.hub.id]
                self._heard[link.hub.id] = link.heard_time

    async def end(self, hub_id: str, reason: str) -> bool:
        """Ends the link of a hub, if there is one, and waits a moment for the other side to hear why; whether it has,
        as far as the side that dials can tell."""
        link = self._links.get(hub_id)
        if link is None:
            return False
        link.end(reason)
        await self._leaving(link)
        self._heard.pop(hub_id, None)
        return link.was_heard and link.end_reason == reason

    async def drain(self) -> None:
        """Ends all: the hub stops."""
        links = self.all()
        for link in links:
            link.end("HUB_DRAINING")
        await asyncio.gather(*map(self._leaving, links))

    async def _leaving(self, link: Link) -> None:
        left = self._left.get(link)
        if left is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await left.wait()
