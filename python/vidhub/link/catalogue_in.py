"""The part of every link that takes what the other hub shares: durable first, then confirmed."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import structlog
from sqlalchemy import Connection

from vidhub.api import convert
from vidhub.audit import AuditLog
from vidhub.catalogue.received import CHUNK, Chunk, Received, ReceivedCameras, Taken
from vidhub.catalogue.remote import RemoteCameras
from vidhub.core import Core
from vidhub.errors import InvalidArgument, NotFound, VidhubError
from vidhub.link import digest, shared
from vidhub.link.conflicts import Conflicts
from vidhub.link.digest import Entry
from vidhub.link.live import Link
from vidhub.link.sending import to_range
from vidhub.model import AuditRecord, CameraState, Principal, PrincipalKind, Revision
from vidhub.store import Store, hubs, remote_cameras
from vidhub.store.remote_cameras import Conflict
from vidhub.v1 import link_service_pb2 as pb

# Of one link; more is refused by name.
MOST_CAMERAS = 1_000_000
_MOST_OF_A_MESSAGE = {"upserts": 500, "removed": 2_000, "cameras": 500, "ranges": 2_000, "states": 2_000}
_STEP = 50
_LONGEST_EPOCH = 64
_HIGHEST = 2**63 - 1
_ID = re.compile(r"[0-9]{20}")
_VOLATILE = (CameraState.UNKNOWN, CameraState.ONLINE, CameraState.OFFLINE, CameraState.REFUSED, CameraState.INVALID)
_STATES = {int(one): one for one in _VOLATILE}

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Receiving:
    """One link's place. comparing: the digest under way; at: the id up to which its ranges have come."""

    link: Link
    have: Revision | None = None
    is_loaded: bool = False
    comparing: Revision | None = None
    own: Sequence[Entry] = ()
    at: str = ""
    differing: int = 0


