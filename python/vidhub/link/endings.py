"""The other side has ended a link for good: carried through, though the call that told of it is cut meanwhile."""

from __future__ import annotations

import asyncio

from vidhub.link.greeting import describe
from vidhub.link.keys import LinkKeys
from vidhub.link.peers import Peers
from vidhub.model import HubSide, LinkedHub

# What an upper hub answers when it has ended the link while we were away, and what a farewell says.
OVER = frozenset({"CERTIFICATE_REVOKED", "LINK_ENDED"})


class Endings:
    def __init__(self, peers: Peers, keys: LinkKeys) -> None:
        self._peers = peers
        self._keys = keys
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def carry_through(self, hub: LinkedHub, reason: str) -> None:
        """Once for each hub; whoever waits may be cancelled."""
        task = self._tasks.get(hub.id)
        if task is None:
            task = self._tasks[hub.id] = asyncio.create_task(self._end(hub, reason))
            task.add_done_callback(lambda _: self._tasks.pop(hub.id, None))
        await asyncio.shield(task)

    async def close(self) -> None:
        """Returns when what has begun is done."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _end(self, hub: LinkedHub, reason: str) -> None:
        if self._peers.get(hub.id) is None:  # ended here
            return
        await self._peers.ended_there(hub.id, reason)
        self._peers.note_trouble(hub.id, reason, describe(reason, hub.name))
        if hub.side is HubSide.UPPER:
            self._keys.forget(hub.id)
        await self._peers.tell_ended(hub.id)
