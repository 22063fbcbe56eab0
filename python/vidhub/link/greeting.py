"""What the two sides of a link tell each other of themselves, and how it is judged."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from google.protobuf.message import DecodeError

from vidhub import __version__
from vidhub.api import convert
from vidhub.api.validate import first_violation
from vidhub.errors import InvalidArgument, PermissionDenied, VidhubError
from vidhub.link.live import MOST_MESSAGE_BYTES, MOST_READ_BYTES, OLDEST_VERSION, VERSION, Link, Part
from vidhub.link.peers import Peers
from vidhub.link.rules import CLOCK_LEEWAY_S, check_cycle, check_hello, to_level
from vidhub.model import AuditRecord, HubSide, LinkedHub, Principal, PrincipalKind, Revision
from vidhub.v1 import link_service_pb2 as pb

# How long either side waits for the other's Hello.
HELLO_S = 10.0


class Greeter:
    """Makes Hello, Heartbeat and the `Link` itself, for both who dial and who are dialled."""

    def __init__(
        self,
        peers: Peers,
        parts: Sequence[Part],
        *,
        signing_key_pem: str,
        revision: Callable[[], Revision],
        media: Callable[[str], tuple[int, int]],
        record: Callable[[str, AuditRecord], None] = lambda hub_id, record: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """revision: newest of this hub's catalogue. media: octets sent to and received from a hub.
        record: takes what was refused, for the register of use, with the hub that it was refused to."""
        self._peers = peers
        self._parts = parts
        self._signing_key_pem = signing_key_pem
        self._revision = revision
        self._media = media
        self._record = record
        self._clock = clock
        self._instance = secrets.token_hex(8)

    def hello(self, hub: LinkedHub) -> pb.LinkMessage:
        own = self._peers.own
        hello = pb.Hello(
            version=VERSION,
            oldest_version=OLDEST_VERSION,
            hub_id=own.id,
            name=own.name,
            level=to_level(own.level),
            region_code=own.region,
            software=__version__,
            above=self._peers.above(without=hub.id),
            have=convert.to_revision(hub.have),
            signing_key_pem=self._signing_key_pem,
            accepted=hub.accepted_here,
            instance=self._instance,
        )
        hello.time.FromDatetime(self._clock())
        return pb.LinkMessage(hello=hello)

    def judge(self, hub: LinkedHub, first: pb.LinkMessage) -> pb.Hello:
        """The other side's Hello. A refusal goes on record.

        Raises InvalidArgument HELLO_MISSING, MESSAGE_INVALID; as `check_hello`.
        """
        try:
            return self._judged(hub, first)
        except VidhubError as error:
            self._refused(hub, "hello", error)
            raise error.recorded() from None

    def _judged(self, hub: LinkedHub, first: pb.LinkMessage) -> pb.Hello:
        if first.WhichOneof("body") != "hello":
            raise InvalidArgument("HELLO_MISSING", "the first message of a link is Hello")
        theirs = first.hello
        if (broken := first_violation(theirs)) is not None:
            raise InvalidArgument("MESSAGE_INVALID", f"hello.{broken.field}: {broken.description}")
        check_hello(
            hub,
            theirs,
            own_id=self._peers.own.id,
            above=self._peers.above(without=hub.id),
            below=self._peers.below(hub),
        )
        return theirs

    async def link(self, hub: LinkedHub, theirs: pb.Hello) -> Link:
        """A link that is about to run; what the other side says of itself is on record."""
        await self._peers.heard(hub.id, accepted=theirs.accepted, signing_key_pem=theirs.signing_key_pem)
        hub = self._peers.get(hub.id) or hub
        link = Link(
            hub,
            theirs,
            self._parts,
            heartbeat=lambda: self._heartbeat(hub.id),
            heard=lambda heartbeat: self._heard(link, heartbeat),
            refused=lambda body, error: self._refused(hub, body, error),
            clock=self._clock,
        )
        self._settle(link, tuple(theirs.above))
        return link

    def _heartbeat(self, hub_id: str) -> pb.Heartbeat:
        sent, received = self._media(hub_id)
        return pb.Heartbeat(
            media_bytes_out=sent,
            media_bytes_in=received,
            revision=convert.to_revision(self._revision()),
            above=self._peers.above(without=hub_id),
        )

    async def _heard(self, link: Link, heartbeat: pb.Heartbeat) -> str:
        hub_id = link.hub.id
        # Who has accepted takes it back by ending the link: what goes to and fro is not written down each time.
        accepted = heartbeat.accepted or link.accepted_there
        await self._peers.heard(hub_id, accepted=accepted, signing_key_pem=link.theirs.signing_key_pem)
        try:
            check_cycle(
                link.hub,
                heartbeat.above,
                own_id=self._peers.own.id,
                above=self._peers.above(without=hub_id),
                below=self._peers.below(link.hub),
            )
        except PermissionDenied as cycle:
            self._refused(link.hub, "heartbeat", cycle)
            return cycle.reason
        self._settle(link, tuple(heartbeat.above))
        return ""

    def _refused(self, hub: LinkedHub, body: str, error: VidhubError) -> None:
        if error.on_record:
            return
        who = Principal(PrincipalKind.HUB, hub.id, hub_id=hub.id)
        detail = json.dumps({"message": body} if body else {})
        record = AuditRecord.of(who, "link.refused", f"hub/{hub.id}", result=error.reason, detail_json=detail)
        self._record(hub.id, record)

    def _settle(self, link: Link, above: tuple[str, ...]) -> None:
        if link.hub.side is HubSide.UPPER:
            self._peers.note_above(link.hub.id, above)
        if abs(link.skew_s) > CLOCK_LEEWAY_S:
            self._peers.note_trouble(link.hub.id, "CLOCK_SKEW", describe("CLOCK_SKEW", link.hub.name))
        else:
            self._peers.note_trouble(link.hub.id, "", "")


def parse(kind: type[pb.LinkRequest] | type[pb.LinkResponse], data: bytes) -> pb.LinkMessage:
    """Raises InvalidArgument MESSAGE_INVALID for bytes that are no message, MESSAGE_TOO_LARGE before they are read."""
    if len(data) > MOST_READ_BYTES:
        raise InvalidArgument("MESSAGE_TOO_LARGE", f"a message holds at most {MOST_MESSAGE_BYTES} octets: send less")
    try:
        return kind.FromString(data).message
    except DecodeError as cause:
        raise InvalidArgument("MESSAGE_INVALID", f"this is no {kind.DESCRIPTOR.full_name}") from cause


_MESSAGES = {
    "CLOCK_SKEW": f"its clock and ours differ by more than {CLOCK_LEEWAY_S:.0f} s: what both registers say of one "
    "event does not fit together; set the clocks (NTP)",
    "LINK_SILENT": "nothing was heard from {name} for 10 s: the way to it is cut, or it hangs; we go on trying",
    "LINK_DOWN": "the connection to {name} broke: we go on trying",
    "CATALOGUE_FAILED": "the catalogue could not be told to {name}: see the log; we go on trying",
    "LINK_FAILED": "the link with {name} failed on our side: the log of this hub says why; we go on trying",
    "LINK_REPLACED": "a newer link of {name} took the place of this one",
    "LINK_OVERLOADED": "{name} did not take what was sent to it: its line is too narrow, or it hangs; we go on trying",
    "LINK_ENDED": "{name} has ended the link for good: `vidhub hub end` takes it off the list",
    "LINK_CYCLE": "a hub would stand above itself by way of {name}: end one of the links on the way",
    "HUB_DRAINING": "{name} is stopping: the link comes up when it runs again",
    "HUB_DUPLICATE": "two hubs use the id and certificate of {name} at once: stop the copy; the first keeps the link",
    "CERTIFICATE_EXPIRED": "the certificate of {name} has ended: it takes up its renewed one, or is invited anew",
    "CERTIFICATE_REVOKED": "{name} has revoked our certificate: the link is over; ask for a new invitation",
    "HELLO_REPEATED": "{name} does not keep to the protocol: bring it up to date",
}


def describe(reason: str, name: str) -> str:
    """A sentence for people on why a link is down."""
    return _MESSAGES.get(reason, "the link to {name} is down").format(name=name)


def unknown_hub() -> PermissionDenied:
    return PermissionDenied("HUB_UNKNOWN", "the link with this hub has ended: ask for a new invitation")
