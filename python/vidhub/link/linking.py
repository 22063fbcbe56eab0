"""What an administrator does to links, the same from the command line and the console: invite, join, accept, end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from vidhub.config import split_address
from vidhub.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Unauthenticated, VidhubError
from vidhub.identity.accounts import require_administrator
from vidhub.identity.ca import check_id, identity_of
from vidhub.link import renewal
from vidhub.link.keys import LinkKeys
from vidhub.link.leaving import Farewells
from vidhub.link.links import Links
from vidhub.link.peers import Peers
from vidhub.link.rules import check_below, from_level, level_of, to_level
from vidhub.model import HubLevel, HubSide, LinkedHub, Principal
from vidhub.mtls import check_validity, signing_request
from vidhub.v1 import enrolment_service_pb2

# What an invitation file holds; all are strings.
INVITATION = (
    "hub",
    "media",
    "ca_pem",
    "claim_certificate_pem",
    "claim_key_pem",
    "expire_time",
    "upper_id",
    "upper_name",
    "upper_level",
    "upper_region_code",
    "name",
    "level",
    "region_code",
)
_OF_UNITS = frozenset({"hub", "ca_pem", "claim_certificate_pem", "claim_key_pem", "expire_time"})
_LONGEST = 16 * 1024

log = structlog.get_logger(__name__)


class Linking:
    def __init__(self, peers: Peers, links: Links, keys: LinkKeys, farewells: Farewells) -> None:
        self._peers = peers
        self._links = links
        self._keys = keys
        self._farewells = farewells

    async def invite(
        self, principal: Principal, name: str, level: str, region_code: str, *, hub: str, media: str
    ) -> tuple[LinkedHub, dict[str, str]]:
        """The row of the invited hub, and the invitation file. hub, media: HOST:PORT of our gRPC and RTSPS."""
        invitation = await self._peers.invite(principal, name, level_of(level), region_code)
        own, invited = self._peers.own, invitation.hub
        return invited, {
            "hub": hub,
            "media": media,
            "ca_pem": self._peers.register.ca.ca_pem,
            "claim_certificate_pem": invitation.claim_certificate_pem,
            "claim_key_pem": invitation.claim_key_pem,
            "expire_time": invitation.expire_time.isoformat().replace("+00:00", "Z"),
            "upper_id": own.id,
            "upper_name": own.name,
            "upper_level": own.level,
            "upper_region_code": own.region,
            "name": invited.name,
            "level": invited.level.value,
            "region_code": invited.region_code,
        }

    async def join(self, principal: Principal, invitation: Mapping[str, object]) -> LinkedHub:
        """Turns an invitation into the certificate of this hub, and records the upper one. May be repeated with the
        same invitation until the first link has come up: the key stays the same.

        Raises InvalidArgument INVITATION_DAMAGED, LEVEL_NOT_BELOW, REGION_NOT_WITHIN; FailedPrecondition CLAIM_EXPIRED,
        HUB_IS_SELF; what `Peers.check_joinable` raises; what the upper hub answers.
        """
        require_administrator(principal)
        upper, claim_pem, claim_key_pem = _read(invitation)
        own = self._peers.own
        if upper.id == own.id or upper.ca_pem == self._peers.register.ca.ca_pem:
            raise FailedPrecondition("HUB_IS_SELF", "this is an invitation of this very hub: use it at the lower one")
        check_below(HubLevel(own.level), own.region, upper.level, upper.region_code)
        self._peers.check_joinable(upper)
        key, again = await asyncio.to_thread(self._keys.pending, claim_pem)
        request = enrolment_service_pb2.EnrolHubRequest(
            csr_pem=signing_request(key, "vidhub hub"),
            hub_id=own.id,
            name=own.name,
            level=to_level(own.level),
            region_code=own.region,
        )
        try:
            answer = await renewal.enrol(upper, claim_pem, claim_key_pem, request)
        except Unauthenticated as refused:
            self._keys.settle(claim_pem)
            if again and refused.reason == "CLAIM_USED":
                raise Unauthenticated(
                    "CLAIM_USED",
                    "this invitation was used: see `vidhub hub list`; if the hub is not there, ask for a new one",
                ) from refused
            raise
        except (PermissionDenied, InvalidArgument):
            self._keys.settle(claim_pem)
            raise
        if (answer.upper_hub_id, from_level(answer.upper_level), answer.upper_region_code) != (
            upper.id,
            upper.level,
            upper.region_code,
        ):
            raise InvalidArgument(
                "INVITATION_DAMAGED",
                "the hub that answers is not the one that the file names: ask for a new invitation",
            )
        await asyncio.to_thread(self._keys.save, upper.id, answer.certificate_pem, key)
        joined = await self._peers.joined(principal, upper)
        self._keys.settle(claim_pem)
        return joined

    async def accept(self, principal: Principal, id_or_name: str) -> LinkedHub:
        hub = await self._peers.accept(principal, id_or_name)
        link = self._links.connected(hub.id)
        if link is not None:
            await link.accept_here()
        return hub

    async def end(self, principal: Principal, id_or_name: str, reason: str) -> LinkedHub:
        """For good: the other side hears of it, its certificate is revoked or ours forgotten, its views end. An upper
        hub that is away hears of it when it is back; a lower one, when it dials."""
        require_administrator(principal)
        # What is owed is kept first: a hub that dies in between tells it all the same.
        is_owed = await self._owe(self._peers.find(id_or_name))
        try:
            hub, revoked = await self._peers.end(principal, id_or_name, reason)
        except Exception:
            if is_owed:
                self._farewells.settle(self._peers.find(id_or_name).id)
            raise
        heard = False
        try:
            heard = await self._links.end(hub.id, "LINK_ENDED")
        finally:
            self._peers.register.learn(revoked, "LINK_ENDED")
            if hub.side is HubSide.UPPER:
                self._forget_key(hub.id)
            if is_owed and not (heard and self._farewells.settle(hub.id)):
                self._farewells.begin(hub.id)
            await self._peers.tell_ended(hub.id)
        return hub

    def _forget_key(self, hub_id: str) -> None:
        try:
            self._keys.forget(hub_id)
        except OSError as error:  # no link comes up by it: the hub is not on record
            log.warning("the key of an ended link can't be removed", hub=hub_id, error=error.strerror)

    async def _owe(self, hub: LinkedHub) -> bool:
        """Whether the end of the link can be told to an upper hub later."""
        if hub.side is not HubSide.UPPER or not hub.joined:
            return False
        try:
            identity = await asyncio.to_thread(self._keys.load, hub.id)
            await asyncio.to_thread(self._farewells.owe, hub, identity)
        except VidhubError as error:  # the link ends all the same
            log.warning("an upper hub will not hear of the end while it is away", hub=hub.id, reason=error.reason)
            return False
        return True


def _read(invitation: Mapping[str, object]) -> tuple[LinkedHub, str, str]:
    """The upper hub, and the claim with its key. Raises PermissionDenied CLAIM_OF_UNIT; else as `join`."""
    if invitation.keys() == _OF_UNITS:
        raise PermissionDenied("CLAIM_OF_UNIT", "this invites a unit, not a hub: use `vidhub unit enrol`")
    words: dict[str, str] = {}
    for name in INVITATION:
        value = invitation.get(name)
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise _damaged(f"{name} is missing")
        words[name] = value
    try:
        for name in ("hub", "media"):
            host, port = split_address(words[name])
            if not host or not 0 < port < 1 << 16:
                raise ValueError(words[name])
    except ValueError as cause:
        raise _damaged(f"{name} is no HOST:PORT") from cause
    try:
        check_id("hub", words["upper_id"])
        if not (len(words["upper_region_code"]) == 6 and words["upper_region_code"].isdecimal()):
            raise ValueError("upper_region_code is no region code")
        upper = LinkedHub(
            words["upper_id"],
            words["upper_name"][:128] or words["upper_id"],
            level_of(words["upper_level"]),
            words["upper_region_code"],
            HubSide.UPPER,
            joined=True,
            link_address=words["hub"],
            media_address=words["media"],
            ca_pem=words["ca_pem"],
        )
    except (VidhubError, ValueError) as cause:
        raise _damaged(getattr(cause, "message", str(cause))) from cause
    claim_pem, key_pem = words["claim_certificate_pem"], words["claim_key_pem"]
    try:
        authority = x509.load_pem_x509_certificate(words["ca_pem"].encode())
        claim = x509.load_pem_x509_certificate(claim_pem.encode())
        key = load_pem_private_key(key_pem.encode(), password=None)
        claim.verify_directly_issued_by(authority)
    except Exception as cause:  # parsers of foreign bytes raise more than they name
        raise _damaged("its certificates do not belong together") from cause
    if key.public_key() != claim.public_key():
        raise _damaged("its key does not belong to its certificate")
    named = identity_of(claim.public_bytes(Encoding.DER))
    if named is None or named[:2] != (upper.id, "claim"):
        raise _damaged(f"its claim is not of hub {upper.id}")
    try:
        check_validity(claim_pem.encode())
    except FailedPrecondition as over:
        if over.reason != "CERTIFICATE_EXPIRED":
            raise
        raise FailedPrecondition("CLAIM_EXPIRED", "the invitation is over (24 hours): ask for a new one") from None
    return upper, claim_pem, key_pem


def _damaged(why: str) -> InvalidArgument:
    return InvalidArgument("INVITATION_DAMAGED", f"this is no invitation as a hub writes it: {why}: ask for a new one")
