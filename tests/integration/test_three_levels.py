"""Three levels on machines of their own, the district behind a border that lets nothing in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from support.hub import HubProcess
from support.links import CITY, DISTRICT, listed, until
from support.namespaces import Wire
from support.network import network


def slow(wire: Wire) -> None:
    wire.delay_s = 0.3


def lossy(wire: Wire) -> None:
    wire.loss = 0.05


def narrow(wire: Wire) -> None:
    wire.rate_bps = 256_000


async def until_heard(running: HubProcess, peer: str, before: dict[str, Any]) -> dict[str, Any]:
    """The peer as it is once something more has been heard of it, within the silence that a link bears."""
    async with asyncio.timeout(10):
        while True:
            seen = await listed(running, peer)
            assert seen is not None
            if seen["heard_time"] != before["heard_time"]:
                return seen
            await asyncio.sleep(0.1)


async def test_a_link_lives_through_a_bad_line_and_comes_back_after_a_cut(tmp_path: Path) -> None:
    async with network(tmp_path) as three:
        for worsen in (slow, lossy, narrow):
            worsen(three.net.down)
            before = await until(three.hubs.city, DISTRICT[0], state="up")
            # Round trips of its own tell that heartbeats go both ways.
            after = before
            for _ in range(2):
                after = await until_heard(three.hubs.city, DISTRICT[0], after)
            assert (after["state"], after["connect_time"]) == ("up", before["connect_time"])
            three.net.down.restore()
        three.net.down.is_cut = True
        await until(three.hubs.city, DISTRICT[0], within_s=15, state="down")
        await until(three.hubs.district, CITY[0], within_s=15, state="down")
        # The neighbour does not notice.
        await until(three.hubs.province, CITY[0], state="up")
        three.net.down.restore()
        await until(three.hubs.city, DISTRICT[0], within_s=40, state="up")
        await until(three.hubs.district, CITY[0], state="up")
