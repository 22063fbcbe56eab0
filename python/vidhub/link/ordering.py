"""Streams that this hub wants of others: one order for each camera and profile, however many watch here.

The core says what is wanted and asks again, with growing pauses, while nothing comes; here it becomes an order over the
link that the camera came by. A lower hub is given a place to push to, an upper one gives a place to pull from.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from vidhub.access.purposes import PUBLISH
from vidhub.api import convert
from vidhub.core import Core
from vidhub.errors import VidhubError
from vidhub.link.guests import Guests, check_path
from vidhub.link.links import Links
from vidhub.link.live import Link
from vidhub.model import CoreEvent, Profile
from vidhub.v1 import link_service_pb2 as pb

# For the answer to an order; and from there to the first media, before it is ordered anew.
ANSWER_S = 5.0
MEDIA_S = 15.0
# After media has ended: the end of the view, which is often the cause, comes in this time, and nothing is ordered then.
SETTLE_S = 0.2

log = structlog.get_logger(__name__)

_Key = tuple[str, Profile]


@dataclass(slots=True, eq=False)
class _Wanted:
    """A stream that somebody watches. order_id: "" when none is under way. session_id: by which a lower hub pushes.

    timer: for the answer, then for the media. pause: before it is ordered anew, if it is still `missed` then.
    """

    camera_id: str
    profile: Profile
    hub_id: str = ""
    order_id: str = ""
    session_id: str = ""
    timer: asyncio.TimerHandle | None = None
    pause: asyncio.TimerHandle | None = None
    missed: bool = False


class Ordering:
    def __init__(
        self,
        *,
        core: Core,
        links: Links,
        guests: Guests,
        holder: Callable[[str], str],
        is_watched: Callable[[str], bool],
    ) -> None:
        """holder: the linked hub that a camera came by, "" for none. is_watched: whether a session on it is open."""
        self._core = core
        self._links = links
        self._guests = guests
        self._holder = holder
        self._is_watched = is_watched
        # As many as there are streams in the core, which bounds them.
        self._wanted: dict[_Key, _Wanted] = {}
        self._by_order: dict[str, _Wanted] = {}
        self._by_session: dict[str, _Wanted] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for wanted in list(self._wanted.values()):
            self._withdraw(wanted, "HUB_DRAINING")
            self._stop_pause(wanted)
        self._wanted.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What the core tells.

    def wanted(self, events: Sequence[CoreEvent]) -> None:
        """Takes `stream_wanted`."""
        for event in events:
            key = _key(event)
            wanted = self._wanted.setdefault(key, _Wanted(*key))
            if wanted.order_id and wanted.timer is None:  # its media had come, and has ended
                self._withdraw(wanted, event.reason or "STREAM_LOST")
            if wanted.pause is not None:
                wanted.missed = True
            elif not wanted.order_id:
                self._order(wanted)

    def released(self, events: Sequence[CoreEvent]) -> None:
        """Takes `stream_released`."""
        for event in events:
            wanted = self._wanted.pop(_key(event), None)
            if wanted is not None:
                self._withdraw(wanted, "STREAM_RELEASED")
                self._stop_pause(wanted)

    def connected(self, events: Sequence[CoreEvent]) -> None:
        """Takes `session_connected`: what was ordered comes."""
        for event in events:
            if (wanted := self._by_session.get(event.subject)) is not None:
                self._stop_timer(wanted)

    def session_ended(self, events: Sequence[CoreEvent]) -> None:
        """Takes `session_ended`: the core cut a push off, for a camera that has gone or a time that is over."""
        for event in events:
            wanted = self._by_session.get(event.subject)
            if wanted is not None:
                self._withdraw(wanted, event.reason)

    # What the links tell.

    def opened(self, link: Link) -> None:
        """What had to wait for the link is ordered now."""
        for wanted in list(self._wanted.values()):
            if not wanted.order_id and self._holder(wanted.camera_id) == link.hub.id:
                self._order(wanted)

    def closed(self, link: Link) -> None:
        """An answer won't come any more. Media that flows goes on for as long as its views do."""
        for wanted in list(self._wanted.values()):
            if wanted.hub_id == link.hub.id and wanted.timer is not None:
                self._withdraw(wanted, "LINK_DOWN")
                self._refuse(wanted, "LINK_DOWN", f"the link to {link.hub.name} is down")

    def answered(self, link: Link, answer: pb.StreamAnswer) -> None:
        wanted = self._by_order.get(answer.order_id)
        if wanted is None or wanted.hub_id != link.hub.id:
            return
        if not answer.accepted:
            self._forget(wanted, answer.reason or "REFUSED_BELOW")
            self._refuse(wanted, answer.reason or "REFUSED_BELOW", f"{link.hub.name}: {answer.message or 'refused'}")
            return
        self._start_timer(wanted, MEDIA_S, "CAMERA_SILENT", f"{link.hub.name} has sent no media in time")
        if link.is_upper:
            self._pull(link, wanted, answer)

    def ended_there(self, link: Link, message: pb.StreamEnd) -> bool:
        """The other hub sends it no more. False when that is no order of ours."""
        wanted = self._by_order.get(message.order_id)
        if wanted is None or wanted.hub_id != link.hub.id:
            return False
        reason = message.reason or "STREAM_LOST"
        self._forget(wanted, reason)
        self._core.withdraw_stream(wanted.camera_id, wanted.profile, reason)
        self._refuse(wanted, reason, f"{link.hub.name}: {message.message or 'the stream has ended there'}")
        return True

    # Inside.

    def _order(self, wanted: _Wanted) -> None:
        self._stop_pause(wanted)
        if not self._is_watched(wanted.camera_id):  # its last viewer is gone, which the core is about to notice
            return
        wanted.hub_id = self._holder(wanted.camera_id)
        link = self._links.get(wanted.hub_id)
        if link is None:
            hub = wanted.hub_id or "the camera's hub"
            self._refuse(wanted, "LINK_DOWN", f"the link to {hub} is down: the picture comes when it is up")
            return
        wanted.order_id = f"o{secrets.token_hex(12)}"
        self._by_order[wanted.order_id] = wanted
        self._start_timer(wanted, ANSWER_S, "LINK_TIMEOUT", f"{link.hub.name} has not answered in time")
        self._spawn(self._send(link, wanted, wanted.order_id))

    async def _send(self, link: Link, wanted: _Wanted, order_id: str) -> None:
        order = pb.StreamOrder(
            order_id=order_id, camera_id=wanted.camera_id, profile=convert.to_profile(wanted.profile)
        )
        try:
            await self._guests.record(link.hub.id, wanted.camera_id, wanted.profile, order_id, "in")
            if wanted.order_id != order_id:  # released, or the link went down
                return
            if not link.is_upper:
                wanted.session_id, order.ticket = self._guests.open(
                    link.hub.id, wanted.camera_id, wanted.profile, purpose=PUBLISH
                )
                self._by_session[wanted.session_id] = wanted
                order.push_path = f"/{wanted.camera_id}"
        except VidhubError as error:
            if wanted.order_id == order_id:
                self._forget(wanted, error.reason)
                self._refuse(wanted, error.reason, error.message)
            return
        link.send(stream_order=order)

    def _pull(self, link: Link, wanted: _Wanted, answer: pb.StreamAnswer) -> None:
        try:
            check_path(answer.pull_path)
            self._core.supply_stream(
                wanted.camera_id,
                wanted.profile,
                peer=link.hub.id,
                url=f"rtsps://{link.hub.media_address}{answer.pull_path}",
                ticket=answer.ticket,
                ca_pem=link.hub.ca_pem,
            )
        except VidhubError as error:
            self._withdraw(wanted, error.reason)
            self._refuse(wanted, error.reason, error.message)
            return
        # From here the core itself tries, and says when the stream is wanted again.
        self._stop_timer(wanted)

    def _refuse(self, wanted: _Wanted, reason: str, message: str) -> None:
        log.info("a stream does not come", camera=wanted.camera_id, hub=wanted.hub_id, reason=reason)
        self._core.refuse_stream(wanted.camera_id, wanted.profile, reason, message)

    def _withdraw(self, wanted: _Wanted, reason: str) -> None:
        """Ends the order, and says so."""
        order_id = wanted.order_id
        if not order_id:
            return
        self._forget(wanted, reason)
        link = self._links.get(wanted.hub_id)
        if link is not None:
            link.send(stream_end=pb.StreamEnd(order_id=order_id, reason=reason))

    def _forget(self, wanted: _Wanted, reason: str) -> None:
        if wanted.timer is None and wanted.pause is None:
            wanted.pause = asyncio.get_running_loop().call_later(SETTLE_S, self._settled, wanted)
        self._stop_timer(wanted)
        self._by_order.pop(wanted.order_id, None)
        session_id, wanted.order_id, wanted.session_id = wanted.session_id, "", ""
        if self._by_session.pop(session_id, None) is not None:
            self._guests.end(session_id, reason)

    def _start_timer(self, wanted: _Wanted, within_s: float, reason: str, message: str) -> None:
        self._stop_timer(wanted)

        def late() -> None:
            self._withdraw(wanted, reason)
            self._refuse(wanted, reason, message)

        wanted.timer = asyncio.get_running_loop().call_later(within_s, late)

    def _stop_timer(self, wanted: _Wanted) -> None:
        if wanted.timer is not None:
            wanted.timer.cancel()
            wanted.timer = None

    def _settled(self, wanted: _Wanted) -> None:
        missed = wanted.missed
        self._stop_pause(wanted)
        if missed and not wanted.order_id:
            self._order(wanted)

    def _stop_pause(self, wanted: _Wanted) -> None:
        wanted.missed = False
        if wanted.pause is not None:
            wanted.pause.cancel()
            wanted.pause = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _key(event: CoreEvent) -> _Key:
    return event.subject, Profile(json.loads(event.detail)["profile"])
