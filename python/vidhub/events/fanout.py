"""From the core's one stream of events to the parts, by kind.

Listeners run on the event loop and return at once; what takes time they queue themselves, bounded by what they queue
(one end per session, one state per camera). Nothing is kept here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vidhub.core import Core
from vidhub.model import CoreEvent

Listener = Callable[[Sequence[CoreEvent]], None]


class Fanout:
    """failed: told of a listener that raised; the others are called all the same."""

    def __init__(self, core: Core, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._listeners: dict[str, list[Listener]] = {}
        core.listen(self._take)

    def on(self, kind: str, listener: Listener) -> None:
        """kind: as in `_core.pyi`, "session_ended"."""
        self._listeners.setdefault(kind, []).append(listener)

    def _take(self, events: Sequence[CoreEvent]) -> None:
        by_kind: dict[str, list[CoreEvent]] = {}
        for event in events:
            by_kind.setdefault(event.kind, []).append(event)
        for kind, group in by_kind.items():
            for listener in self._listeners.get(kind, ()):
                try:
                    listener(group)
                except Exception as error:  # one part's fault must not cost the others their events
                    self._failed(error)
