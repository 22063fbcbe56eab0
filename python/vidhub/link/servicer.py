"""LinkService: the upper side of a link, which is dialled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime

import structlog

from vidhub.api.call import Call
from vidhub.errors import DeadlineExceeded, PermissionDenied, VidhubError
from vidhub.link.endings import Endings
from vidhub.link.greeting import HELLO_S, Greeter, describe, unknown_hub
from vidhub.link.links import FAREWELL_S, Links
from vidhub.link.live import HEARTBEAT_S, Link
from vidhub.link.peers import Peers
from vidhub.model import HubSide, LinkedHub
from vidhub.v1 import link_service_pb2 as pb

# A hub whose last word is no older is alive.
_ALIVE_S = 2 * HEARTBEAT_S

log = structlog.get_logger(__name__)


class LinkServicer:
    def __init__(self, peers: Peers, links: Links, greeter: Greeter, endings: Endings) -> None:
        self._peers = peers
        self._links = links
        self._greeter = greeter
        self._endings = endings
        self._running: set[asyncio.Task[None]] = set()

    async def link(self, requests: AsyncIterator[pb.LinkRequest], call: Call) -> AsyncGenerator[pb.LinkResponse]:
        hub = self._peers.get(call.caller.id)
        if hub is None or not hub.joined or hub.side is not HubSide.LOWER:
            raise unknown_hub()
        try:
            theirs = self._greeter.judge(hub, await _first(requests))
            self._check_only(hub, theirs)
        except VidhubError as error:
            self._peers.note_trouble(hub.id, error.reason, error.message)
            raise
        await self._peers.linked(hub, call.caller.fingerprint)
        link = await self._greeter.link(hub, theirs)
        task = asyncio.current_task()
        # A task of its own: the other side may cut the call as soon as it has said farewell, which must not keep this
        # side from doing what the end means.
        running = asyncio.create_task(self._run(link, requests, call))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        running.add_done_callback(lambda _: _leave(asyncio.get_running_loop(), task))
        try:
            yield pb.LinkResponse(message=self._greeter.hello(link.hub))
            async for message in link.outgoing():
                yield pb.LinkResponse(message=message)
        finally:
            link.end("LINK_DOWN")
            await asyncio.shield(running)

    async def _run(self, link: Link, requests: AsyncIterator[pb.LinkRequest], call: Call) -> None:
        """The link from its beginning to all that follows from its end; an error of the link's own is the call's."""
        error: Exception | None = None
        async with self._links.holding(link):
            log.info("a link is up", hub=link.hub.id, software=link.theirs.software, address=call.address)
            expiring = asyncio.create_task(self._expire(link, call.caller.fingerprint))
            try:
                await link.run(_messages(requests))
            except Exception as failed:
                error = failed
            finally:
                expiring.cancel()
            await self._after(link, error)

    async def _after(self, link: Link, error: Exception | None) -> None:
        hub, reason = link.hub, link.end_reason
        if isinstance(error, VidhubError):
            reason = error.reason
        log.info("a link is down", hub=hub.id, reason=reason)
        if reason == "LINK_ENDED":
            await self._endings.carry_through(hub, reason)
        if reason != "LINK_REPLACED":
            said = error.message if isinstance(error, VidhubError) else describe(reason, hub.name)
            self._peers.note_trouble(hub.id, reason, said)
        if error is not None:
            raise error

    def _check_only(self, hub: LinkedHub, theirs: pb.Hello) -> None:
        """Raises PermissionDenied HUB_DUPLICATE when another process with this id is alive."""
        earlier = self._links.connected(hub.id)
        if earlier is None or earlier.theirs.instance == theirs.instance:
            return
        if (datetime.now(UTC) - earlier.heard_time).total_seconds() < _ALIVE_S:
            raise PermissionDenied("HUB_DUPLICATE", describe("HUB_DUPLICATE", hub.name))

    async def _expire(self, link: Link, fingerprint: str) -> None:
        """TLS looks at a certificate once; a link may outlive it."""
        held = self._peers.register.get(fingerprint)
        left = 0.0 if held is None else (held.not_after - datetime.now(UTC)).total_seconds()
        await asyncio.sleep(max(left, 0.0))
        link.end("CERTIFICATE_EXPIRED")


def _leave(loop: asyncio.AbstractEventLoop, task: asyncio.Task[object] | None) -> None:
    """Lets go of a side that does not take the farewell."""
    if task is not None:
        loop.call_later(FAREWELL_S, lambda: task.done() or task.cancel())


async def _first(requests: AsyncIterator[pb.LinkRequest]) -> pb.LinkMessage:
    with contextlib.suppress(TimeoutError, StopAsyncIteration):
        async with asyncio.timeout(HELLO_S):
            return (await anext(requests)).message
    raise DeadlineExceeded("HELLO_MISSING", f"no Hello came within {HELLO_S:.0f} s: try again")


async def _messages(requests: AsyncIterator[pb.LinkRequest]) -> AsyncIterator[pb.LinkMessage]:
    async for request in requests:
        yield request.message