class CatalogueIn:
    """Takes deltas, digests, ranges and states; refuses by name what is not the other hub's to tell."""

    bodies = frozenset({"catalogue_delta", "catalogue_digest", "catalogue_range", "camera_states"})

    def __init__(
        self,
        *,
        store: Store,
        audit: AuditLog,
        core: Core,
        remote: RemoteCameras,
        received: ReceivedCameras,
        hub_id: str,
        noted: Callable[[str, Revision | None], None] = lambda hub_id, have: None,
    ) -> None:
        """noted: told up to where a hub's catalogue is known, for the next Hello."""
        self._store = store
        self._audit = audit
        self._core = core
        self._remote = remote
        self._received = received
        self._hub_id = hub_id
        self._note = noted
        self._receivings: dict[str, _Receiving] = {}
        self._conflicts = Conflicts(store)

    async def start(self) -> None:
        """Removes what links that were ended for good have left: the hub was stopped meanwhile."""

        def work(conn: Connection) -> list[str]:
            joined = {hub.id for hub in hubs.load(conn) if hub.joined}
            return [hub_id for hub_id in self._remote.hubs() if hub_id not in joined]

        for hub_id in await self._store.read(work):
            await self.ended(hub_id)

    async def ended(self, hub_id: str) -> None:
        """A link has been ended for good: its cameras go."""
        self._conflicts.ask(await self._received.remove_all(hub_id))
        self._conflicts.forget(hub_id)

    async def digest(self, hub_id: str) -> tuple[int, bytes]:
        """How many cameras came from the hub, and the digest of them."""
        entries = await self._store.read(lambda conn: remote_cameras.digests(conn, hub_id))
        return len(entries), digest.of(entries)

    def is_stale(self, camera_id: str) -> bool:
        """Another hub's, and the link to it, or one further on, is down."""
        return self._remote.is_stale(camera_id)

    def refused_count(self, hub_id: str) -> int:
        """Cameras of the hub that are not taken, as of its last link."""
        return self._conflicts.count(hub_id)

    async def assign(self, principal: Principal, camera_id: str, hub_id: str, reason: str) -> None:
        """Gives the id that two hubs claim to one of them, see `ReceivedCameras.assign`, and asks that one for it."""
        taken = await self._received.assign(principal, camera_id, hub_id, reason)
        self._conflicts.moved(one.hub_id for one in taken.displaced)
        self._conflicts.ask([Conflict(hub_id, camera_id, "CAMERA_ID_TAKEN")])

    # As a part of links.

    async def opened(self, link: Link) -> None:
        self._let_go(link.hub.id)  # a newer link may open before the older one is closed
        self._receivings[link.hub.id] = _Receiving(link)
        self._conflicts.opened(link)
        self._remote.link_up(link.hub.id)

    def closed(self, link: Link) -> None:
        receiving = self._receivings.get(link.hub.id)
        if receiving is None or receiving.link is not link:
            return
        self._let_go(link.hub.id)
        self._remote.link_down(link.hub.id)

    def _let_go(self, hub_id: str) -> None:
        self._receivings.pop(hub_id, None)
        self._conflicts.closed(hub_id)

    async def take(self, link: Link, body: str, message: Any) -> None:
        receiving = self._receivings.get(link.hub.id)
        if receiving is None or receiving.link is not link:
            return
        if not receiving.is_loaded:
            known = await self._store.read(lambda conn: hubs.get(conn, link.hub.id))
            receiving.have = None if known is None else known.have
            receiving.is_loaded = True
        match body:
            case "catalogue_delta":
                await self._confirmed(receiving, self._delta(receiving, message))
            case "catalogue_range":
                await self._confirmed(receiving, self._range(receiving, message))
            case "catalogue_digest":
                await self._compared(receiving, message)
            case _:
                self._states(receiving, message)

    # Deltas and ranges.

    async def _confirmed(self, receiving: _Receiving, work: Any) -> None:
        """Confirms what is durable. What was refused is confirmed as well, by where we are: the other side compares."""
        try:
            revision = await work
        except VidhubError as error:
            receiving.link.send(catalogue_ack=pb.CatalogueAck(revision=convert.to_revision(receiving.have)))
            if isinstance(error, NotFound):  # the link has been ended for good, and will be cut
                return
            raise
        receiving.link.send(catalogue_ack=pb.CatalogueAck(revision=convert.to_revision(revision)))

    async def _delta(self, receiving: _Receiving, message: pb.CatalogueDelta) -> Revision:
        _bounded(message, "upserts", "removed")
        have = receiving.have
        if (
            have is None
            or message.epoch != have.epoch
            or message.after > have.number
            or not message.after <= message.number <= _HIGHEST
        ):
            raise InvalidArgument("REVISION_UNKNOWN", "the delta does not go on from what is known here: compare first")
        if not all(_ID.fullmatch(camera_id) for camera_id in message.removed):
            raise InvalidArgument("ID_INVALID", "a removed id has 20 digits (GB/T 28181)")
        # One that comes twice, as after a link that was cut, changes nothing: records are told as they are now.
        to = Revision(have.epoch, max(have.number, message.number))
        await self._write(receiving, message.upserts, removed=message.removed, have=to)
        return Revision(message.epoch, message.number)

    async def _range(self, receiving: _Receiving, message: pb.CatalogueRange) -> Revision:
        _bounded(message, "cameras")
        revision = convert.from_revision(message, "revision") or Revision("", 0)
        known = receiving.comparing or receiving.have
        if known is None or revision.epoch != known.epoch or (message.final and revision != receiving.comparing):
            raise InvalidArgument("REVISION_UNKNOWN", "the range is of no digest that is known here: compare first")
        ids = [camera.id for camera in message.cameras]
        _in_order([message.after, *ids], message.last)
        await self._write(
            receiving,
            message.cameras,
            ranges=_pieces(message.after, message.last, ids),
            have=revision if message.final else None,
        )
        if message.final:
            receiving.comparing = None
        return revision

    async def _write(
        self,
        receiving: _Receiving,
        messages: Sequence[Any],
        *,
        removed: Sequence[str] = (),
        ranges: Sequence[tuple[str, str]] = (),
        have: Revision | None,
    ) -> None:
        """In transactions of CHUNK rows; the last one moves the revision. ranges: one for each of them."""
        peer = receiving.link.hub.id
        refused: Counter[str] = Counter()
        steps = max(1, -(-len(messages) // CHUNK), -(-len(removed) // CHUNK), len(ranges))
        for step in range(steps):
            part = slice(step * CHUNK, (step + 1) * CHUNK)
            found, conflicts = await self._judged(receiving, messages[part], refused)
            chunk = Chunk(
                cameras=found,
                removed=tuple(removed[part]),
                refused=conflicts,
                ranges=tuple(ranges[step : step + 1]),
                have=have if step == steps - 1 else None,
            )
            taken = await self._received.take(peer, chunk)
            self._noted(receiving, taken, refused)
        if have is not None:
            self._is_at(receiving, have)
        for reason, count in refused.items():
            detail = f'{{"refused": {count}}}'
            record = AuditRecord.of(_hub(peer), "catalogue.refused", "camera/*", result=reason, detail_json=detail)
            self._audit.refusal(record)
            log.warning("cameras of another hub were refused", hub=peer, reason=reason, cameras=count)

    def _is_at(self, receiving: _Receiving, have: Revision | None) -> None:
        receiving.have = have
        self._note(receiving.link.hub.id, have)

    async def _judged(
        self, receiving: _Receiving, messages: Iterable[Any], refused: Counter[str]
    ) -> tuple[list[Received], list[Conflict]]:
        """What keeps the rules, and what does not. One bad camera does not stop the rest."""
        hub = receiving.link.hub
        found: list[Received] = []
        conflicts: list[Conflict] = []
        room = MOST_CAMERAS - self._remote.count(hub.id)
        prefix = hub.region_prefix
        for place, message in enumerate(messages):
            if place % _STEP == _STEP - 1:
                await asyncio.sleep(0)
            reason = shared.broken(message)
            if not reason and message.home_hub_id == self._hub_id:
                reason = "PATH_CYCLE"
            if not reason and not message.region_code.startswith(prefix):
                reason = "REGION_NOT_OF_PEER"
            if not reason and len(found) >= room and not self._remote.link_of(message.id):
                reason = "LIMIT_CAMERAS"
            if reason:
                refused[reason] += 1
                if _ID.fullmatch(message.id):
                    conflicts.append(Conflict(hub.id, message.id, reason))
            else:
                found.append(Received(shared.taken(message), shared.digest(message)))
        return found, conflicts

    def _noted(self, receiving: _Receiving, taken: Taken, refused: Counter[str]) -> None:
        refused.update(one.reason for one in taken.refused if one.reason == "CAMERA_ID_TAKEN")
        self._conflicts.moved(one.hub_id for one in taken.displaced)
        if taken.conflicts_moved:
            self._conflicts.moved([receiving.link.hub.id])
        self._conflicts.ask(taken.freed)

    # Digests.

    async def _compared(self, receiving: _Receiving, message: pb.CatalogueDigest) -> None:
        """Answers; where it can't, a confirmation of where we are tells the other side to begin again."""
        try:
            await self._digest(receiving, message)
        except VidhubError:
            receiving.comparing = None
            receiving.link.send(catalogue_ack=pb.CatalogueAck(revision=convert.to_revision(receiving.have)))
            raise

    async def _digest(self, receiving: _Receiving, message: pb.CatalogueDigest) -> None:
        _bounded(message, "ranges")
        peer = receiving.link.hub.id
        revision = convert.from_revision(message, "revision") or Revision("", 0)
        if not 0 < len(revision.epoch) <= _LONGEST_EPOCH or revision.number > _HIGHEST or not message.ranges:
            raise InvalidArgument("DIGEST_INVALID", "a digest has a revision and ranges")
        if message.ranges[0].after == "":
            receiving.comparing, receiving.at, receiving.differing = revision, "", 0
            receiving.own = await self._store.read(lambda conn: remote_cameras.digests(conn, peer))
        if receiving.comparing != revision:
            raise InvalidArgument("DIGEST_INVALID", "the ranges are of no digest that has begun")
        spans = [digest.Span(one.after, one.last, one.cameras, one.sha256) for one in message.ranges]
        for place, span in enumerate(spans):
            is_last = not message.more and place == len(spans) - 1
            if span.after != receiving.at or is_last != (span.last == "") or not (is_last or span.after < span.last):
                raise InvalidArgument("DIGEST_INVALID", "ranges come in order and without gaps; the last one is open")
            receiving.at = span.last
        differing = [span for span in spans if digest.differs(receiving.own, span)]
        if differing and not receiving.differing:
            await self._received.forget(peer)
            self._is_at(receiving, None)
        receiving.differing += len(differing)
        if not message.more:
            receiving.own = ()
            if not receiving.differing:
                await self._received.take(peer, Chunk(have=revision))
                receiving.comparing = None
                self._is_at(receiving, revision)
        receiving.link.send(
            catalogue_difference=pb.CatalogueDifference(
                revision=message.revision, ranges=[to_range(span) for span in differing], more=message.more
            )
        )

    # States.

    def _states(self, receiving: _Receiving, message: pb.CameraStates) -> None:
        _bounded(message, "states")
        peer = receiving.link.hub.id
        now = datetime.now(UTC)
        found: list[tuple[str, CameraState, datetime, str]] = []
        stale: list[tuple[str, bool]] = []
        refused = 0
        for one in message.states:
            if self._remote.link_of(one.camera_id) != peer:
                continue  # refused before, or gone meanwhile
            state = _STATES.get(one.state)
            if state is None or not shared.is_reason(one.reason):
                refused += 1
                continue
            found.append((one.camera_id, state, _not_after(now, one), one.reason))
            stale.append((one.camera_id, one.stale))
        if found:
            self._core.apply_states(found)
        self._remote.stale_below(stale)
        if refused:
            raise InvalidArgument("STATE_INVALID", f"{refused} states are none, or have a reason that is none")


def _bounded(message: Any, *names: str) -> None:
    for name in names:
        if len(getattr(message, name)) > _MOST_OF_A_MESSAGE[name]:
            raise InvalidArgument("MESSAGE_INVALID", f"{name}: at most {_MOST_OF_A_MESSAGE[name]} in a message")


def _in_order(ids: Sequence[str], last: str) -> None:
    """ids: the place that the range begins after, then its cameras."""
    is_ordered = all(one < other for one, other in pairwise(ids))
    if not is_ordered or (last and ids[-1] > last) or len(last) > 20 or len(ids[0]) > 20:
        raise InvalidArgument("RANGE_INVALID", "a range has its cameras in order of id, between its ends")


def _pieces(after: str, last: str, ids: Sequence[str]) -> list[tuple[str, str]]:
    """The range cut where its cameras are cut into transactions."""
    cuts = [ids[end - 1] for end in range(CHUNK, len(ids), CHUNK)]
    return list(zip([after, *cuts], [*cuts, last], strict=True))


def _not_after(now: datetime, state: pb.CameraStates.State) -> datetime:
    """The other hub's clock may be ahead."""
    try:
        return min(now, state.time.ToDatetime(UTC)) if state.HasField("time") else now
    except (ValueError, OverflowError):
        return now


def _hub(hub_id: str) -> Principal:
    return Principal(PrincipalKind.HUB, hub_id)
