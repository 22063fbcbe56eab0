"""Examines links hop by hop: which of them fails, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import grpc

from vidhub.errors import VidhubError
from vidhub.link.keys import LinkIdentity, LinkKeys
from vidhub.link.links import Links
from vidhub.link.live import OLDEST_VERSION, VERSION
from vidhub.link.peers import Peers
from vidhub.link.probe import HOP_S, Hop, hops
from vidhub.link.rules import CLOCK_LEEWAY_S
from vidhub.model import HubSide, LinkedHub
from vidhub.mtls import secure_channel, translate
from vidhub.v1 import system_service_pb2, system_service_pb2_grpc


class Doctor:
    """An upper hub is dialled; a lower one can't be: of it this side's half is looked at."""

    def __init__(self, peers: Peers, links: Links, keys: LinkKeys) -> None:
        self._peers = peers
        self._links = links
        self._keys = keys

    async def examine(self, id_or_name: str = "") -> list[Hop]:
        """Every check of one hub, or of all; names are "HUB/link.tcp". Raises NotFound HUB_NOT_FOUND."""
        wanted = [self._peers.find(id_or_name)] if id_or_name else self._peers.all()
        found = await asyncio.gather(*(self._examine(hub) for hub in wanted))
        return [
            replace(hop, name=f"{hub.id}/{hop.name}") for hub, all_ in zip(wanted, found, strict=True) for hop in all_
        ]

    async def _examine(self, hub: LinkedHub) -> list[Hop]:
        checks = [self._record(hub)]
        if checks[0].ok and hub.side is HubSide.UPPER:
            checks += [hop async for hop in self._way(hub)]
        elif checks[0].ok:
            checks.append(self._certificate(hub))
        if all(check.ok for check in checks):
            checks.append(self._state(hub))
        return checks

    async def _way(self, hub: LinkedHub) -> AsyncIterator[Hop]:
        try:
            identity = await asyncio.to_thread(self._keys.load, hub.id)
        except VidhubError as error:
            yield Hop("link.own_certificate", error.reason, error.message)
            return
        async for hop in hops(hub.link_address, hub.ca_pem, identity, what="link"):
            yield hop
            if not hop.ok:
                return
        for check in await _ask(hub, identity):
            yield check
            if not check.ok:
                return
        async for hop in hops(hub.media_address, hub.ca_pem, None, what="media"):
            yield hop

    def _record(self, hub: LinkedHub) -> Hop:
        if hub.end_reason:
            return Hop(
                "accepted", "LINK_ENDED", f"{hub.name} has ended the link", "`vidhub hub end` here, then invite it anew"
            )
        if not hub.joined:
            return Hop(
                "accepted", "HUB_NOT_JOINED", f"{hub.name} has not used its invitation", "`vidhub hub join FILE` there"
            )
        if not hub.accepted_here:
            return Hop(
                "accepted", "HUB_NOT_ACCEPTED", f"{hub.name} waits to be accepted here", f"`vidhub hub accept {hub.id}`"
            )
        return Hop("accepted", "", f"{hub.name}, {hub.level} of {hub.region_code}, is accepted here")

    def _certificate(self, hub: LinkedHub) -> Hop:
        until = self._peers.register.newest("hub", hub.id)
        if until is None or until <= datetime.now(UTC):
            return Hop(
                "certificate",
                "CERTIFICATE_EXPIRED",
                f"{hub.name} holds no certificate of ours that is good",
                "end the link and invite it anew",
            )
        return Hop("certificate", "", f"of {hub.name}, good until {until:%Y-%m-%d %H:%M}Z")

    def _state(self, hub: LinkedHub) -> Hop:
        link, trouble = self._links.connected(hub.id), self._peers.trouble(hub.id)
        if trouble is not None:
            return Hop("state", trouble.reason, trouble.message)
        if link is None:
            return Hop(
                "state",
                "LINK_DOWN",
                f"no link with {hub.name} is up",
                "start this hub with `vidhub serve`; and see `vidhub doctor` on the other side",
            )
        if not link.is_open:
            return Hop("state", "HUB_NOT_ACCEPTED", f"{hub.name} has not accepted", "`vidhub hub accept` there")
        trip = f", round trip {link.round_trip_s * 1000:.0f} ms" if link.round_trip_s is not None else ""
        return Hop("state", "", f"up, link version {link.version}{trip}, its clock {link.skew_s:+.1f} s from ours")


async def _ask(hub: LinkedHub, identity: LinkIdentity) -> list[Hop]:
    """Authorisation, clock and version, by a call as this hub."""
    channel = secure_channel(hub.link_address, hub.ca_pem.encode(), identity.certificate_pem, identity.key_pem)
    async with channel:
        stub = system_service_pb2_grpc.SystemServiceStub(channel)
        sent = datetime.now(UTC)
        try:
            answer = await stub.GetStatus(system_service_pb2.GetStatusRequest(), timeout=HOP_S)
        except grpc.aio.AioRpcError as error:
            told = translate(error, hub.link_address)
            return [Hop("link.authorisation", "LINK_FORBIDDEN", f"{told.reason}: {told.message}", "ask the other side")]
    middle = sent + (datetime.now(UTC) - sent) / 2
    checks = [Hop("link.authorisation", "", f"{hub.name} knows this hub")]
    if answer.hub_id != hub.id:
        return [
            Hop("link.authorisation", "HUB_ID_MISMATCH", f"{answer.hub_id} answers, not {hub.id}", "join that one anew")
        ]
    skew = (answer.time.ToDatetime(UTC) - middle).total_seconds() if answer.HasField("time") else 0.0
    checks.append(
        Hop("link.clock", "", f"{skew:+.1f} s from ours")
        if abs(skew) <= CLOCK_LEEWAY_S
        else Hop(
            "link.clock",
            "CLOCK_SKEW",
            f"{skew:+.0f} s from ours, more than {CLOCK_LEEWAY_S:.0f}",
            "set the clocks (NTP)",
        )
    )
    theirs = f"{answer.oldest_link_version} to {answer.link_version}"
    spoken = f"they speak link versions {theirs}, we {OLDEST_VERSION} to {VERSION}"
    common = min(VERSION, answer.link_version) >= max(OLDEST_VERSION, answer.oldest_link_version)
    checks.append(
        Hop("link.version", "", f"{answer.version}; {spoken}")
        if common
        else Hop("link.version", "VERSION_UNSUPPORTED", spoken, "bring the older hub up to date")
    )
    return checks
