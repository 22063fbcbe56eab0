"""The media core, spoken to in the values of `model.py`. The only importer of `_core`.

Calls return at once. What happens later arrives as events: an eventfd wakes the loop, which hands each batch to the
listeners in turn; no thread waits, and the core bounds what it keeps for us.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from vidhub import _core
from vidhub._core import CameraSim, FrameUnit, JsonWriter, PlainRecord, RecordBatch, record_rows
from vidhub.errors import Internal, NotFound, Unauthenticated, Unavailable
from vidhub.model import (
    Action,
    Camera,
    CameraFilter,
    CameraGrouping,
    CameraState,
    CameraStateChange,
    CameraStream,
    CoreEvent,
    Decision,
    Grant,
    LegalRecord,
    Location,
    Principal,
    PrincipalKind,
    Profile,
    Revision,
    Ticket,
)

__all__ = [
    "BasicPage",
    "CameraSim",
    "Change",
    "Core",
    "FrameUnit",
    "JsonWriter",
    "PlainRecord",
    "RecordBatch",
    "camera_of",
    "record_rows",
    "validate_policies",
]

# Events taken in one turn of the loop, so that a burst does not hold up the calls that wait beside it.
EVENTS_A_TURN = 512


@dataclass(frozen=True, slots=True)
class BasicPage:
    """One page of what the registry knows. next_after: the id to go on from, or None at the end."""

    cameras: tuple[Camera, ...]
    next_after: str | None
    total: int
    revision: Revision


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the catalogue's change log. removed: the camera is no more."""

    number: int
    camera_id: str
    removed: bool


