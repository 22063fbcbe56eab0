"""Cameras that are not taken, listed for people: theirs at this hub, and this hub's at the others."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection

from vidhub import paging
from vidhub.link.catalogue_out import CatalogueOut
from vidhub.link.peers import Peers
from vidhub.model import LinkedHub
from vidhub.store import Store, remote_cameras
from vidhub.store.remote_cameras import Conflict


@dataclass(frozen=True, slots=True)
class Dispute:
    """One camera that one hub offers and another has not taken; what its parts mean is in
    `ListConflictsResponse.Conflict`."""

    camera_id: str
    reason: str
    offering_hub_id: str
    refusing_hub_id: str
    holding_hub_id: str = ""
    assigned_hub_id: str = ""
    likely_hub_id: str = ""
    assignable: bool = False

    @property
    def place(self) -> tuple[str, str, str]:
        """In order of id; one camera may be offered by two hubs, and be refused by two."""
        return self.camera_id, self.offering_hub_id, self.refusing_hub_id


class Disputes:
    def __init__(self, store: Store, peers: Peers, told: CatalogueOut) -> None:
        self._store = store
        self._peers = peers
        self._told = told

    async def page(
        self, hubs: Sequence[LinkedHub], *, page_size: int, page_token: str
    ) -> tuple[tuple[Dispute, ...], str]:
        """A page of what these hubs and this one have not taken of each other, and the token of the next.

        Raises InvalidArgument PAGE_SIZE_INVALID, PAGE_TOKEN_INVALID.
        """
        names = sorted(hub.id for hub in hubs)
        size = paging.size(page_size)
        after = tuple(paging.after("conflicts", names, page_token).split("/"))
        here = await self._store.read(lambda conn: self._here(conn, names, after, size + 2))
        there = sorted((one for name in names for one in self._there(name)), key=lambda one: one.place)
        found = heapq.merge(here, (one for one in there if one.place > after), key=lambda one: one.place)
        page = tuple(islice(found, size + 1))
        last = "/".join(page[size - 1].place) if len(page) > size else None
        return page[:size], paging.token("conflicts", names, last)

    def likely(self, conflict: Conflict) -> str:
        """The hub that offers, where the id lies in its region and not in that of the other; "" where that says
        nothing."""
        offers, holds = self._peers.get(conflict.hub_id), self._peers.get(conflict.holder_hub_id)
        if conflict.reason != "CAMERA_ID_TAKEN" or offers is None or holds is None:
            return ""
        inside = [hub for hub in (offers, holds) if conflict.camera_id.startswith(hub.region_prefix)]
        return offers.id if inside == [offers] else ""

    # Inside.

    def _here(self, conn: Connection, names: Sequence[str], after: tuple[str, ...], limit: int) -> list[Dispute]:
        """limit: with the one that the page before ended with."""
        camera_id, hub_id = (*after, "")[:2]
        found = remote_cameras.conflicts_after(conn, names, (camera_id, hub_id), limit)
        ids = [one.camera_id for one in found]
        given = remote_cameras.assignments(conn, ids)
        holders = remote_cameras.holders(conn, ids)
        own = self._peers.own.id
        disputes = []
        for one in found:
            is_taken = one.is_claim
            holder = holders.get(one.camera_id)
            disputes.append(
                Dispute(
                    one.camera_id,
                    one.reason,
                    one.hub_id,
                    own,
                    one.holder_hub_id,
                    given.get(one.camera_id, "") if is_taken else "",
                    self.likely(one),
                    # A camera that a unit of this hub has registered is never given away.
                    assignable=is_taken and (holder is None or bool(holder.hub_id)),
                )
            )
        return [one for one in disputes if one.place > after]

    def _there(self, hub_id: str) -> list[Dispute]:
        own = self._peers.own.id
        return [
            Dispute(camera_id, reason, own, hub_id, holder)
            for camera_id, (reason, holder) in self._told.all_refused(hub_id).items()
        ]
