"""Keeping what the hub saw of a camera's streams: codec, size, frames per second."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import structlog

from vidhub.errors import VidhubError
from vidhub.model import CoreEvent, Profile
from vidhub.store import Store, cameras

_PAUSE_S = 5.0

log = structlog.get_logger(__name__)


class MediaNotes:
    """Writes observations behind the events. The newest of a stream counts, so at most one waits for each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[tuple[str, Profile], dict[str, object]] = {}
        self._arrived = asyncio.Event()

    def take(self, events: Sequence[CoreEvent]) -> None:
        """Takes `stream_media` events of the core."""
        for event in events:
            seen = json.loads(event.detail)
            self._waiting[event.subject, Profile(seen["profile"])] = seen
        self._arrived.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            waiting, self._waiting = self._waiting, {}
            for (camera_id, profile), seen in waiting.items():
                try:
                    await self._write(camera_id, profile, seen)
                except VidhubError as error:  # an observation: it comes again with the next start of the stream
                    log.warning("what a stream carries was not noted", camera=camera_id, reason=error.reason)
                    await asyncio.sleep(_PAUSE_S)

    async def _write(self, camera_id: str, profile: Profile, seen: dict[str, object]) -> None:
        codec = str(seen.get("codec", ""))
        width, height = (_whole(seen.get(name)) for name in ("width", "height"))
        rate = seen.get("frame_rate")
        frame_rate = float(rate) if isinstance(rate, int | float) else 0.0
        await self._store.write(
            lambda conn: cameras.set_stream_media(
                conn, camera_id, profile, codec=codec, width=width, height=height, frame_rate=frame_rate
            )
        )


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
