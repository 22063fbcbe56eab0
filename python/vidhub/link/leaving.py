"""What is owed to an upper hub that was away when this one ended the link: the word that it has ended.

Until it is told, the key of that link is kept, for nothing else: no link comes up by it.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import grpc
import structlog

from vidhub.errors import VidhubError
from vidhub.link.calling import METHOD, OPTIONS, Reading
from vidhub.link.endings import OVER
from vidhub.link.greeting import HELLO_S, Greeter
from vidhub.link.keys import LinkIdentity
from vidhub.model import HubLevel, HubSide, LinkedHub
from vidhub.mtls import secure_channel, translate
from vidhub.store.keyfiles import read_private, write_private
from vidhub.v1 import link_service_pb2 as pb

# Between attempts: doubled each time, and shortened at random by up to half.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 600.0
# Who has not come back by then is not waited for.
PATIENCE = timedelta(days=30)
_REASON = "LINK_ENDED"
# Answers of a hub that knows already, or has never known.
_KNOWN = OVER | {"HUB_UNKNOWN", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Owed:
    """hub: as it was on record. until: for how long it is tried."""

    hub: LinkedHub
    certificate_pem: bytes
    key_pem: bytes = field(repr=False)
    until: datetime


class Farewells:
    """One file for each, so that a restart forgets none; `run` tells them."""

    def __init__(self, folder: Path, greeter: Greeter) -> None:
        self._folder = folder
        self._greeter = greeter
        self._changed = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # Hubs whose link is about to end.
        self._waiting: set[str] = set()

    def owe(self, hub: LinkedHub, identity: LinkIdentity) -> None:
        """Keeps what it takes to tell the hub; nothing is told before `begin`, or a restart."""
        self._waiting.add(hub.id)
        until = min(datetime.now(UTC) + PATIENCE, identity.not_after)
        words = {
            "id": hub.id,
            "name": hub.name,
            "level": hub.level.value,
            "region_code": hub.region_code,
            "link_address": hub.link_address,
            "ca_pem": hub.ca_pem,
            "certificate_pem": identity.certificate_pem.decode(),
            "key_pem": identity.key_pem.decode(),
            "until": until.isoformat(),
        }
        try:
            write_private(self._path(hub.id), json.dumps(words).encode())
        except BaseException:
            self._waiting.discard(hub.id)
            raise

    def settle(self, hub_id: str) -> bool:
        """It knows, or is given up; whether nothing is kept any more."""
        try:
            self._path(hub_id).unlink(missing_ok=True)
        except OSError as error:
            log.warning("what was owed to a hub can't be removed", hub=hub_id, error=error.strerror)
            return False
        self._waiting.discard(hub_id)
        return True

    def begin(self, hub_id: str) -> None:
        """The link has ended, and the hub is to hear of it."""
        self._waiting.discard(hub_id)
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self._changed.clear()
                for owed in await asyncio.to_thread(self._load):
                    if owed.hub.id not in self._tasks and owed.hub.id not in self._waiting:
                        task = asyncio.create_task(self._keep(owed), name=f"farewell to {owed.hub.id}")
                        self._tasks[owed.hub.id] = task
                        task.add_done_callback(partial(self._done, owed.hub.id))
                await self._changed.wait()
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    # Inside.

    async def _keep(self, owed: _Owed) -> None:
        pause, is_over = FIRST_PAUSE_S, False
        while not is_over and datetime.now(UTC) < owed.until:
            try:
                is_over = await self._tell(owed)
            except VidhubError as error:
                is_over = error.reason in _KNOWN
                log.info("a hub could not be told of the end of its link", hub=owed.hub.id, reason=error.reason)
            except Exception:  # nothing that one hub does may end this one
                log.exception("a hub could not be told of the end of its link", hub=owed.hub.id)
            if not is_over:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = min(2 * pause, LONGEST_PAUSE_S)
        log.info("nothing is owed to a hub any more", hub=owed.hub.id, told=is_over)
        # A newer link of that hub may have ended meanwhile.
        while owed in await asyncio.to_thread(self._load):
            if await asyncio.to_thread(self.settle, owed.hub.id):
                return
            await asyncio.sleep(LONGEST_PAUSE_S)

    def _done(self, hub_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[hub_id]
        if task.cancelled() or task.exception() is None:
            self._changed.set()
            return
        log.error("telling a hub of the end of its link failed", hub=hub_id, exc_info=task.exception())
        asyncio.get_running_loop().call_later(LONGEST_PAUSE_S, self._changed.set)

    async def _tell(self, owed: _Owed) -> bool:
        """Whether it has heard. Raises VidhubError with the hub's own reason, or why it is not reached."""
        address = owed.hub.link_address
        async with secure_channel(
            address, owed.hub.ca_pem.encode(), owed.certificate_pem, owed.key_pem, OPTIONS
        ) as channel:
            call = channel.stream_stream(METHOD)()
            reading = Reading(call)
            try:
                async with asyncio.timeout(HELLO_S):
                    await call.write(pb.LinkRequest(message=self._greeter.hello(owed.hub)).SerializeToString())
                    if await reading.next() is grpc.aio.EOF:
                        return False
                    farewell = pb.LinkMessage(farewell=pb.Farewell(reason=_REASON))
                    await call.write(pb.LinkRequest(message=farewell).SerializeToString())
                    await call.done_writing()
                    return await reading.rest(_REASON)
            except TimeoutError:
                return False
            except grpc.aio.AioRpcError as error:
                raise translate(error, address) from error
            except asyncio.InvalidStateError:  # the call had ended before Hello was sent
                return False
            finally:
                call.cancel()
                await reading.close()

    def _load(self) -> list[_Owed]:
        found = []
        for path in sorted(self._folder.glob(".leaving-*.json")):
            try:
                words = json.loads(read_private(path))
                hub = LinkedHub(
                    words["id"],
                    words["name"],
                    HubLevel(words["level"]),
                    words["region_code"],
                    HubSide.UPPER,
                    joined=True,
                    link_address=words["link_address"],
                    ca_pem=words["ca_pem"],
                )
                certificate, key = (words[name].encode() for name in ("certificate_pem", "key_pem"))
                until = datetime.fromisoformat(words["until"])
                if until.tzinfo is None:
                    raise ValueError("a time without its zone")
                found.append(_Owed(hub, certificate, key, until))
            except (VidhubError, ValueError, KeyError, TypeError, AttributeError):
                log.warning("what is owed to a hub can't be read, and is left", file=path.name)
        return found

    def _path(self, hub_id: str) -> Path:
        return self._folder / f".leaving-{hub_id}.json"
