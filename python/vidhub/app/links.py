"""Links to other hubs, built: who they are, what runs, and what speaks over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vidhub.api.admin import AdminOperations
from vidhub.audit import AuditLog
from vidhub.core import Core
from vidhub.identity import HubKeys
from vidhub.link.dialer import Dialer
from vidhub.link.doctor import Doctor
from vidhub.link.endings import Endings
from vidhub.link.greeting import Greeter
from vidhub.link.hub_service import Enrolment, HubFigures, HubServicer, HubView
from vidhub.link.keys import LinkKeys
from vidhub.link.leaving import Farewells
from vidhub.link.linking import Linking
from vidhub.link.links import Links
from vidhub.link.live import Part
from vidhub.link.operations import HubOperations
from vidhub.link.peers import Peers
from vidhub.link.servicer import LinkServicer
from vidhub.link.share_service import ShareOperations
from vidhub.link.sharing import SharingDesk
from vidhub.model import Principal
from vidhub.telemetry import LinkFigures


@dataclass(frozen=True, slots=True)
class LinkParts:
    peers: Peers
    links: Links
    keys: LinkKeys
    linking: Linking
    view: HubView
    figures: HubFigures
    greeter: Greeter
    endings: Endings
    dialer: Dialer
    farewells: Farewells
    desk: SharingDesk

    async def run(self) -> None:
        """Dials, and goes on dialling."""
        try:
            await self.dialer.run()
        finally:
            await self.endings.close()

    def servicers(self) -> Mapping[str, object]:
        return {
            "vidhub.v1.LinkService": LinkServicer(self.peers, self.links, self.greeter, self.endings),
            "vidhub.v1.HubService": HubServicer(self.linking, self.view, self.desk),
        }

    def enrolment(self) -> Enrolment:
        return Enrolment(self.peers)

    def add_operations(
        self,
        operations: AdminOperations,
        principal: Principal,
        *,
        link_address: Callable[[], str],
        media_address: Callable[[], str],
    ) -> None:
        HubOperations(
            principal, self.linking, self.view, link_address=link_address, media_address=media_address
        ).add_to(operations)
        ShareOperations(principal, self.desk).add_to(operations)

    def doctor(self) -> Doctor:
        return Doctor(self.peers, self.links, self.keys)

    def metrics(self) -> list[LinkFigures]:
        """One for each hub that has joined."""
        return [
            LinkFigures(
                hub.id,
                self.links.get(hub.id) is not None,
                self.figures.lag(hub.id),
            )
            for hub in self.peers.all()
            if hub.joined
        ]


def build_links(
    *,
    data: Path,
    peers: Peers,
    links: Links,
    keys: HubKeys,
    core: Core,
    audit: AuditLog,
    speakers: Sequence[Part],
    figures: HubFigures,
    desk: SharingDesk,
) -> LinkParts:
    """speakers: what speaks over links, each for its own messages. figures: filled by them."""
    folder = data / "keys" / "links"
    link_keys = LinkKeys(folder)
    public = keys.hub.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    greeter = Greeter(
        peers,
        speakers,
        signing_key_pem=public.decode(),
        revision=core.revision,
        media=lambda hub_id: figures.media(hub_id),
        record=lambda hub_id, record: audit.refusal(record, hub_id=hub_id),
    )
    farewells = Farewells(folder, greeter)
    linking = Linking(peers, links, link_keys, farewells)
    view = HubView(peers, links, link_keys, figures)
    endings = Endings(peers, link_keys)
    dialer = Dialer(peers, links, greeter, link_keys, endings)
    return LinkParts(peers, links, link_keys, linking, view, figures, greeter, endings, dialer, farewells, desk)
