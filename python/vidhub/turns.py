"""Who gives way to whom on the event loop: what people wait for goes before what is done in bulk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

# A piece of bulk work waits no longer for its turn: an import gets on under any load.
PATIENCE_S = 0.05


class Turns:
    """Counts the calls that people wait for; bulk work is cut into pieces, and asks before each."""

    def __init__(self) -> None:
        self._waiting = 0
        self._free = asyncio.Event()
        self._free.set()

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for an answer; may be asked in any thread."""
        return self._waiting > 0

    @contextlib.contextmanager
    def interactive(self) -> Iterator[None]:
        """Around a call that somebody waits for."""
        self._waiting += 1
        self._free.clear()
        try:
            yield
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self._free.set()

    async def give_way(self) -> None:
        """Lets the loop do what waits; returns when nobody waits for an answer, or after PATIENCE_S."""
        if not self._waiting:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._free.wait()
