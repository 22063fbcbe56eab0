"""The part of every link that tells the other hub what is shared with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from vidhub.access.shares import Shares
from vidhub.api import convert
from vidhub.catalogue.remote import RemoteCameras
from vidhub.catalogue.watch import Watches
from vidhub.core import Core
from vidhub.errors import Unavailable
from vidhub.link import digest
from vidhub.link.digest import Entry
from vidhub.link.live import Link
from vidhub.link.records import Records
from vidhub.link.sending import Sender
from vidhub.link.state_telling import StateTeller
from vidhub.model import Camera, CoreEvent, Revision
from vidhub.store import Store

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Telling:
    link: Link
    sender: Sender
    states: StateTeller
    tasks: list[asyncio.Task[None]]


class CatalogueOut:
    """Deltas, ranges and states, as `link/sending.py` and `link/state_telling.py` have them."""

    bodies = frozenset({"catalogue_ack", "catalogue_difference", "camera_conflicts"})

    def __init__(
        self,
        *,
        store: Store,
        core: Core,
        shares: Shares,
        remote: RemoteCameras,
        watches: Watches,
        hub_id: str,
        unit_name: Callable[[str], str],
    ) -> None:
        """unit_name: what this hub calls a unit of its own, by id."""

        def called(camera: Camera) -> str:
            return remote.unit_name(camera) if camera.home_hub_id else unit_name(camera.unit_id)

        self.records = Records(store, shares, hub_id, called)
        self._store = store
        self._core = core
        self._shares = shares
        self._remote = remote
        self._state_number = 0
        self._tellings: dict[str, _Telling] = {}
        # Of links that are down: (cameras, revision confirmed) when they went.
        self._last: dict[str, tuple[set[str], Revision | None]] = {}
        watches.on_moved(self._catalogue_moved)
        shares.on_changed(self._rules_moved)
        remote.listen(self._stale_moved)

    # As a part of links.

    async def opened(self, link: Link) -> None:
        self._let_go(link.hub.id)  # a newer link may open before the older one is closed
        states = StateTeller(
            link, shares=self._shares, core=self._core, remote=self._remote, newest=lambda: self._state_number
        )
        sender = Sender(
            link,
            shares=self._shares,
            store=self._store,
            core=self._core,
            records=self.records,
            told_more=states.due,
        )
        telling = _Telling(link, sender, states, [])
        telling.tasks = [asyncio.create_task(self._run(telling)), asyncio.create_task(self._tell_states(telling))]
        self._tellings[link.hub.id] = telling

    async def take(self, link: Link, body: str, message: Any) -> None:
        telling = self._tellings.get(link.hub.id)
        if telling is None or telling.link is not link:
            return
        match body:
            case "catalogue_ack":
                telling.sender.confirm(convert.from_revision(message, "revision") or Revision("", 0))
            case "catalogue_difference":
                telling.sender.difference(message)
            case _:
                refused = {one.camera_id: (one.reason, one.holder_hub_id) for one in message.conflicts}
                telling.sender.refused, telling.sender.refused_total = refused, message.total

    def closed(self, link: Link) -> None:
        telling = self._tellings.get(link.hub.id)
        if telling is not None and telling.link is link:
            self._let_go(link.hub.id)

    def _let_go(self, hub_id: str) -> None:
        telling = self._tellings.pop(hub_id, None)
        if telling is not None:
            self._last[hub_id] = (telling.sender.told, telling.sender.confirmed)
            for task in telling.tasks:
                task.cancel()

    # What moves it.

    def states_changed(self, events: Sequence[CoreEvent]) -> None:
        """Takes `camera_state` events of the core."""
        self._state_number = max([self._state_number, *(event.number for event in events)])
        for telling in self._tellings.values():
            telling.states.wake()

    def _catalogue_moved(self) -> None:
        for telling in self._tellings.values():
            telling.sender.wake()

    def _rules_moved(self, hub_id: str) -> None:
        for telling in self._tellings.values():
            if telling.link.hub.id == hub_id:
                telling.sender.rules_moved()
            else:
                telling.sender.wake()  # the revision has moved

    def _stale_moved(self, ids: Collection[str]) -> None:
        for telling in self._tellings.values():
            told = telling.sender.told
            telling.states.due(camera_id for camera_id in ids if camera_id in told)

    async def _run(self, telling: _Telling) -> None:
        await self._while_up(telling, telling.sender.run())

    async def _tell_states(self, telling: _Telling) -> None:
        await telling.sender.synced.wait()
        await self._while_up(telling, telling.states.run(lambda: telling.sender.told))

    @staticmethod
    async def _while_up(telling: _Telling, work: Any) -> None:
        try:
            with contextlib.suppress(Unavailable):
                await work
                return
        except Exception:
            log.exception("the catalogue can't be told", hub=telling.link.hub.id)
        # The store does not answer, or it is our fault: the next link begins anew.
        telling.link.end("CATALOGUE_FAILED")

    # What is told, for people.

    def ended(self, hub_id: str) -> None:
        """A link has been ended for good."""
        self._last.pop(hub_id, None)

    def count(self, hub_id: str) -> int:
        """Cameras that the hub has been told of; of a link that is down, then."""
        telling = self._tellings.get(hub_id)
        return len(self._last.get(hub_id, ((), None))[0] if telling is None else telling.sender.told)

    def lag(self, hub_id: str) -> int:
        """Revisions of our catalogue that the hub has not confirmed."""
        telling = self._tellings.get(hub_id)
        confirmed = self._last.get(hub_id, ((), None))[1] if telling is None else telling.sender.confirmed
        now = self._core.revision()
        return max(0, now.number - confirmed.number) if confirmed and confirmed.epoch == now.epoch else now.number

    def is_in_step(self, hub_id: str) -> bool:
        return hub_id in self._tellings and self.lag(hub_id) == 0

    def is_told(self, hub_id: str, camera_id: str) -> bool:
        """While the link is down: whether the hub was told of the camera before, since this hub started."""
        telling = self._tellings.get(hub_id)
        told = self._last.get(hub_id, ((), None))[0] if telling is None else telling.sender.told
        return camera_id in told

    def refused(self, hub_id: str, camera_id: str) -> tuple[str, str] | None:
        """(reason, whose it is) of a camera that the hub has not taken, as it says."""
        return self.all_refused(hub_id).get(camera_id)

    def all_refused(self, hub_id: str) -> Mapping[str, tuple[str, str]]:
        """(reason, whose it is) by id of what the hub has not taken, as it says; the newest thousand."""
        telling = self._tellings.get(hub_id)
        return {} if telling is None else telling.sender.refused

    def refused_count(self, hub_id: str) -> int:
        telling = self._tellings.get(hub_id)
        return 0 if telling is None else telling.sender.refused_total

    async def digest(self, hub_id: str) -> tuple[int, bytes]:
        """How many cameras are shared with the hub, and the digest of them; without those it says it has not taken."""
        entries: list[Entry] = await self.records.digests(hub_id)
        refused = self.all_refused(hub_id)
        kept = [entry for entry in entries if entry[0] not in refused]
        return len(kept), digest.of(kept)
