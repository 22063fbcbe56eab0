"""Cameras that go dark and come back, as events: many of one unit or region at once are one event.

A camera that flaps opens its event again instead of making another. What a storm holds is known until the hub stops;
after that, one of more cameras than it names is over, and those that are dark still begin a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from vidhub.core import Core
from vidhub.errors import NotFound, OutOfRange
from vidhub.events.kinds import CAMERA_OFFLINE
from vidhub.events.log import MOST_CAMERAS, EventLog, Facts
from vidhub.model import Camera, CameraState, CoreEvent, Event, Principal, PrincipalKind, Revision, Severity
from vidhub.store.times import now

# So many of one unit, or of one region, within STORM_TIME are one event.
STORM = 5
STORM_TIME = timedelta(minutes=10)
# What goes dark within it is looked at together.
PAUSE_S = 1.0
_TURN = 250
_STEP = 512
# Why a camera counts as dark, in the words of media clients; the sentence goes along as a further fact.
_DARK = {
    CameraState.OFFLINE: "CAMERA_UNREACHABLE",
    CameraState.REFUSED: "CAMERA_REFUSED_LOGIN",
    CameraState.INVALID: "CAMERA_INVALID",
}
_BRIGHT = frozenset({CameraState.ONLINE, CameraState.QUARANTINED, CameraState.RETIRED})

# A camera, why it is dark in a word, and in a sentence.
_Dark = tuple[Camera, str, str]


class Storms:
    """Of this hub's own cameras. What waits is at most one entry a camera."""

    def __init__(
        self,
        events: EventLog,
        core: Core,
        hub_id: str,
        *,
        clock: Callable[[], datetime] = now,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._events = events
        self._core = core
        self._hub_id = hub_id
        self._system = Principal(PrincipalKind.SYSTEM, hub_id=hub_id)
        self._clock = clock
        self._pause_s = pause_s
        self._waiting: dict[str, tuple[CameraState, str]] = {}
        self._moved = asyncio.Event()
        self._catalogue_moved = False
        self._at = Revision("", 0)
        # Which event a dark camera is in, and what is dark in each event.
        self._event_of: dict[str, str] = {}
        self._members: dict[str, set[str]] = {}

    def start(self) -> None:
        """Goes on where the last run ended; the core is loaded."""
        self._at = self._core.revision()
        for event in self._events.all_lasting(CAMERA_OFFLINE):
            if event.hub_id:
                continue
            if event.count > len(event.camera_ids):
                self._events.end(CAMERA_OFFLINE, event.subject, detail={"because": "HUB_RESTARTED"})
                continue
            self._members[event.id] = set(event.camera_ids)
            self._event_of.update(dict.fromkeys(event.camera_ids, event.id))
        self._brighten([one for one in self._event_of if self._camera(one) is None])

    def take(self, events: Sequence[CoreEvent]) -> None:
        """Takes `camera_state` events of the core."""
        for event in events:
            self._waiting[event.subject] = CameraState(event.state), event.reason
        self._moved.set()

    def catalogue_moved(self) -> None:
        self._catalogue_moved = True
        self._moved.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._moved.wait()
            await asyncio.sleep(self._pause_s)
            await self.look()

    async def look(self) -> None:
        """Makes events of what has come."""
        self._moved.clear()
        waiting, self._waiting = self._waiting, {}
        if self._catalogue_moved:
            self._catalogue_moved = False
            self._brighten(self._retired())
        self._brighten([one for one, (state, _) in waiting.items() if state in _BRIGHT])
        dark: list[_Dark] = []
        for place, (camera_id, (state, reason)) in enumerate(waiting.items()):
            if place % _TURN == _TURN - 1:
                await asyncio.sleep(0)
            if state in _DARK and camera_id not in self._event_of:
                camera = self._camera(camera_id)
                if camera is not None and camera.home_hub_id in ("", self._hub_id):
                    dark.append((camera, _DARK[state], reason))
        self._darken(dark)

    # Dark.

    def _darken(self, dark: list[_Dark]) -> None:
        for word in ("unit", "region"):
            groups: dict[str, list[_Dark]] = {}
            for one in dark:
                name = one[0].unit_id if word == "unit" else one[0].region_code
                groups.setdefault(name, []).append(one)
            dark = []
            for name, group in groups.items():
                if not self._gather(f"{word}/{name}", group, is_unit=word == "unit"):
                    dark.extend(group)
        for camera, reason, message in dark:
            self._alone(camera, reason, message)

    def _gather(self, subject: str, group: list[_Dark], *, is_unit: bool) -> bool:
        """Into the storm of the subject, or a new one when they are many enough with those that stand alone."""
        storm = self._events.lasting(CAMERA_OFFLINE, subject)
        if storm is not None:
            self._grow(storm, group)
            return True
        camera = group[0][0]
        unit_id, region = (camera.unit_id, camera.region_code) if is_unit else ("", camera.region_code)
        alone = (
            [
                event
                for event in self._events.all_lasting(CAMERA_OFFLINE)
                if event.subject.startswith("camera/")
                and not event.hub_id
                and (event.unit_id == unit_id if is_unit else event.region_code == region)
                and self._clock() - event.last_time < STORM_TIME
            ]
            if len(group) < _TURN
            else []
        )
        if len(group) + len(alone) < STORM:
            return False
        ids = [camera_id for event in alone for camera_id in self._members.get(event.id, ())]
        ids += [one[0].id for one in group]
        storm = self._events.begin(
            CAMERA_OFFLINE,
            subject,
            Facts(
                reason=group[0][1],
                severity=Severity.SEVERE,
                count=len(ids),
                camera_ids=tuple(ids),
                unit_id=unit_id,
                region_code=region,
            ),
        )
        for event in alone:  # they go on in the storm, and ask for nobody any more
            self._members.pop(event.id, None)
            detail = {"folded_into": storm.id}
            self._events.end(CAMERA_OFFLINE, event.subject, detail=detail, severity=Severity.INFO)
        self._join(storm, ids)
        return True

    def _grow(self, storm: Event, group: Iterable[_Dark]) -> None:
        members = self._members.setdefault(storm.id, set())
        ids = [one[0].id for one in group if one[0].id not in members]
        self._join(storm, ids)
        named = tuple(dict.fromkeys((*storm.camera_ids, *ids)))
        count = len(named) if len(named) <= MOST_CAMERAS else max(storm.count, len(members))
        self._events.put(replace(storm, count=count, camera_ids=named[:MOST_CAMERAS], last_time=self._clock()))

    def _alone(self, camera: Camera, reason: str, message: str) -> None:
        subject = f"camera/{camera.id}"
        facts = Facts(
            reason=reason,
            camera_ids=(camera.id,),
            unit_id=camera.unit_id,
            region_code=camera.region_code,
            detail={"message": message} if message else None,
        )
        event = self._events.resume(CAMERA_OFFLINE, subject, reason, STORM_TIME)
        self._join(event or self._events.begin(CAMERA_OFFLINE, subject, facts), [camera.id])

    def _join(self, event: Event, ids: Iterable[str]) -> None:
        self._members.setdefault(event.id, set()).update(ids)
        self._event_of.update(dict.fromkeys(ids, event.id))

    # Bright again.

    def _brighten(self, ids: Iterable[str]) -> None:
        touched: set[str] = set()
        for camera_id in ids:
            event_id = self._event_of.pop(camera_id, None)
            if event_id is not None:
                self._members.get(event_id, set()).discard(camera_id)
                touched.add(event_id)
        for event_id in touched:
            event = self._events.get(event_id)
            if not self._members.get(event_id):
                self._members.pop(event_id, None)
                if event is not None:
                    self._events.end(CAMERA_OFFLINE, event.subject)

    def _retired(self) -> list[str]:
        """Cameras that the catalogue has lost since the last look."""
        gone: list[str] = []
        try:
            while changes := self._core.changes_since(self._at, _STEP):
                gone += [change.camera_id for change in changes if change.removed]
                self._at = Revision(self._at.epoch, changes[-1].number)
        except OutOfRange:  # too many at once
            self._at = self._core.revision()
            gone = [one for one in self._event_of if self._camera(one) is None]
        return gone

    def _camera(self, camera_id: str) -> Camera | None:
        try:
            return self._core.get_camera(self._system, camera_id)
        except NotFound:
            return None
