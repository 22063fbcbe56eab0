"""The rules by which the hubs of a link share, told to each other: for people, since each hub decides by its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vidhub.access.shares import EVERYTHING, MOST_SHARES, Shares
from vidhub.api import convert
from vidhub.errors import InvalidArgument, ResourceExhausted, Unavailable
from vidhub.link.live import Link
from vidhub.model import Grant
from vidhub.v1 import link_service_pb2 as pb

# Of the rules that one hub tells: what 256 of a thousand entries would take is more than anybody reads.
_MOST_OCTETS = 4 << 20


@dataclass(eq=False)
class _Open:
    """received: the other side's rules by id, oldest first."""

    link: Link
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    telling: asyncio.Task[None] | None = None
    received: dict[str, pb.SharingRule] = field(default_factory=dict)


class Notices:
    """Tells each linked hub of the rules that it is under, and knows those that this hub is under."""

    bodies = frozenset({"grant_notice"})

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._open: dict[str, _Open] = {}
        shares.on_changed(self._moved)

    def received(self, hub_id: str) -> Sequence[tuple[str, pb.SharingRule]]:
        """The other hub's rules by id; none while the link is down."""
        found = self._open.get(hub_id)
        return [] if found is None else list(found.received.items())

    # As a Part.

    async def opened(self, link: Link) -> None:
        self._let_go(link.hub.id)  # a newer link may open before the older one is closed
        one = self._open[link.hub.id] = _Open(link)
        one.telling = asyncio.create_task(self._tell(one))

    async def take(self, link: Link, body: str, message: Any) -> None:
        """Raises InvalidArgument NOTICE_INVALID, ResourceExhausted LIMIT_SHARES."""
        one = self._open.get(link.hub.id)
        if one is None or one.link is not link:
            return
        if message.revoked:
            one.received.pop(message.grant_id, None)
            return
        if not message.HasField("rule"):
            raise InvalidArgument("NOTICE_INVALID", "a notice says what the rule is, or that it has been taken back")
        others = [rule for rule_id, rule in one.received.items() if rule_id != message.grant_id]
        octets = message.rule.ByteSize() + sum(rule.ByteSize() for rule in others)
        if len(others) >= MOST_SHARES or octets > _MOST_OCTETS:
            raise ResourceExhausted(
                "LIMIT_SHARES", f"{MOST_SHARES} rules of {_MOST_OCTETS} octets are the most for one hub: use wider ones"
            )
        one.received[message.grant_id] = message.rule

    def closed(self, link: Link) -> None:
        one = self._open.get(link.hub.id)
        if one is not None and one.link is link:
            self._let_go(link.hub.id)

    # Inside.

    def _let_go(self, hub_id: str) -> None:
        one = self._open.pop(hub_id, None)
        if one is not None and one.telling is not None:
            one.telling.cancel()

    def _moved(self, hub_id: str) -> None:
        if (one := self._open.get(hub_id)) is not None:
            one.moved.set()

    async def _tell(self, one: _Open) -> None:
        told: dict[str, Grant] = {}
        try:
            while True:
                one.moved.clear()
                standing = {share.id: share for share in self._shares.of(one.link.hub.id)}
                # What was taken back makes room for what is new.
                for gone in told.keys() - standing.keys():
                    del told[gone]
                    await one.link.send_bulk(grant_notice=pb.GrantNotice(grant_id=gone, revoked=True))
                for share_id, share in standing.items():
                    if told.get(share_id) != share:
                        told[share_id] = share
                        notice = pb.GrantNotice(grant_id=share_id, rule=_rule(share))
                        await one.link.send_bulk(grant_notice=notice)
                await one.moved.wait()
        except Unavailable:  # the link has gone down
            return


def _rule(share: Grant) -> pb.SharingRule:
    is_all = share.scope == EVERYTHING
    return pb.SharingRule(
        scope=None if is_all else convert.to_scope(share.scope),
        all=is_all,
        actions=convert.to_actions(share.actions),
        purposes=share.purposes,
        fields=share.fields,
        create_time=convert.to_time(share.create_time),
    )
