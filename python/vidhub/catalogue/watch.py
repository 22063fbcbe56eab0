"""Following the catalogue: durable changes by revision, states by number, as far as the caller may know.

A watcher keeps no queue. It is woken, reads on from its place in the core's logs, and yields; one that reads too slowly
passes the end of the log and is told REVISION_TOO_OLD, to list again (as etcd and Kubernetes do). What it does keep
is the set of ids it has told of, so that a camera that leaves the caller's sight is reported as removed, and one that
never was in sight is not mentioned at all.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from dataclasses import replace

from vidhub.catalogue.remote import RemoteCameras
from vidhub.core import BasicPage, Change, Core
from vidhub.errors import NotFound, OutOfRange, ResourceExhausted, Unavailable
from vidhub.model import (
    Camera,
    CameraFilter,
    CameraRemoved,
    CameraState,
    CameraStateChange,
    CameraUpserted,
    Circle,
    CoreEvent,
    Principal,
    PrincipalKind,
    Revision,
    Role,
    Synced,
    WatchEvent,
)
from vidhub.store import Store, cameras

MOST_WATCHERS = 256
_PAGE = 1_000
_STEP = 512
_EARTH_RADIUS_M = 6_371_008.8
_SEES_ALL = frozenset({Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR, Role.ADMINISTRATOR})


class Watches:
    """Every watcher there is, and what wakes them."""

    def __init__(self, core: Core, store: Store, remote: RemoteCameras) -> None:
        self._core = core
        self._store = store
        self._remote = remote
        self._watchers: set[_Watcher] = set()
        self._listeners: list[Callable[[], None]] = []
        self._state_number = 0
        self._is_draining = False
        remote.listen(self._stale_changed)

    def on_moved(self, listener: Callable[[], None]) -> None:
        """Called whenever the catalogue has moved; it returns at once."""
        self._listeners.append(listener)

    def drain(self) -> None:
        """The hub is stopping: every watch ends, so that nobody waits for it."""
        self._is_draining = True
        self.wake()

    def count(self) -> int:
        return len(self._watchers)

    def wake(self) -> None:
        """The catalogue has moved."""
        for watcher in self._watchers:
            watcher.awake.set()
        for listener in self._listeners:
            listener()

    def states_changed(self, events: Sequence[CoreEvent]) -> None:
        """Takes `camera_state` events of the core."""
        self._state_number = max([self._state_number, *(event.number for event in events)])
        self.wake()

    def _stale_changed(self, ids: Collection[str]) -> None:
        for watcher in self._watchers:
            watcher.stale_moved.update(ids)
            watcher.awake.set()

    def sight_changed(self, username: str, department: str) -> None:
        """A grant to this person or department began or ended."""
        for watcher in self._watchers:
            principal = watcher.principal
            if principal.kind is PrincipalKind.USER and (
                (username and principal.id == username) or (department and principal.department == department)
            ):
                watcher.compares = True
                watcher.awake.set()

    async def follow(
        self, principal: Principal, from_revision: Revision | None, wanted: CameraFilter, state_from: int
    ) -> AsyncGenerator[WatchEvent]:
        """Without `from_revision` every matching camera is sent first. Ends by being cancelled.

        Raises OutOfRange REVISION_TOO_OLD, ResourceExhausted LIMIT_WATCHES, Unavailable HUB_DRAINING.
        """
        self._refuse_while_draining()
        if len(self._watchers) >= MOST_WATCHERS:
            raise ResourceExhausted("LIMIT_WATCHES", f"{MOST_WATCHERS} callers watch already: try again later")
        watcher = _Watcher(self._core, self._store, self._remote, principal, wanted, lambda: self._state_number)
        self._watchers.add(watcher)
        try:
            async for event in watcher.begin(from_revision, state_from):
                yield event
            while True:
                await watcher.awake.wait()
                watcher.awake.clear()
                self._refuse_while_draining()
                async for event in watcher.go_on():
                    yield event
        finally:
            self._watchers.discard(watcher)

    def _refuse_while_draining(self) -> None:
        if self._is_draining:
            raise Unavailable("HUB_DRAINING", "the hub is stopping: watch again when it is back")


class _Watcher:
    def __init__(
        self,
        core: Core,
        store: Store,
        remote: RemoteCameras,
        principal: Principal,
        wanted: CameraFilter,
        newest_state: Callable[[], int],
    ) -> None:
        """newest_state: the number of the last state change there was, 0 when there was none."""
        self.awake = asyncio.Event()
        self.compares = False
        # Cameras whose link went down or came up; at most one entry a camera.
        self.stale_moved: set[str] = set()
        self.principal = principal
        self._state_number = 0
        self._newest_state = newest_state
        self._core = core
        self._store = store
        self._remote = remote
        self._wanted = wanted
        self._known: set[str] = set()
        self._at = Revision("", 0)
        self._has_all_states = False

    async def begin(self, from_revision: Revision | None, state_from: int) -> AsyncGenerator[WatchEvent]:
        if from_revision is None or from_revision == Revision("", 0):
            async for page in self._pages():
                for camera in page.cameras:
                    self._known.add(camera.id)
                    yield CameraUpserted(camera)
        else:
            self._at = from_revision
            missed = self._missed()
            async for page in self._pages(moves=False):
                self._known.update(camera.id for camera in page.cameras)
            for event in await self._since(missed):
                yield event
        yield Synced(self._at)
        async for event in self._states(state_from):
            yield event

    async def go_on(self) -> AsyncGenerator[WatchEvent]:
        if self.compares:
            self.compares = False
            async for event in self._compare():
                yield event
        while changes := self._core.changes_since(self._at, _STEP):
            for change in _newest(changes):
                seen = self._event(change.camera_id)
                if seen is not None:
                    yield seen
            self._at = Revision(self._at.epoch, changes[-1].number)
            yield Synced(self._at)
        async for event in self._states(self._state_number):
            yield event
        if self.stale_moved:
            moved, self.stale_moved = self.stale_moved & self._known, set()
            async for event in self._stale(moved):
                yield event

    async def _stale(self, moved: Collection[str]) -> AsyncGenerator[WatchEvent]:
        for place, camera_id in enumerate(sorted(moved)):
            if place % _STEP == _STEP - 1:
                await asyncio.sleep(0)
            camera = self._look(camera_id)
            if camera is not None:
                yield CameraStateChange(
                    id=camera_id,
                    state=camera.state,
                    reason=camera.state_reason,
                    number=self._state_number,
                    stale=camera.stale,
                )

    async def _pages(self, *, moves: bool = True) -> AsyncGenerator[BasicPage]:
        """All that matches and may be known of. moves: changes go on from the first page's revision."""
        after = ""
        first = True
        while True:
            page = await asyncio.to_thread(
                self._core.list_cameras, self.principal, self._wanted, limit=_PAGE, after=after
            )
            if first and moves:
                self._at = page.revision
            first = False
            yield replace(page, cameras=tuple(self._remote.told(camera) for camera in page.cameras))
            if page.next_after is None:
                return
            after = page.next_after

    def _missed(self) -> list[Change]:
        found: list[Change] = []
        while changes := self._core.changes_since(self._at, _STEP):
            found.extend(changes)
            self._at = Revision(self._at.epoch, changes[-1].number)
        return _newest(found)

    async def _since(self, missed: Sequence[Change]) -> list[WatchEvent]:
        """What a caller who comes back has missed: upserts of what is in sight, removals of what may have been."""
        told: list[WatchEvent] = []
        gone: list[str] = []
        for change in missed:
            camera = self._look(change.camera_id)
            if camera is None:
                gone.append(change.camera_id)
            else:
                told.append(CameraUpserted(camera))
        return [*told, *(CameraRemoved(camera_id) for camera_id in await self._may_hear_of(gone))]

    async def _may_hear_of(self, gone: Sequence[str]) -> list[str]:
        """Which of the cameras out of sight the caller may have known of."""
        principal = self.principal
        if not gone or principal.kind is PrincipalKind.SYSTEM or _SEES_ALL & principal.roles:
            return list(gone)
        if Role.OPERATOR in principal.roles or not principal.unit_id:
            # What an operator saw back then hung on grants and places that may have changed since.
            raise OutOfRange("REVISION_TOO_OLD", "the changes since that revision can't be told one by one: list again")
        found = await self._store.read(lambda conn: cameras.list_full(conn, gone))
        return [camera.id for camera in found if camera.unit_id == principal.unit_id and not camera.home_hub_id]

    async def _compare(self) -> AsyncGenerator[WatchEvent]:
        """After a grant began or ended: what came into sight, and what left it."""
        before = frozenset(self._known)
        in_sight: set[str] = set()
        async for page in self._pages(moves=False):
            for camera in page.cameras:
                in_sight.add(camera.id)
                if camera.id not in before:
                    self._known.add(camera.id)
                    yield CameraUpserted(camera)
        for camera_id in sorted(before - in_sight):
            self._known.discard(camera_id)
            yield CameraRemoved(camera_id)

    async def _states(self, number: int) -> AsyncGenerator[WatchEvent]:
        """States after `number` of the log, every state once from 0 or past its end; then goes on from there."""
        changes, complete = self._core.states_since(number, _STEP)
        if not complete or (not self._has_all_states and number == 0):
            self._state_number = self._newest_state()
            self._has_all_states = True
            async for page in self._pages(moves=False):
                for camera in page.cameras:
                    if camera.id in self._known:  # another will be told of as it comes into sight
                        yield CameraStateChange(
                            id=camera.id,
                            state=camera.state,
                            reason=camera.state_reason,
                            number=self._state_number,
                            stale=camera.stale,
                        )
            return
        self._has_all_states = True
        while changes:
            for change in changes:
                seen = self._state(change)
                if seen is not None:
                    yield seen
            self._state_number = changes[-1].number
            changes, _ = self._core.states_since(self._state_number, _STEP)

    def _state(self, change: CameraStateChange) -> WatchEvent | None:
        if self._wanted.states:  # a state may bring a camera into the filter, or take it out
            was_known = change.id in self._known
            event = self._event(change.id)
            return self._fresh(change) if was_known and isinstance(event, CameraUpserted) else event
        return self._fresh(change) if change.id in self._known else None

    def _fresh(self, change: CameraStateChange) -> CameraStateChange:
        return replace(change, stale=True) if self._remote.is_stale(change.id) else change

    def _event(self, camera_id: str) -> WatchEvent | None:
        camera = self._look(camera_id)
        if camera is not None:
            self._known.add(camera_id)
            return CameraUpserted(camera)
        if camera_id in self._known:
            self._known.discard(camera_id)
            return CameraRemoved(camera_id)
        return None

    def _look(self, camera_id: str) -> Camera | None:
        try:
            camera = self._core.get_camera(self.principal, camera_id, epoch=self._at.epoch)
        except NotFound:
            return None
        if not matches(camera, self._wanted):
            return None
        if self._wanted.text and not self._matches_text(camera):
            return None
        return self._remote.told(camera)

    def _matches_text(self, camera: Camera) -> bool:
        """Pinyin initials are the core's: ask it for this one camera."""
        narrow = CameraFilter(
            region_prefix=camera.region_code,
            unit_ids=(camera.unit_id,),
            industries=(camera.industry,),
            text=self._wanted.text,
        )
        before = f"{int(camera.id) - 1:020d}" if camera.id.isdecimal() else ""
        page = self._core.list_cameras(self.principal, narrow, limit=1, after=before)
        return any(found.id == camera.id for found in page.cameras)


def matches(camera: Camera, wanted: CameraFilter) -> bool:
    """All of a filter but its text."""
    return (
        camera.region_code.startswith(wanted.region_prefix)
        and (not wanted.unit_ids or camera.unit_id in wanted.unit_ids)
        and (not wanted.industries or camera.industry in wanted.industries)
        and (not wanted.place_categories or camera.place_category in wanted.place_categories)
        and (not wanted.states or camera.state in {CameraState(state) for state in wanted.states})
        and (wanted.within is None or _is_within(camera, wanted.within))
    )


def _is_within(camera: Camera, circle: Circle) -> bool:
    there, here = math.radians(camera.location.latitude), math.radians(circle.latitude)
    across = math.radians(camera.location.longitude - circle.longitude)
    chord = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * math.sin(across / 2) ** 2
    return 2 * _EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(chord))) <= circle.radius_m


def _newest(changes: Sequence[Change]) -> list[Change]:
    """The last change of each camera, in their order."""
    last = {change.camera_id: change for change in changes}
    return [change for change in changes if last[change.camera_id] is change]
