"""How much one hub may ask of another in a time: all of it is put on record, which must not fill the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vidhub.errors import ResourceExhausted

# Views asked for or renewed, and orders for media: a wall of sixteen and a shift that begins go at once.
PER_S = 50.0
BURST = 500


@dataclass(slots=True)
class _Left:
    tokens: float
    at: float


class Allowance:
    """A token bucket for each linked hub."""

    def __init__(
        self, per_s: float = PER_S, burst: int = BURST, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._left: dict[str, _Left] = {}

    def take(self, hub_id: str) -> None:
        """Raises ResourceExhausted LIMIT_RATE when the hub has none left."""
        now = self._clock()
        left = self._left.setdefault(hub_id, _Left(self._burst, now))
        left.tokens = min(self._burst, left.tokens + (now - left.at) * self._per_s)
        left.at = now
        if left.tokens < 1:
            raise ResourceExhausted(
                "LIMIT_RATE", f"more than {self._per_s:.0f} views and streams a second were asked for: wait a moment"
            )
        left.tokens -= 1
