"""The lower side of links: this hub dials every upper one, for as long as both are linked."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog

from vidhub.errors import DeadlineExceeded, Unavailable, VidhubError
from vidhub.link.calling import METHOD, OPTIONS, Reading, status
from vidhub.link.endings import OVER, Endings
from vidhub.link.greeting import HELLO_S, Greeter, describe, parse
from vidhub.link.keys import LinkIdentity, LinkKeys
from vidhub.link.links import FAREWELL_S, Links
from vidhub.link.live import Link
from vidhub.link.peers import Peers
from vidhub.link.probe import why_not
from vidhub.link.renewal import renew_when_due
from vidhub.model import LinkedHub
from vidhub.mtls import secure_channel, translate
from vidhub.v1 import link_service_pb2 as pb

# Between attempts: doubled each time, and shortened at random by up to half, so that lower hubs do not come together.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0

log = structlog.get_logger(__name__)


class Dialer:
    """`run` keeps a task for each upper hub."""

    def __init__(self, peers: Peers, links: Links, greeter: Greeter, keys: LinkKeys, endings: Endings) -> None:
        self._peers = peers
        self._links = links
        self._greeter = greeter
        self._keys = keys
        self._endings = endings
        self._changed = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        peers.on_changed(lambda _: self._changed.set())

    async def run(self) -> None:
        """Until it is cancelled; raises when a task dies, which none should."""
        try:
            while True:
                self._changed.clear()
                wanted = {hub.id for hub in self._peers.uppers()}
                for hub_id, task in list(self._tasks.items()):
                    if task.done():
                        del self._tasks[hub_id]
                        await task
                    elif hub_id not in wanted and self._links.connected(hub_id) is None:
                        task.cancel()
                        await asyncio.wait({task})
                        del self._tasks[hub_id]
                for hub_id in wanted - self._tasks.keys():
                    task = self._tasks[hub_id] = asyncio.create_task(self._keep(hub_id), name=f"link to {hub_id}")
                    task.add_done_callback(lambda _: self._changed.set())
                await self._changed.wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values())

    async def _keep(self, hub_id: str) -> None:
        pause = FIRST_PAUSE_S
        while (hub := self._peers.get(hub_id)) is not None and hub.joined:
            try:
                if await self._once(hub):
                    pause = FIRST_PAUSE_S
            except VidhubError as error:
                log.info("a link is down", hub=hub_id, reason=error.reason)
                self._peers.note_trouble(hub_id, error.reason, error.message)
            except Exception:  # nothing that one hub does may end this one
                log.exception("a link failed", hub=hub_id)
                self._peers.note_trouble(hub_id, "LINK_FAILED", describe("LINK_FAILED", hub.name))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(2 * pause, LONGEST_PAUSE_S)

    async def _once(self, hub: LinkedHub) -> bool:
        """One link from dialling to its end; whether it was up. Raises VidhubError LINK_… when it did not come up."""
        identity = await asyncio.to_thread(self._keys.load, hub.id)
        identity = await renew_when_due(hub, identity, self._keys)
        channel = secure_channel(
            hub.link_address, hub.ca_pem.encode(), identity.certificate_pem, identity.key_pem, OPTIONS
        )
        async with channel:
            call = channel.stream_stream(METHOD)()
            reading = Reading(call)
            try:
                link = await self._greet(hub, call, reading, identity)
                await self._run(link, call, reading)
            finally:
                call.cancel()
                await reading.close()
        return True

    async def _greet(self, hub: LinkedHub, call: Any, reading: Reading, identity: LinkIdentity) -> Link:
        """Raises VidhubError, and the upper hub's own refusal as LINK_FORBIDDEN."""
        try:
            async with asyncio.timeout(HELLO_S):
                await call.write(pb.LinkRequest(message=self._greeter.hello(hub)).SerializeToString())
                data = await reading.next()
        except TimeoutError:
            raise DeadlineExceeded("LINK_SILENT", describe("LINK_SILENT", hub.name)) from None
        except grpc.aio.AioRpcError as error:
            await self._refused(hub, error, identity)
        except asyncio.InvalidStateError:  # the call had ended before Hello was sent
            await self._refused(hub, await status(call), identity)
        if data is grpc.aio.EOF:
            raise Unavailable("LINK_DOWN", describe("LINK_DOWN", hub.name))
        theirs = self._greeter.judge(hub, parse(pb.LinkResponse, data))
        return await self._greeter.link(hub, theirs)

    async def _refused(self, hub: LinkedHub, error: grpc.aio.AioRpcError | None, identity: LinkIdentity) -> None:
        """Finds out why, and raises it."""
        told = None if error is None else translate(error, hub.link_address)
        if told is not None and told.reason in OVER:
            await self._endings.carry_through(hub, told.reason)
            raise told from error
        if told is None or told.reason in {"HUB_UNREACHABLE", "HUB_NOT_TRUSTED", "INTERNAL", "CANCELLED"}:
            raise await why_not(hub, identity)
        raise type(told)("LINK_FORBIDDEN", f"{hub.name} refuses the link: {told.reason}: {told.message}") from error

    async def _run(self, link: Link, call: Any, reading: Reading) -> None:
        hub = link.hub
        async with self._links.holding(link):
            log.info("a link is up", hub=hub.id, software=link.theirs.software)
            sending = asyncio.create_task(_send(link, call))
            try:
                await link.run(_messages(reading, hub))
            except VidhubError as error:
                link.end_reason = error.reason
            finally:
                link.end("LINK_DOWN")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FAREWELL_S):
                        await asyncio.wait({sending})
                        link.was_heard = await reading.rest(link.end_reason)
                sending.cancel()
        reason = link.end_reason
        log.info("a link is down", hub=hub.id, reason=reason)
        if self._peers.get(hub.id) is None:
            return
        if reason in OVER:
            await self._endings.carry_through(hub, reason)
        self._peers.note_trouble(hub.id, reason, describe(reason, hub.name))


async def _send(link: Link, call: Any) -> None:
    try:
        async for message in link.outgoing():
            await call.write(pb.LinkRequest(message=message).SerializeToString())
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        link.end("LINK_DOWN")


async def _messages(reading: Reading, hub: LinkedHub) -> AsyncIterator[pb.LinkMessage]:
    while True:
        try:
            data = await reading.next()
        except grpc.aio.AioRpcError as error:
            told = translate(error, hub.link_address)
            if told.reason in {"HUB_UNREACHABLE", "HUB_NOT_TRUSTED"}:
                return
            raise told from error
        if data is grpc.aio.EOF:
            return
        yield parse(pb.LinkResponse, data)
