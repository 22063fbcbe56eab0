"""Which cameras are other hubs', by which link they came, what their units are called, and whether that link is up.

A camera whose link is down is stale: what is known of it is the last that was known. In memory, because lists ask it
for each row; about 130 octets a camera.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from vidhub.model import Camera

# Told of cameras whose staleness may have changed.
Listener = Callable[[Collection[str]], None]


class RemoteCameras:
    """On the event loop alone, but for `link_of` and `is_stale`, which any thread may ask."""

    def __init__(self, known: Iterable[tuple[str, str, str, str]] = ()) -> None:
        """known: (camera id, hub whose link it came by, id and name of its unit). All links are down."""
        self._names: dict[str, str] = {}
        self._by_hub: dict[str, set[str]] = {}
        self._links: dict[str, str] = {}
        self._up: set[str] = set()
        # Lost from sight further down, as the link that is up says.
        self._stale_below: set[str] = set()
        self._listeners: list[Listener] = []
        # By hub and id of the unit: no hub names another's. As many as there are units, not cameras.
        self._units: dict[tuple[str, str], str] = {}
        for camera_id, hub_id, unit_id, unit_name in known:
            self._put(hub_id, camera_id, unit_id, unit_name)

    def listen(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def link_of(self, camera_id: str) -> str:
        """The linked hub that the camera came by; "" for our own, and for one that is not known."""
        return self._links.get(camera_id, "")

    def is_stale(self, camera_id: str) -> bool:
        hub_id = self._links.get(camera_id)
        return hub_id is not None and (hub_id not in self._up or camera_id in self._stale_below)

    def told(self, camera: Camera) -> Camera:
        """The camera as callers are told of it: with `stale` and the name of its unit."""
        if not camera.home_hub_id:
            return camera
        return replace(camera, stale=self.is_stale(camera.id), unit_name=self.unit_name(camera))

    def unit_name(self, camera: Camera) -> str:
        """What the camera's hub calls its unit; "" for our own."""
        return self.unit_of(camera.id, camera.unit_id)

    def unit_of(self, camera_id: str, unit_id: str) -> str:
        """Likewise, of the unit that this camera is of."""
        return self._units.get((self.link_of(camera_id), unit_id), "")

    def stale_ids(self) -> list[str]:
        """Every camera that is stale: none while all links are up."""
        down = (camera_id for hub_id, held in self._by_hub.items() if hub_id not in self._up for camera_id in held)
        return [*down, *(one for one in self._stale_below if self._links[one] in self._up)]

    def of(self, hub_id: str) -> Collection[str]:
        """Cameras that came by the link."""
        return self._by_hub.get(hub_id, frozenset())

    def hubs(self) -> list[str]:
        """Those that cameras came from."""
        return list(self._by_hub)

    def count(self, hub_id: str) -> int:
        return len(self.of(hub_id))

    # What the link to a hub brings.

    def put(self, hub_id: str, cameras: Iterable[Camera]) -> None:
        for camera in cameras:
            self._put(hub_id, camera.id, camera.unit_id, camera.unit_name)

    def drop(self, ids: Iterable[str]) -> None:
        for camera_id in ids:
            hub_id = self._links.pop(camera_id, None)
            self._stale_below.discard(camera_id)
            if hub_id is not None:
                held = self._by_hub[hub_id]
                held.discard(camera_id)
                if not held:
                    del self._by_hub[hub_id]
                    self._units = {key: name for key, name in self._units.items() if key[0] != hub_id}

    def link_up(self, hub_id: str) -> None:
        if hub_id not in self._up:
            self._up.add(hub_id)
            self._tell(self.of(hub_id))

    def link_down(self, hub_id: str) -> None:
        if hub_id in self._up:
            self._up.discard(hub_id)
            held = self.of(hub_id)
            self._stale_below.difference_update(held)
            self._tell(held)

    def stale_below(self, states: Iterable[tuple[str, bool]]) -> None:
        """(camera id, whether the hub that tells has lost it from sight)."""
        moved = []
        for camera_id, is_stale in states:
            if is_stale != (camera_id in self._stale_below) and camera_id in self._links:
                (self._stale_below.add if is_stale else self._stale_below.discard)(camera_id)
                moved.append(camera_id)
        self._tell(moved)

    # Inside.

    def _put(self, hub_id: str, camera_id: str, unit_id: str, unit_name: str) -> None:
        name = self._names.setdefault(hub_id, hub_id)
        self._links[camera_id] = name
        if unit_name:
            self._units[name, unit_id] = unit_name
        self._by_hub.setdefault(name, set()).add(camera_id)

    def _tell(self, moved: Collection[str]) -> None:
        if moved:
            for listener in self._listeners:
                listener(moved)