class Core:
    """The hub's core: registry and policy at once, media after `start`."""

    def __init__(self, options: Mapping[str, object]) -> None:
        self._inner = _core.Core(json.dumps(options))
        self._listeners: list[Callable[[Sequence[CoreEvent]], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = False
        self._revision = Revision("", 0)

    # Life.

    async def start(self) -> dict[str, str | None]:
        """Binds http, rtsp, rtsp_udp, rtsps and webrtc; the bound address of each, None for what is off."""
        return await asyncio.to_thread(self._inner.start)

    def set_ready(self, ready: bool) -> None:
        self._inner.set_ready(ready)

    async def drain(self, timeout_s: float) -> None:
        await asyncio.to_thread(self._inner.drain, timeout_s)

    async def stop(self) -> None:
        """Ends all threads of the core. Idempotent."""
        self.stop_listening()
        if not self._stopped:
            self._stopped = True
            await asyncio.to_thread(self._inner.stop)

    # Events.

    def listen(self, listener: Callable[[Sequence[CoreEvent]], None]) -> None:
        """Calls `listener` on the event loop with each batch. It returns at once: what takes time, it queues."""
        self._listeners.append(listener)

    def start_listening(self) -> None:
        """From now on events are handed out, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._inner.event_fd(), self._take)
        self._loop.call_soon(self._take)

    def stop_listening(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._inner.event_fd())
            self._loop = None

    def take_events(self) -> tuple[CoreEvent, ...]:
        """Hands out what waits now, at shutdown too, when the reader is gone."""
        events = tuple(_event(event) for event in self._inner.next_events(EVENTS_A_TURN))
        if events:
            for listener in self._listeners:
                listener(events)
        return events

    def _take(self) -> None:
        # The eventfd stays readable while more events wait, so the loop comes back by itself.
        if self._loop is not None:
            self.take_events()

    # Figures.

    def snapshot(self) -> dict[str, object]:
        return self._inner.snapshot()

    def link_media(self, hub_id: str) -> tuple[int, int]:
        """RTP payload octets sent to another hub, and received from it."""
        links = cast("Iterable[tuple[str, str, int]]", self._inner.snapshot()["links"])
        counted = {direction: octets for hub, direction, octets in links if hub == hub_id}
        return counted.get("out", 0), counted.get("in", 0)

    def counts(self) -> dict[str, int]:
        return self._inner.counts()

    def camera_counts(self) -> list[tuple[int, str, str, int]]:
        return self._inner.camera_counts()

    # The registry.

    def load(self, revision: Revision, cameras: Iterable[Camera], changes: Iterable[Change]) -> None:
        rows = [_camera_row(camera) for camera in cameras]
        log = [(change.number, _kind(change), change.camera_id) for change in changes]
        self._inner.load(revision.epoch, revision.number, rows, log)
        self._revision = revision

    def revision(self) -> Revision:
        """The newest of the catalogue."""
        return self._revision

    def apply_cameras(self, number: int, upserts: Iterable[Camera], removed: Sequence[str] = ()) -> None:
        """Applies one committed change; numbers never go back."""
        self._inner.apply_cameras(number, [_camera_row(camera) for camera in upserts], removed)
        self._revision = Revision(self._revision.epoch, number)

    def apply_records(
        self,
        number: int,
        records: Sequence[PlainRecord],
        ids: Sequence[str],
        unit_id: str,
        upserts: Iterable[Camera],
    ) -> None:
        """As `apply_cameras`, in one change, with new cameras of a unit out of records, under these ids."""
        self._inner.apply_records(number, records, ids, unit_id, [_camera_row(camera) for camera in upserts])
        self._revision = Revision(self._revision.epoch, number)

    def list_cameras(self, principal: Principal, wanted: CameraFilter, *, limit: int, after: str = "") -> BasicPage:
        page = self.list_rows(principal, wanted, limit=limit, after=after)
        return BasicPage(
            cameras=tuple(_camera(basic, page.epoch) for basic in page.cameras),
            next_after=page.next_after,
            total=page.total,
            revision=Revision(page.epoch, page.revision),
        )

    def list_rows(self, principal: Principal, wanted: CameraFilter, *, limit: int, after: str = "") -> _core.CameraPage:
        """As `list_cameras`, without a value for each: for who wants them written out. Drop it soon: it keeps a whole
        state of the registry."""
        within = wanted.within
        return self._inner.list_cameras(
            _principal(principal),
            region_prefix=wanted.region_prefix,
            unit_ids=wanted.unit_ids,
            industries=wanted.industries,
            place_categories=wanted.place_categories,
            states=wanted.states,
            text=wanted.text,
            within=None if within is None else (within.latitude, within.longitude, within.radius_m),
            limit=limit,
            after=after,
        )

    def count_cameras(
        self,
        principal: Principal,
        wanted: CameraFilter,
        grouping: CameraGrouping,
        *,
        region_digits: int = 6,
        stale: Sequence[str] = (),
    ) -> _core.CameraCounts:
        """stale: ids of cameras whose link is down."""
        return self._inner.count_cameras(
            _principal(principal), _filter_row(wanted), grouping.value, region_digits, stale
        )

    def list_points(
        self, principal: Principal, wanted: CameraFilter, *, limit: int, after: str = ""
    ) -> _core.CameraPoints:
        return self._inner.list_points(_principal(principal), _filter_row(wanted), limit, after)

    def get_camera(self, principal: Principal, camera_id: str, *, epoch: str = "") -> Camera:
        """Raises NotFound CAMERA_NOT_FOUND when it is unknown or hidden from the principal."""
        return _camera(self._inner.get_camera(_principal(principal), camera_id), epoch)

    def is_foreign(self, camera_id: str) -> bool:
        """Whether another hub registered the camera. Raises NotFound CAMERA_NOT_FOUND."""
        return self._inner.is_foreign(camera_id)

    def changes_since(self, revision: Revision, limit: int) -> tuple[Change, ...]:
        """Raises OutOfRange REVISION_TOO_OLD past the log's end or of another epoch."""
        found = self._inner.changes_since(revision.epoch, revision.number, limit)
        return tuple(Change(number, camera_id, kind == "removed") for number, kind, camera_id in found)

    def states_since(self, number: int, limit: int) -> tuple[tuple[CameraStateChange, ...], bool]:
        """State changes after `number`; False when the log no longer reaches back that far."""
        found, complete = self._inner.states_since(number, limit)
        return tuple(
            CameraStateChange(id=camera_id, state=CameraState(state), reason=reason, number=at)
            for at, camera_id, state, reason in found
        ), complete

    def probe_now(self, camera_id: str) -> None:
        self._inner.probe_now(camera_id)

    async def examine_camera(self, camera_id: str, profile: Profile) -> list[tuple[str, str, str]]:
        """(hop, reason or "", message) up to the first hop that fails; dials once, takes up to 50 s.

        Raises NotFound CAMERA_NOT_FOUND, CAMERA_PROFILE_MISSING; FailedPrecondition CAMERA_FOREIGN, CAMERA_PUSHED;
        ResourceExhausted LIMIT_EXAMINATIONS.
        """
        return await asyncio.to_thread(self._inner.examine_camera, camera_id, int(profile))

    def apply_states(self, states: Iterable[tuple[str, CameraState, datetime, str]]) -> int:
        """(camera id, state, time, reason) of cameras of other hubs; how many were news. Our own are passed over.

        Raises InvalidArgument STATE_UNKNOWN for a state that is no camera's to have, such as QUARANTINED.
        """
        return self._inner.apply_states(
            [(camera_id, int(state), time.timestamp(), reason) for camera_id, state, time, reason in states]
        )

    # Policy.

    def load_grants(self, grants: Iterable[Grant]) -> None:
        self._inner.load_grants([_grant_row(grant) for grant in grants])

    def apply_grant(self, grant: Grant) -> None:
        """A new one, or another wording of one: sessions that stood on it and that it no longer permits end with
        GRANT_REVOKED."""
        self._inner.apply_grant(_grant_row(grant))

    def remove_grant(self, grant_id: str, reason: str) -> None:
        """Every session that stood on it ends, with this reason."""
        self._inner.remove_grant(grant_id, reason)

    def authorise(self, principal: Principal, action: Action, camera_id: str, purpose: str) -> Decision:
        """Raises NotFound CAMERA_NOT_FOUND when the camera is unknown or may not be known of."""
        found = self._inner.authorise(_principal(principal), action.value, camera_id, purpose)
        return Decision(
            allowed=found.allowed,
            reason=found.reason,
            rules=tuple(found.rules),
            grant_id=found.grant_id,
            valid_until=_moment(found.valid_until),
        )

    # Sessions and tickets.

    def open_session(
        self,
        session_id: str,
        principal: Principal,
        camera_id: str,
        *,
        profile: Profile,
        purpose: str,
        grant_id: str,
        expire_time: datetime,
        rtsp_user: str,
        rtsp_password: str,
        connections: int = 1,
    ) -> None:
        self._inner.open_session(
            session_id,
            _principal(principal),
            camera_id,
            profile=int(profile),
            purpose=purpose,
            grant_id=grant_id,
            expire_time=expire_time.timestamp(),
            rtsp_user=rtsp_user,
            rtsp_password=rtsp_password,
            connections=connections,
        )

    def renew_session(self, session_id: str, expire_time: datetime) -> None:
        """Raises NotFound SESSION_UNKNOWN."""
        with _no_session():
            self._inner.renew_session(session_id, expire_time.timestamp())

    def issue_ticket(self, session_id: str, ttl_s: float) -> Ticket:
        """Raises NotFound SESSION_UNKNOWN."""
        with _no_session():
            text, expire_time = self._inner.issue_ticket(session_id, ttl_s)
        return Ticket(text=text, expire_time=datetime.fromtimestamp(expire_time, UTC))

    def end_session(self, session_id: str, reason: str) -> bool:
        """False when the core knows no such session; else the event `session_ended` follows."""
        return self._inner.end_session(session_id, reason)

    def end_sessions_of(self, kind: PrincipalKind, principal_id: str, reason: str) -> int:
        return self._inner.end_sessions_of(kind.value, principal_id, reason)

    def cut_cameras(self, camera_ids: Sequence[str], reason: str) -> None:
        """Ends every session and stream of these cameras; called before they go for another reason than that they are
        retired."""
        self._inner.cut_cameras(camera_ids, reason)

    # Media between hubs: what is wanted and what ends is told by events (`_core.Event`).

    def supply_stream(self, camera_id: str, profile: Profile, *, peer: str, url: str, ticket: str, ca_pem: str) -> None:
        """Gives the wanted stream of another hub's camera a place to pull from: one connection, then wanted again.

        Raises FailedPrecondition STREAM_NOT_WANTED, CAMERA_NOT_FOREIGN, NotFound CAMERA_NOT_FOUND, InvalidArgument
        LINK_URL_INVALID, LINK_CA_INVALID, LINK_TICKET_INVALID.
        """
        self._inner.supply_stream(camera_id, int(profile), peer=peer, url=url, ticket=ticket, ca_pem=ca_pem)

    def withdraw_stream(self, camera_id: str, profile: Profile, reason: str) -> bool:
        """Takes it back; False when nothing was supplied."""
        return self._inner.withdraw_stream(camera_id, int(profile), reason)

    def refuse_stream(self, camera_id: str, profile: Profile, reason: str, message: str) -> bool:
        """Tells those who wait for the stream why nothing will come; False when nobody does."""
        return self._inner.refuse_stream(camera_id, int(profile), reason, message)

    def start_relay(
        self, relay_id: str, camera_id: str, profile: Profile, *, peer: str, url: str, ticket: str, ca_pem: str
    ) -> None:
        """Pushes a stream to another hub for as long as somebody from there has a session on the camera.

        Raises NotFound CAMERA_NOT_FOUND, CAMERA_PROFILE_MISSING, FailedPrecondition RELAY_NOT_WANTED, AlreadyExists
        RELAY_EXISTS, ResourceExhausted LIMIT_RELAYS, LIMIT_STREAMS, InvalidArgument LINK_URL_INVALID, LINK_CA_INVALID,
        LINK_TICKET_INVALID; then no `relay_ended` follows.
        """
        self._inner.start_relay(relay_id, camera_id, int(profile), peer=peer, url=url, ticket=ticket, ca_pem=ca_pem)

    def stop_relay(self, relay_id: str, reason: str) -> bool:
        """False when there is no such relay; else the event `relay_ended` follows."""
        return self._inner.stop_relay(relay_id, reason)

    # Frames.

    async def frames(self, session_id: str, *, keyframes_only: bool = False) -> AsyncGenerator[FrameUnit]:
        """The session's encoded frames from the newest keyframe on, as they come, until its end, which is raised.

        Nobody waits for who reads: what is not taken in time goes, oldest first and in whole groups, and the next unit
        says how much (`dropped_before`). keyframes_only: the newest keyframe each time. A second reader of the session
        replaces the first.

        Raises NotFound SESSION_UNKNOWN, ResourceExhausted LIMIT_…, Unavailable CAMERA_… when the camera gives no
        picture, HUB_DRAINING, STREAM_CHANGED; FailedPrecondition with the reason of the session's end, or
        CONNECTION_REPLACED.
        """
        with _no_session():
            reader = self._inner.open_frames(session_id, "keyframes" if keyframes_only else "everything")
        try:
            while True:
                # One at a time: what waited here could not be dropped for something newer.
                taken = reader.take(1)
                if taken:
                    yield taken[0]
                else:
                    await _readable(reader.fd())
        finally:
            reader.close()

    async def keyframe(self, session_id: str, *, patience_s: float) -> FrameUnit:
        """The newest keyframe of the session's camera, waited for when there is none yet; beside what else reads.

        Raises what `frames` raises, and Unavailable CAMERA_NO_KEYFRAME when none has come within `patience_s`.
        """
        with _no_session():
            reader = self._inner.open_frames(session_id, "one_keyframe")
        try:
            async with asyncio.timeout(patience_s):
                while not (taken := reader.take(1)):
                    await _readable(reader.fd())
            return taken[0]
        except TimeoutError as cause:
            raise Unavailable(
                "CAMERA_NO_KEYFRAME", f"no keyframe came within {patience_s:.0f} s: shorten the camera's interval"
            ) from cause
        finally:
            reader.close()


def validate_policies() -> list[str]:
    """Strict validation of the built-in policies against their schema; the problems found."""
    return _core.validate_policies()


async def _readable(descriptor: int) -> None:
    """Returns when the descriptor can be read. It is watched no longer than that: it stays readable."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()

    def read() -> None:
        if not waiting.done():
            waiting.set_result(None)

    loop.add_reader(descriptor, read)
    try:
        await waiting
    finally:
        loop.remove_reader(descriptor)


@contextlib.contextmanager
def _no_session() -> Iterator[None]:
    """The core answers media clients, to whom an unknown session means 401; here it is a thing that is not there."""
    try:
        yield
    except Unauthenticated as error:
        raise NotFound(error.reason, error.message) from error


# Between the rows of the core and the values of the model.


def _principal(principal: Principal) -> _core.Principal:
    if principal.kind is PrincipalKind.CLAIM:  # a claim may enrol and nothing else: it never gets as far as policy
        raise Internal("CLAIM_IN_POLICY", "a claim certificate was put before the policy")
    return _core.Principal(
        principal.kind.value,
        principal.id,
        hub_id=principal.hub_id,
        unit_id=principal.unit_id,
        department=principal.department,
        roles=sorted(role.value for role in principal.roles),
    )


def camera_of(record: PlainRecord, unit_id: str) -> Camera:
    """The same record as a value of the model."""
    streams = tuple(
        CameraStream(Profile(profile), url, username, password, transport)
        for profile, url, username, password, transport in record.streams
    )
    return Camera(
        id=record.id,
        name=record.name,
        unit_id=unit_id,
        region_code=record.region_code,
        industry=record.industry,
        place_category=record.place_category,
        location=Location(*record.location),
        streams=streams,
        legal=LegalRecord(*record.legal),
        device=tuple(json.loads(record.device_json).items()),
    )


def _camera_row(camera: Camera) -> _core._CameraRow:
    return (
        camera.id,
        camera.name,
        camera.unit_id,
        camera.region_code,
        camera.industry,
        camera.place_category,
        camera.location.latitude,
        camera.location.longitude,
        camera.state is CameraState.QUARANTINED,
        camera.revision.number if camera.revision is not None else 0,
        [(int(one.profile), one.url, one.username, one.password, one.transport) for one in camera.streams],
        camera.home_hub_id,
    )


def _filter_row(wanted: CameraFilter) -> _core._FilterRow:
    within = wanted.within
    return (
        wanted.region_prefix,
        wanted.unit_ids,
        wanted.industries,
        wanted.place_categories,
        wanted.states,
        wanted.text,
        None if within is None else (within.latitude, within.longitude, within.radius_m),
    )


_NO_LEGAL = LegalRecord()
_STATES = {int(state): state for state in CameraState}


@functools.cache
def _profiles(numbers: tuple[int, ...]) -> tuple[CameraStream, ...]:
    return tuple(CameraStream(profile=Profile(number)) for number in numbers)


def _camera(basic: _core.CameraBasic, epoch: str) -> Camera:
    # By position, and shared where it is the same for many: a list is made of hundreds of these.
    return Camera(
        basic.id,
        basic.name,
        basic.unit_id,
        basic.region_code,
        basic.industry,
        basic.place_category,
        Location(basic.latitude, basic.longitude),
        _profiles(tuple(basic.profiles)),
        _NO_LEGAL,
        (),
        _STATES[basic.state],
        _moment(basic.state_time),
        basic.state_reason,
        Revision(epoch, basic.revision),
        home_hub_id=basic.home_hub_id,
    )


def _grant_row(grant: Grant) -> _core._GrantRow:
    return (
        grant.id,
        "hub" if grant.hub_id else "user" if grant.username else "department",
        grant.hub_id or grant.username or grant.department,
        grant.scope.camera_ids,
        grant.scope.unit_ids,
        grant.scope.region_prefixes,
        grant.scope.industries,
        [action.value for action in grant.actions],
        grant.purposes,
        grant.not_before.timestamp(),
        grant.not_after.timestamp(),
    )


def _event(event: _core.Event) -> CoreEvent:
    return CoreEvent(
        kind=event.kind,
        subject=event.subject,
        reason=event.reason,
        detail=event.detail,
        number=event.number,
        state=event.state,
        time=datetime.fromtimestamp(event.time, UTC),
    )


def _kind(change: Change) -> str:
    return "removed" if change.removed else "upserted"


def _moment(seconds: float) -> datetime | None:
    """0 and what no calendar holds (a grant without end) have no moment."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (OverflowError, ValueError, OSError):
        return None
