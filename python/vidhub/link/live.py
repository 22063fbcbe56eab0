"""One live link: what is urgent goes before what is bulky, both are bounded, and silence ends it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from google.protobuf.message import Message

from vidhub.api import convert
from vidhub.api.validate import first_violation
from vidhub.errors import InvalidArgument, Unavailable, VidhubError
from vidhub.model import HubSide, LinkedHub
from vidhub.v1 import link_service_pb2 as pb

# Newest and oldest version of the protocol that is spoken here.
VERSION = 1
OLDEST_VERSION = 1
HEARTBEAT_S = 3.0
# Nothing heard for so long: the other side, or the way to it, is gone. Also the lease of views over the link.
SILENCE_S = 10.0
MOST_MESSAGE_BYTES = 256 * 1024
# A larger one is not even read, and ends the link: octets become a hundred times as many in memory.
MOST_READ_BYTES = 512 * 1024
# What a piece of catalogue should not exceed, so that urgent messages wait at most a second on 256 kbit/s.
BULK_BYTES = 32 * 1024
# Urgent messages that wait to be sent, as many as there are when all views of a link end at once and its streams with
# them; one who can't take them in time is not there.
_MOST_URGENT = 16_384
_MOST_BULK = 2
# Messages that wait for one part. When it is behind, reading stops, and so does the sender.
_MOST_WAITING = 64
# Bodies of many records: their parts check each by the same rules, for one that is bad must not stop the rest.
CHECKED_BY_PARTS = frozenset({"catalogue_delta", "catalogue_digest", "catalogue_range", "camera_states"})
# Refusals told to the other side, one a second of each reason; the rest are counted.
_PROBLEM_PAUSE_S = 1.0

_EPOCH = datetime.fromtimestamp(0, UTC)

log = structlog.get_logger(__name__)


class Part(Protocol):
    """What speaks over links. `take` of one link is called for one message at a time, in order.

    A VidhubError raised by `take` refuses that message: the other side is told, and the link stays.
    """

    @property
    def bodies(self) -> frozenset[str]:
        """Names of the bodies in LinkMessage that it takes."""
        ...

    async def opened(self, link: Link) -> None:
        """Both sides have accepted each other, and nothing has been sent yet. Returns at once."""
        ...

    async def take(self, link: Link, body: str, message: Any) -> None: ...

    def closed(self, link: Link) -> None:
        """Comes once for each `opened`."""
        ...


class Link:
    """A link from its first Hello to its end.

    hub: the other side as it is on record. theirs: the Hello it sent.
    """

    def __init__(
        self,
        hub: LinkedHub,
        theirs: pb.Hello,
        parts: Sequence[Part],
        *,
        heartbeat: Callable[[], pb.Heartbeat],
        heard: Callable[[pb.Heartbeat], Awaitable[str]] | None = None,
        refused: Callable[[str, VidhubError], None] = lambda body, error: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """heartbeat: what this side tells with each, the time excepted. heard: takes each of the other side's; gives
        the reason for which the link has to end, or nothing. refused: told of each message that was refused ("" for
        octets that are none).
        """
        self.hub = hub
        self.theirs = theirs
        self.version = min(VERSION, theirs.version)
        self.end_reason = ""
        # Whether the other side has taken all that was said here, the end included.
        self.was_heard = False
        self.round_trip_s: float | None = None
        self.heard_time = self.connect_time = clock()
        self.last_heartbeat: pb.Heartbeat | None = None
        self._heard_at = 0.0
        self._accepted_there = theirs.accepted
        self._accepted_here = hub.accepted_here
        self._parts = parts
        self._by_body = {body: part for part in parts for body in part.bodies}
        self._heartbeat = heartbeat
        self._heard = heard
        self._refused = refused
        self._clock = clock
        # Their clock less ours, as of Hello; then of the newest heartbeat.
        self.skew_s = (_time(theirs, "time") - self.connect_time).total_seconds()
        self._urgent: deque[pb.LinkMessage] = deque()
        self._bulk: deque[pb.LinkMessage] = deque()
        self._outgoing = asyncio.Event()
        self._room = asyncio.Condition()
        self._inboxes: dict[Part, asyncio.Queue[tuple[str, Any]]] = {
            part: asyncio.Queue(_MOST_WAITING) for part in parts
        }
        self._open = False
        self._over = asyncio.Event()
        self._told: dict[str, tuple[float, int]] = {}
        # When the log was last told of a problem of theirs, and how many it was not told of since.
        self._problem: tuple[float, int] = (0.0, 0)

    # What parts use.

    @property
    def is_upper(self) -> bool:
        """Whether the other side stands above this hub."""
        return self.hub.side is HubSide.UPPER

    @property
    def is_open(self) -> bool:
        """Whether both sides have accepted, and it has not ended."""
        return self._open and not self._over.is_set()

    @property
    def accepted_there(self) -> bool:
        return self._accepted_there

    def send(self, **body: Any) -> None:
        """Sends something urgent: it goes before all that is bulky. A side that takes too little is cut off."""
        if self._over.is_set():
            return
        if len(self._urgent) >= _MOST_URGENT:
            self.end("LINK_OVERLOADED")
            return
        self._urgent.append(pb.LinkMessage(**body))
        self._outgoing.set()

    async def send_bulk(self, **body: Any) -> None:
        """Sends something bulky, of about BULK_BYTES, once there is room. Raises Unavailable LINK_DOWN."""
        async with self._room:
            await self._room.wait_for(lambda: len(self._bulk) < _MOST_BULK or self._over.is_set())
        if self._over.is_set():
            raise Unavailable("LINK_DOWN", f"the link to {self.hub.name} is down")
        self._bulk.append(pb.LinkMessage(**body))
        self._outgoing.set()

    def end(self, reason: str) -> None:
        """Ends the link for this reason; the first one counts."""
        if not self._over.is_set():
            self.end_reason = reason
            self._over.set()
            self._outgoing.set()

    async def over(self) -> None:
        """Returns when the link has ended."""
        await self._over.wait()

    # What the two ends of the call use.

    async def outgoing(self) -> AsyncIterator[pb.LinkMessage]:
        """What is to be sent, until the end; a Farewell comes last where the end was meant here."""
        while True:
            await self._outgoing.wait()
            self._outgoing.clear()
            while self._urgent or self._bulk:
                if self._urgent:
                    yield self._urgent.popleft()
                    continue
                message = self._bulk.popleft()
                async with self._room:
                    self._room.notify_all()
                yield message
                if self._over.is_set():
                    break
            if self._over.is_set():
                yield pb.LinkMessage(farewell=pb.Farewell(reason=self.end_reason))
                return

    async def run(self, incoming: AsyncIterator[pb.LinkMessage]) -> None:
        """Takes what comes until the link ends, by either side or by silence; never raises for what the other sends."""
        work = [asyncio.create_task(self._beat()), asyncio.create_task(self._watch_silence())]
        work += [asyncio.create_task(self._serve(part)) for part in self._parts]
        reading = asyncio.create_task(self._read(incoming))
        ending = asyncio.create_task(self.over())
        try:
            await self._settle()
            await asyncio.wait({*work, reading, ending}, return_when=asyncio.FIRST_COMPLETED)
            for task in (*work, reading):
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    if isinstance(error, InvalidArgument):
                        self._refused("", error)
                    raise error
        finally:
            self.end("LINK_DOWN")
            async with self._room:
                self._room.notify_all()
            for task in (*work, reading, ending):
                task.cancel()
            await asyncio.gather(*work, reading, ending, return_exceptions=True)
            if self._open:
                self._open = False
                for part in self._parts:
                    part.closed(self)

    async def accept_here(self) -> None:
        """The administrator of this side has accepted: the other side is told, and what waited may begin."""
        self._accepted_here = True
        self._send_heartbeat()
        await self._settle()

    # Inside.

    async def _settle(self) -> None:
        if self._accepted_here and self._accepted_there and not self._open and not self._over.is_set():
            self._open = True
            for part in self._parts:
                await part.opened(self)

    async def _read(self, incoming: AsyncIterator[pb.LinkMessage]) -> None:
        async for message in incoming:
            self.heard_time = self._clock()
            body = message.WhichOneof("body")
            if body is None:  # of a newer version
                continue
            try:
                await self._route(body, message)
            except VidhubError as error:
                self._refuse(body, error)
            if self._over.is_set():
                return
        self.end("LINK_DOWN")

    async def _route(self, body: str, message: pb.LinkMessage) -> None:
        if message.ByteSize() > MOST_MESSAGE_BYTES:
            raise InvalidArgument(
                "MESSAGE_TOO_LARGE", f"a message holds at most {MOST_MESSAGE_BYTES} octets: send less"
            )
        if body not in CHECKED_BY_PARTS and (broken := first_violation(message)) is not None:
            raise InvalidArgument("MESSAGE_INVALID", f"{broken.field}: {broken.description}")
        match body:
            case "heartbeat":
                await self._hear(message.heartbeat)
            case "farewell":
                self.end(message.farewell.reason or "LINK_DOWN")
            case "problem":
                self._note(message.problem)
            case "hello":
                self.end("HELLO_REPEATED")
            case _ if not self._open:
                raise InvalidArgument("HUB_NOT_ACCEPTED", "an administrator on each side has to accept the other first")
            case _:
                part = self._by_body.get(body)
                if part is not None:
                    await self._inboxes[part].put((body, getattr(message, body)))

    async def _serve(self, part: Part) -> None:
        inbox = self._inboxes[part]
        while True:
            body, message = await inbox.get()
            try:
                await part.take(self, body, message)
            except VidhubError as error:
                self._refuse(body, error)
            # One that waits for nothing must not hold the loop for all that has come.
            await asyncio.sleep(0)

    def _note(self, problem: pb.LinkProblem) -> None:
        """One line of the log a second at most, however many the other side sends."""
        now = asyncio.get_running_loop().time()
        last, left_out = self._problem
        if last and now - last < _PROBLEM_PAUSE_S:
            self._problem = (last, left_out + 1)
            return
        self._problem = (now, 0)
        log.warning(
            "the other hub refused something",
            hub=self.hub.id,
            reason=problem.reason,
            message=problem.message,
            count=problem.count,
            left_out=left_out,
        )

    def _refuse(self, body: str, error: VidhubError) -> None:
        """Tells the other side and the log, at most once a second for each reason."""
        self._refused(body, error)
        now = asyncio.get_running_loop().time()
        last, count = self._told.get(error.reason, (now - _PROBLEM_PAUSE_S, 0))
        count += 1
        if now - last < _PROBLEM_PAUSE_S:
            self._told[error.reason] = (last, count)
            return
        if len(self._told) >= 256:
            self._told.clear()
        self._told[error.reason] = (now, 0)
        log.warning("refused what the other hub sent", hub=self.hub.id, body=body, reason=error.reason, count=count)
        self.send(problem=pb.LinkProblem(reason=error.reason, message=error.message[:512], count=count))

    async def _hear(self, heartbeat: pb.Heartbeat) -> None:
        theirs, echo = _time(heartbeat, "time"), convert.from_time(heartbeat, "echo")
        if echo is not None:
            since = (self._clock() - echo).total_seconds()
            self.round_trip_s = max(0.0, since - heartbeat.echo_held_s)
        self.last_heartbeat, self._heard_at = heartbeat, asyncio.get_running_loop().time()
        self.skew_s = (theirs - self._clock()).total_seconds()
        if self._heard is not None and (reason := await self._heard(heartbeat)):
            self.end(reason)
            return
        if heartbeat.accepted and not self._accepted_there:
            self._accepted_there = True
            await self._settle()

    async def _beat(self) -> None:
        while True:
            self._send_heartbeat()
            await asyncio.sleep(HEARTBEAT_S)

    def _send_heartbeat(self) -> None:
        heartbeat = self._heartbeat()
        heartbeat.time.FromDatetime(self._clock())
        heartbeat.accepted = self._accepted_here
        if self.last_heartbeat is not None:
            heartbeat.echo.CopyFrom(self.last_heartbeat.time)
            heartbeat.echo_held_s = asyncio.get_running_loop().time() - self._heard_at
        self.send(heartbeat=heartbeat)

    async def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        seen, since = self.heard_time, loop.time()
        while True:
            await asyncio.sleep(1.0)
            if self.heard_time != seen:
                seen, since = self.heard_time, loop.time()
            elif loop.time() - since >= SILENCE_S:
                self.end("LINK_SILENT")
                return


def _time(message: Message, field: str) -> datetime:
    """Raises InvalidArgument TIME_INVALID; none is as good as the beginning of 1970."""
    return convert.from_time(message, field) or _EPOCH
