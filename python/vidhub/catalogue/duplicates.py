"""Cameras that look like one camera registered twice: by stream address, by MAC, by name and place.

Found by going through the store some time after the catalogue has changed, so that registering pays nothing for it.
"""

from __future__ import annotations

import asyncio

import structlog

from vidhub.core import Core
from vidhub.errors import VidhubError, Violation
from vidhub.store import Store, duplicates

# How often the revision is looked at; the least time between two looks at the store, half a second for 100,000 cameras.
LOOK_S = 5.0
PAUSE_S = 60.0

_WORDS = {
    "url": ("streams", "URL_DUPLICATE", "has the same stream address: correct one of them, or retire it"),
    "mac": ("device.mac", "MAC_DUPLICATE", "has the same MAC: correct one of them, or retire it"),
    "place": ("location", "PLACE_DUPLICATE", "has the same name and place: name them apart, or retire one"),
}

log = structlog.get_logger(__name__)


class Duplicates:
    """What was found last."""

    def __init__(self, store: Store, core: Core) -> None:
        self._store = store
        self._core = core
        self._found: dict[str, tuple[Violation, ...]] = {}

    def of(self, camera_id: str) -> tuple[Violation, ...]:
        return self._found.get(camera_id, ())

    async def run(self, look_s: float = LOOK_S, pause_s: float = PAUSE_S) -> None:
        """Until cancelled: look anew after the catalogue has changed."""
        seen = None
        while True:
            revision = self._core.revision()
            if revision != seen:
                try:
                    await self.look()
                    seen = revision
                except VidhubError as error:
                    log.warning("duplicates not looked for", reason=error.reason)
                await asyncio.sleep(pause_s)
            await asyncio.sleep(look_s)

    async def look(self) -> None:
        found: dict[str, list[Violation]] = {}
        for kind in duplicates.KINDS:
            field, reason, remedy = _WORDS[kind]
            for group in await self._store.read(lambda conn, kind=kind: duplicates.find(conn, kind)):  # type: ignore[misc]
                for camera_id in group:
                    other = next(one for one in group if one != camera_id)
                    more = f" (and {len(group) - 2} more)" if len(group) > 2 else ""
                    found.setdefault(camera_id, []).append(Violation(field, reason, f"camera {other}{more} {remedy}"))
        self._found = {camera_id: tuple(violations) for camera_id, violations in found.items()}
