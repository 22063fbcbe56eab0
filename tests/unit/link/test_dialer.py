"""The dialler by itself: what goes wrong with one link stays with that link."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.peers import SYSTEM, Bench

from vidhub.link import dialer
from vidhub.link.dialer import Dialer
from vidhub.link.links import Links
from vidhub.model import HubLevel, HubSide, LinkedHub

UPPER = LinkedHub("jiangxi", "江西省", HubLevel.PROVINCE, "360000", HubSide.UPPER, joined=True)


class Failing(Dialer):
    """Fails with the first hub in a way that nobody has foreseen; the second one is up for ever."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench.peers, Links(), None, None, None)  # type: ignore[arg-type]
        self.attempts: list[str] = []
        self.again = asyncio.Event()

    async def _once(self, hub: LinkedHub) -> bool:
        self.attempts.append(hub.id)
        if hub.id == "bureau":
            await asyncio.Event().wait()
        if self.attempts.count(hub.id) == 2:
            self.again.set()
        raise ValueError("something of theirs that nobody has foreseen")


async def test_a_link_that_fails_unforeseen_is_shown_and_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialer, "FIRST_PAUSE_S", 0.01)
    for upper in (UPPER, replace(UPPER, id="bureau", name="教育厅")):
        await bench.peers.joined(SYSTEM, upper)
    failing = Failing(bench)
    running = asyncio.create_task(failing.run())
    async with asyncio.timeout(30):
        await failing.again.wait()
    trouble = bench.peers.trouble(UPPER.id)
    assert trouble is not None
    assert trouble.reason == "LINK_FAILED"
    assert not running.done(), "the hub lives by it"
    assert failing.attempts.count("bureau") == 1
    running.cancel()
    await asyncio.wait({running})
