"""Streams that other hubs have ordered here: pushed to an upper hub, given to a lower one to pull.

Only for as long as somebody there has a view of the camera, which this hub has allowed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vidhub.core import Core
from vidhub.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    VidhubError,
)
from vidhub.link.allowance import Allowance
from vidhub.link.guests import Guests, check_path
from vidhub.link.links import Links
from vidhub.link.live import Link
from vidhub.model import CoreEvent, Profile
from vidhub.store import Store, sessions
from vidhub.v1 import link_service_pb2 as pb

# Of one linked hub.
MOST_ORDERS = 4_096

_Key = tuple[str, str, Profile]


@dataclass(frozen=True, slots=True)
class _Supply:
    """One copy that goes to a hub. local_id: of the relay that pushes it, or of the session that pulls it."""

    hub_id: str
    order_id: str
    camera_id: str
    profile: Profile
    is_pushed: bool
    local_id: str


class Supplying:
    def __init__(
        self,
        *,
        store: Store,
        core: Core,
        links: Links,
        guests: Guests,
        views: Callable[[str, str], frozenset[str]],
    ) -> None:
        """views: the sessions by which a hub watches a camera."""
        self._store = store
        self._core = core
        self._links = links
        self._guests = guests
        self._views = views
        self._allowance = Allowance()
        self._supplies: dict[_Key, _Supply] = {}
        self._by_order: dict[tuple[str, str], _Supply] = {}
        self._by_local: dict[str, _Supply] = {}
        self._count: dict[str, int] = {}

    # What the links tell.

    async def ordered(self, link: Link, order: pb.StreamOrder) -> None:
        """Answers, and puts a refusal on record."""
        answer = pb.StreamAnswer(order_id=order.order_id)
        try:
            self._allowance.take(link.hub.id)
            await self._supply(link, order, answer)
            answer.accepted = True
        except VidhubError as error:
            self._guests.refused(link.hub.id, order.camera_id, error.reason)
            answer.reason, answer.message = error.reason, error.message[:512]
        link.send(stream_answer=answer)

    def ended_there(self, link: Link, message: pb.StreamEnd) -> None:
        supply = self._by_order.get((link.hub.id, message.order_id))
        if supply is not None:
            self._stop(supply, message.reason or "STREAM_RELEASED")

    # What happens here.

    def last_view_gone(self, hub_id: str, camera_id: str) -> None:
        """The core itself ends a relay then; what is pulled ends here."""
        for profile in (Profile.MAIN, Profile.SUB):
            supply = self._supplies.get((hub_id, camera_id, profile))
            if supply is not None and not supply.is_pushed:
                self._tell(supply, "VIEW_ENDED", "")
                self._stop(supply, "SESSION_CLOSED")

    def relay_ended(self, events: Sequence[CoreEvent]) -> None:
        """Takes `relay_ended`."""
        for event in events:
            self._ended(event.subject, event.reason, event.detail)

    def session_ended(self, events: Sequence[CoreEvent]) -> None:
        """Takes `session_ended`: of a hub that pulls."""
        for event in events:
            self._ended(event.subject, event.reason, "")

    # Inside.

    async def _supply(self, link: Link, order: pb.StreamOrder, answer: pb.StreamAnswer) -> None:
        hub_id, camera_id, profile = link.hub.id, order.camera_id, Profile(order.profile)
        watching = self._views(hub_id, camera_id)
        if not watching:
            raise PermissionDenied("ORDER_WITHOUT_VIEW", "a stream is ordered for a view that was allowed: ask for one")
        if (hub_id, order.order_id) in self._by_order:
            raise InvalidArgument("ORDER_EXISTS", "an order's name is good for one order")
        if self._count.get(hub_id, 0) >= MOST_ORDERS:
            raise ResourceExhausted("LIMIT_ORDERS", f"{MOST_ORDERS} streams go to this hub: end one first")
        if link.is_upper and not (order.push_path and order.ticket):
            raise InvalidArgument("ORDER_INVALID", "an upper hub says where to push to, and gives the ticket")
        if link.is_upper:
            check_path(order.push_path)
        await self._guests.record(hub_id, camera_id, profile, order.order_id, "out")
        earlier = self._supplies.get((hub_id, camera_id, profile))
        if earlier is not None:  # the other side has lost it
            self._stop(earlier, "RELAY_REPLACED")
        if link.is_upper:
            local_id = f"r{secrets.token_hex(12)}"
            self._core.start_relay(
                local_id,
                camera_id,
                profile,
                peer=hub_id,
                url=f"rtsps://{link.hub.media_address}{order.push_path}",
                ticket=order.ticket,
                ca_pem=link.hub.ca_pem,
            )
        else:
            local_id, answer.ticket = await self._open(hub_id, camera_id, profile)
            answer.pull_path = f"/{camera_id}"
        supply = _Supply(hub_id, order.order_id, camera_id, profile, link.is_upper, local_id)
        self._supplies[hub_id, camera_id, profile] = supply
        self._by_order[hub_id, order.order_id] = supply
        self._by_local[local_id] = supply
        self._count[hub_id] = self._count.get(hub_id, 0) + 1

    async def _open(self, hub_id: str, camera_id: str, profile: Profile) -> tuple[str, str]:
        """The hub's own session, carried by the purpose and grant of one of its views."""
        for view in sorted(self._views(hub_id, camera_id)):
            session = await self._store.read(lambda conn, view=view: sessions.get(conn, view))  # type: ignore[misc]
            if session is not None and view in self._views(hub_id, camera_id):
                return self._guests.open(
                    hub_id, camera_id, profile, purpose=session.purpose.kind, grant_id=session.grant_id
                )
        raise FailedPrecondition("ORDER_WITHOUT_VIEW", "the view has ended meanwhile")

    def _ended(self, local_id: str, reason: str, message: str) -> None:
        supply = self._by_local.get(local_id)
        if supply is not None:
            self._forget(supply)
            self._tell(supply, reason, message)

    def _stop(self, supply: _Supply, reason: str) -> None:
        self._forget(supply)
        if supply.is_pushed:
            self._core.stop_relay(supply.local_id, reason)
        else:
            self._guests.end(supply.local_id, reason)

    def _tell(self, supply: _Supply, reason: str, message: str) -> None:
        link = self._links.get(supply.hub_id)
        if link is not None:
            link.send(stream_end=pb.StreamEnd(order_id=supply.order_id, reason=reason[:64], message=_line(message)))

    def _forget(self, supply: _Supply) -> None:
        self._by_order.pop((supply.hub_id, supply.order_id), None)
        self._by_local.pop(supply.local_id, None)
        self._count[supply.hub_id] -= 1
        if self._supplies.get((supply.hub_id, supply.camera_id, supply.profile)) is supply:
            del self._supplies[supply.hub_id, supply.camera_id, supply.profile]


def _line(text: str) -> str:
    """As messages take it: no control characters, 512 at most."""
    return "".join(c if c.isprintable() else " " for c in text)[:512]
