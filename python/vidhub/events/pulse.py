"""Notices what the hub can't see otherwise: that its loop stood still, and that somebody set the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

BEAT_S = 0.5
# So much later than due a beat says that the control plane stood still: media does not wait for it.
STALL_S = 1.0
JUMP_S = 2.0


class Pulse:
    def __init__(
        self,
        stalled: Callable[[float], None],
        jumped: Callable[[float], None],
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """stalled: told for how long, seconds. jumped: told by how much the clock was set ahead (or back, below 0)."""
        self._stalled = stalled
        self._jumped = jumped
        self._wall = wall
        self._steady = steady
        self._last = steady(), wall()
        self.stalls = self.jumps = 0
        self.stalled_s = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        self._last = self._steady(), self._wall()
        while True:
            await asyncio.sleep(BEAT_S)
            self.beat()

    def beat(self) -> None:
        then, (steady, wall) = self._last, (self._steady(), self._wall())
        self._last = steady, wall
        passed = steady - then[0]
        if passed - BEAT_S > STALL_S:
            self.stalls += 1
            self.stalled_s += passed - BEAT_S
            self._stalled(passed - BEAT_S)
        jump = wall - then[1] - passed
        if abs(jump) > JUMP_S:
            self.jumps += 1
            self._jumped(jump)
