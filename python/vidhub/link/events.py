"""Events of shared cameras, told to linked hubs: an alarm of a district is one of the city's too.

Told is what lasts, by its newest state, once what it is about is known at the other side; what comes so is kept as the
other hub's, and is never told back to it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Protocol

from vidhub.access.shares import Shares
from vidhub.api.events import to_event
from vidhub.catalogue.remote import RemoteCameras
from vidhub.errors import ResourceExhausted
from vidhub.events import EventLog, Facts, kinds
from vidhub.events.log import MOST_CAMERAS
from vidhub.link.live import Link
from vidhub.model import Event, Severity
from vidhub.v1 import link_service_pb2 as pb

# Between two looks: what changes meanwhile goes once.
PAUSE_S = 1.0
# So many times it waits for the catalogue to be confirmed; then it goes all the same.
LOOKS = 10
# Of one linked hub, lasting at once.
MOST_EVENTS = 500
# What is told to other hubs.
CARRIED = {kinds.CAMERA_OFFLINE.name: kinds.CAMERA_OFFLINE}


class Told(Protocol):
    """What this part needs of `catalogue_out.CatalogueOut`."""

    def is_in_step(self, hub_id: str) -> bool: ...


@dataclass(eq=False)
class _Telling:
    """told: events that the other side holds as lasting. heard: those that it has told of since the link opened."""

    link: Link
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    told: set[str] = field(default_factory=set)
    heard: set[tuple[str, str]] = field(default_factory=set)
    task: asyncio.Task[None] | None = None


class LinkEvents:
    """The `Part` for events."""

    bodies = frozenset({"event"})

    def __init__(
        self,
        *,
        events: EventLog,
        shares: Shares,
        remote: RemoteCameras,
        catalogue: Told,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._events = events
        self._shares = shares
        self._remote = remote
        self._catalogue = catalogue
        self._pause_s = pause_s
        self._tellings: dict[str, _Telling] = {}
        events.on_change(self._moved)

    async def opened(self, link: Link) -> None:
        self._let_go(link.hub.id)
        telling = _Telling(link)
        self._tellings[link.hub.id] = telling
        telling.task = asyncio.create_task(self._tell(telling))

    def closed(self, link: Link) -> None:
        telling = self._tellings.get(link.hub.id)
        if telling is not None and telling.link is link:
            self._let_go(link.hub.id)

    async def take(self, link: Link, _body: str, message: pb.LinkEvent) -> None:
        """Raises ResourceExhausted LIMIT_LINK_EVENTS."""
        telling = self._tellings.get(link.hub.id)
        if telling is None or telling.link is not link:
            return
        peer = link.hub.id
        if message.synced:
            for event in self._of(peer):
                if (event.kind, event.subject) not in telling.heard:
                    self._events.end(kinds.KINDS[event.kind], event.subject, peer)
            return
        kind = CARRIED.get(message.kind)
        if kind is None or not message.HasField("event"):
            return  # of another version, or not for us
        told = message.event
        if told.HasField("end_time"):
            telling.heard.discard((message.kind, message.subject))
            self._events.end(kind, message.subject, peer)
            return
        ids = tuple(one for one in told.camera_ids if self._remote.link_of(one) == peer)[:MOST_CAMERAS]
        if not ids:
            return
        if self._events.lasting(kind, message.subject, peer) is None and len(self._of(peer)) >= MOST_EVENTS:
            raise ResourceExhausted("LIMIT_LINK_EVENTS", f"{MOST_EVENTS} events of this hub last already")
        telling.heard.add((message.kind, message.subject))
        facts = Facts(
            reason=told.reason,
            severity=Severity.SEVERE if int(told.severity) == Severity.SEVERE else Severity.WARNING,
            count=max(int(told.count), len(ids)),
            camera_ids=ids,
            unit_id=told.unit_id,
            region_code=told.region_code,
            hub_id=peer,
        )
        self._events.begin(kind, message.subject, facts)

    def ended(self, hub_id: str) -> None:
        """The link was ended for good: what the hub told of is nobody's any more."""
        for event in self._of(hub_id):
            self._events.end(kinds.KINDS[event.kind], event.subject, hub_id)

    # Inside.

    def _of(self, hub_id: str) -> list[Event]:
        return [one for kind in CARRIED.values() for one in self._events.all_lasting(kind) if one.hub_id == hub_id]

    def _moved(self) -> None:
        for telling in self._tellings.values():
            telling.moved.set()

    def _let_go(self, hub_id: str) -> None:
        telling = self._tellings.pop(hub_id, None)
        if telling is not None and telling.task is not None:
            telling.task.cancel()

    async def _tell(self, telling: _Telling) -> None:
        """Until the link ends."""
        link = telling.link
        at, is_first = 0, True
        while True:
            for _ in range(LOOKS):
                if self._catalogue.is_in_step(link.hub.id):
                    break
                await asyncio.sleep(self._pause_s)
            telling.moved.clear()
            newest = self._events.revision.number
            for event in self._events.since(at):
                self._tell_one(telling, event)
            if is_first:
                link.send(event=pb.LinkEvent(synced=True))
            at, is_first = newest, False
            await telling.moved.wait()
            await asyncio.sleep(self._pause_s)

    def _tell_one(self, telling: _Telling, event: Event) -> None:
        peer = telling.link.hub.id
        if event.kind not in CARRIED or event.hub_id == peer:
            return
        if event.end_time is not None:
            if event.id not in telling.told:
                return
            telling.told.discard(event.id)
        else:
            shared = tuple(one for one in event.camera_ids if self._shares.camera(peer, one) is not None)
            if not shared:
                return
            count = event.count if len(shared) == len(event.camera_ids) else len(shared)
            event = replace(event, camera_ids=shared, count=count)
            telling.told.add(event.id)
        # Whose it is, who has seen to it and why are this hub's own.
        told = replace(event, hub_id="", principal="", detail_json="", acknowledgement=None)
        telling.link.send(event=pb.LinkEvent(kind=event.kind, subject=event.subject, event=to_event(told)))
