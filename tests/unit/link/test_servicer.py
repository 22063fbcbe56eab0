"""The side of a link that is dialled, by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from support.peers import SYSTEM, Bench

from vidhub.api import METHODS
from vidhub.api.call import Call
from vidhub.link.endings import Endings
from vidhub.link.greeting import Greeter
from vidhub.link.keys import LinkKeys
from vidhub.link.links import Links
from vidhub.link.live import Link
from vidhub.link.rules import to_level
from vidhub.link.servicer import LinkServicer
from vidhub.model import HubLevel, Revision
from vidhub.v1 import link_service_pb2 as pb


class Lingering:
    """A part that takes its time to stop."""

    bodies = frozenset({"view_end"})

    def __init__(self) -> None:
        self.taking = asyncio.Event()
        self.stopping = asyncio.Event()
        self.may_stop = asyncio.Event()

    async def opened(self, link: Link) -> None:
        pass

    async def take(self, link: Link, body: str, message: Any) -> None:
        self.taking.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopping.set()
            await self.may_stop.wait()

    def closed(self, link: Link) -> None:
        pass


async def test_a_link_that_was_ended_is_over_though_the_call_is_cut_meanwhile(bench: Bench, tmp_path: Path) -> None:
    done = await bench.enrol(await bench.invite())
    await bench.peers.accept(SYSTEM, "yuehu")
    part, links = Lingering(), Links()
    greeter = Greeter(
        bench.peers, [part], signing_key_pem="key", revision=lambda: Revision("e", 1), media=lambda _: (0, 0)
    )
    servicer = LinkServicer(bench.peers, links, greeter, Endings(bench.peers, LinkKeys(tmp_path)))
    who = bench.register.by_certificate(done.certificate_pem.encode(), "127.0.0.1")
    call = Call(METHODS["vidhub.v1.LinkService/Link"], who, "127.0.0.1", {}, "0" * 32)

    async def requests() -> AsyncIterator[pb.LinkRequest]:
        hello = pb.Hello(
            version=1,
            oldest_version=1,
            hub_id="yuehu",
            name="yuehu",
            level=to_level(HubLevel.DISTRICT),
            region_code="360602",
            accepted=True,
        )
        hello.time.FromDatetime(bench.clock())
        yield pb.LinkRequest(message=pb.LinkMessage(hello=hello))
        yield pb.LinkRequest(message=pb.LinkMessage(view_end=pb.ViewEnd(view_id="v")))
        await part.taking.wait()
        yield pb.LinkRequest(message=pb.LinkMessage(farewell=pb.Farewell(reason="LINK_ENDED")))
        await asyncio.Event().wait()

    async def answer() -> None:
        async for _ in servicer.link(requests(), call):
            pass

    answering = asyncio.create_task(answer())
    async with asyncio.timeout(30):
        await part.stopping.wait()
        answering.cancel()
        await asyncio.wait({answering})
        part.may_stop.set()
        while links.connected("yuehu") is not None:  # noqa: ASYNC110 - it has no event for its end
            await asyncio.sleep(0)
    hub = bench.peers.find("yuehu")
    trouble = bench.peers.trouble("yuehu")
    assert (hub.end_reason, hub.joined) == ("LINK_ENDED", False)
    assert trouble is not None
    assert trouble.reason == "LINK_ENDED"
