"""HubService: links as administrators and supervisors see and steer them; and EnrolHub, by which hubs come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from vidhub import __version__
from vidhub.api import convert
from vidhub.api.call import Call
from vidhub.errors import VidhubError
from vidhub.link.greeting import describe
from vidhub.link.keys import LinkKeys
from vidhub.link.linking import Linking
from vidhub.link.links import Links
from vidhub.link.peers import Peers
from vidhub.link.rules import from_level, to_level
from vidhub.link.share_service import ShareCalls
from vidhub.link.sharing import SharingDesk
from vidhub.model import HubSide, LinkedHub, Principal
from vidhub.v1 import enrolment_service_pb2
from vidhub.v1 import hub_service_pb2 as pb

_SIDES = {HubSide.UPPER: pb.HUB_SIDE_UPPER, HubSide.LOWER: pb.HUB_SIDE_LOWER}


class HubFigures:
    """What is counted about a hub by those who speak over its link; each may be missing."""

    def __init__(self) -> None:
        self.lag: Callable[[str], int] = lambda _: 0
        self.media: Callable[[str], tuple[int, int]] = lambda _: (0, 0)
        self.cameras: Callable[[str], tuple[int, int]] = lambda _: (0, 0)
        self.conflicts: Callable[[str], int] = lambda _: 0


class HubView:
    """Linked hubs as messages."""

    def __init__(self, peers: Peers, links: Links, keys: LinkKeys, figures: HubFigures) -> None:
        self._peers = peers
        self._links = links
        self._keys = keys
        self._figures = figures

    def self(self) -> pb.Hub:
        own = self._peers.own
        return pb.Hub(id=own.id, name=own.name, level=to_level(own.level), region_code=own.region, software=__version__)

    def all(self) -> list[pb.Hub]:
        return [self.of(hub) for hub in self._peers.all()]

    def state(self, hub: LinkedHub) -> pb.HubState:
        link = self._links.connected(hub.id)
        if link is not None and link.is_open:
            return pb.HUB_STATE_UP
        if hub.end_reason or hub.is_accepted:
            return pb.HUB_STATE_DOWN
        return pb.HUB_STATE_JOINED if hub.joined else pb.HUB_STATE_INVITED

    def of(self, hub: LinkedHub) -> pb.Hub:
        figures, link, trouble = self._figures, self._links.connected(hub.id), self._peers.trouble(hub.id)
        sent, received = figures.media(hub.id)
        cameras_in, cameras_out = figures.cameras(hub.id)
        message = pb.Hub(
            id=hub.id,
            name=hub.name,
            level=to_level(hub.level),
            region_code=hub.region_code,
            side=_SIDES[hub.side],
            state=self.state(hub),
            accepted_here=hub.accepted_here,
            accepted_there=hub.accepted_there,
            lag=figures.lag(hub.id),
            media_bytes_in=received,
            media_bytes_out=sent,
            cameras_in=cameras_in,
            cameras_out=cameras_out,
            conflicts=figures.conflicts(hub.id),
            certificate_expire_time=convert.to_time(self._certificate_end(hub)),
            create_time=convert.to_time(hub.create_time),
            link_address=hub.link_address,
            media_address=hub.media_address,
            heard_time=convert.to_time(self._links.heard_time(hub.id)),
        )
        if link is not None:
            message.software = link.theirs.software
            message.protocol_version = link.version
            message.connect_time.FromDatetime(link.connect_time)
            message.round_trip_s = link.round_trip_s or 0.0
            message.clock_skew_s = link.skew_s
        if trouble is not None:
            message.trouble_reason, message.trouble_message = trouble.reason, trouble.message
        elif link is not None and link.end_reason:
            message.trouble_reason, message.trouble_message = link.end_reason, describe(link.end_reason, hub.name)
        elif hub.end_reason:
            message.trouble_reason, message.trouble_message = hub.end_reason, describe(hub.end_reason, hub.name)
        elif message.state == pb.HUB_STATE_DOWN:
            message.trouble_reason = "LINK_DOWN"
            message.trouble_message = (
                f"no link with {hub.name} has come up yet: `vidhub doctor` on the lower side says why"
            )
        return message

    def _certificate_end(self, hub: LinkedHub) -> datetime | None:
        if not hub.joined:
            return None
        if hub.side is HubSide.LOWER:
            return self._peers.register.newest("hub", hub.id)
        try:
            return self._keys.load(hub.id).not_after
        except VidhubError:
            return None


class HubServicer(ShareCalls):
    def __init__(self, linking: Linking, view: HubView, desk: SharingDesk) -> None:
        super().__init__(desk)
        self._linking = linking
        self._view = view

    async def list_hubs(self, _request: pb.ListHubsRequest, _call: Call) -> pb.ListHubsResponse:
        return pb.ListHubsResponse(self=self._view.self(), hubs=self._view.all())

    async def accept_hub(self, request: pb.AcceptHubRequest, call: Call) -> pb.AcceptHubResponse:
        hub = await self._linking.accept(call.caller, request.hub)
        return pb.AcceptHubResponse(hub=self._view.of(hub))

    async def end_hub(self, request: pb.EndHubRequest, call: Call) -> pb.EndHubResponse:
        await self._linking.end(call.caller, request.hub, request.reason)
        return pb.EndHubResponse()


class Enrolment:
    """What `EnrolmentServicer` asks for hubs."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def enrol_hub(
        self, principal: Principal, request: enrolment_service_pb2.EnrolHubRequest
    ) -> enrolment_service_pb2.EnrolHubResponse:
        done = await self._peers.enrol(
            principal,
            request.csr_pem,
            hub_id=request.hub_id,
            level=from_level(request.level),
            region_code=request.region_code,
        )
        own = self._peers.own
        return enrolment_service_pb2.EnrolHubResponse(
            hub_id=done.hub.id,
            certificate_pem=done.certificate_pem,
            ca_pem=done.ca_pem,
            not_after=convert.to_time(done.not_after),
            upper_hub_id=own.id,
            upper_name=own.name,
            upper_level=to_level(own.level),
            upper_region_code=own.region,
        )
