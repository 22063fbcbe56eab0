"""What befalls a link: restarts, kills, silence, copies, ends. Whole hubs, on ports that stay theirs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.hub import PATIENCE_S, HubProcess
from support.impostor import Impostor
from support.links import CITY, DISTRICT, join, link, listed, placed, until
from support.ports import standing
from support.site import cli, scrape

from vidhub.link.live import SILENCE_S

CITY_ID, DISTRICT_ID = CITY[0], DISTRICT[0]


@dataclass
class Standing:
    """A hub that comes back to the same addresses."""

    folder: Path
    place: tuple[str, str, str]
    flags: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, place: tuple[str, str, str]) -> Standing:
        return cls(folder, place, standing("grpc", "rtsps"))

    @property
    def data(self) -> Path:
        return self.folder / self.place[0]

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[HubProcess]:
        async with placed(self.folder, self.place, *self.flags) as running:
            yield running


@dataclass
class Pair:
    upper: Standing
    lower: Standing


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(Standing.of(tmp_path, CITY), Standing.of(tmp_path, DISTRICT))


async def both_up(upper: HubProcess, lower: HubProcess, within_s: float = 60.0) -> None:
    await until(upper, DISTRICT_ID, within_s, state="up", trouble_reason="")
    await until(lower, CITY_ID, within_s, state="up", trouble_reason="")


async def test_the_upper_restarts(pair: Pair):
    async with pair.lower.up() as lower:
        async with pair.upper.up() as upper:
            await link(upper, lower, DISTRICT)
            assert (await scrape(lower))[1][f"vidhub_link_up{{peer={CITY_ID}}}"] == 1
            assert await upper.end() == 0
            assert (await until(lower, CITY_ID, state="down"))["trouble_reason"] in {"HUB_DRAINING", "LINK_REFUSED"}
        seen = await until(lower, CITY_ID, trouble_reason="LINK_REFUSED")
        assert "firewall" in seen["trouble_message"]
        assert (await scrape(lower))[1][f"vidhub_link_up{{peer={CITY_ID}}}"] == 0
        async with pair.upper.up() as upper:
            await both_up(upper, lower)


async def test_the_lower_restarts(pair: Pair):
    async with pair.upper.up() as upper:
        async with pair.lower.up() as lower:
            await link(upper, lower, DISTRICT)
            assert await lower.end() == 0
        await until(upper, DISTRICT_ID, state="down", trouble_reason="HUB_DRAINING")
        async with pair.lower.up() as lower:
            await both_up(upper, lower)


async def test_both_are_killed(pair: Pair):
    async with pair.upper.up() as upper, pair.lower.up() as lower:
        await link(upper, lower, DISTRICT)
        await asyncio.gather(upper.end(signal.SIGKILL), lower.end(signal.SIGKILL))
    async with pair.lower.up() as lower, pair.upper.up() as upper:
        await both_up(upper, lower)


@pytest.mark.parametrize("stopped", ["upper", "lower"])
async def test_one_that_hangs_is_silent_and_comes_back(pair: Pair, stopped: str):
    async with pair.upper.up() as upper, pair.lower.up() as lower:
        await link(upper, lower, DISTRICT)
        hanging, looking, peer = (upper, lower, CITY_ID) if stopped == "upper" else (lower, upper, DISTRICT_ID)
        os.kill(hanging.process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            await until(looking, peer, SILENCE_S + PATIENCE_S, state="down", trouble_reason="LINK_SILENT")
            assert time.monotonic() - began > SILENCE_S - 4, "not before it was silent"
        finally:
            os.kill(hanging.process.pid, signal.SIGCONT)
        await both_up(upper, lower)


@pytest.mark.parametrize("who", ["upper", "lower"])
async def test_either_side_ends_it_and_the_other_learns(pair: Pair, who: str):
    async with pair.upper.up() as upper, pair.lower.up() as lower:
        await link(upper, lower, DISTRICT)
        ending, learning = (upper, lower) if who == "upper" else (lower, upper)
        ended, learnt = (DISTRICT_ID, CITY_ID) if who == "upper" else (CITY_ID, DISTRICT_ID)
        await ending.ask("hub_end", hub=ended, reason="reorganised")
        assert await listed(ending, ended) is None
        seen = await until(learning, learnt, state="down", trouble_reason="LINK_ENDED")
        assert not seen["accepted_here"]
        assert not list((pair.lower.data / "keys" / "links").glob("*.pem")), "the key is gone"
        await learning.ask("hub_end", hub=learnt, reason="so be it")
        assert await listed(learning, learnt) is None
        entries = (await learning.ask("audit_list", action="hub.ended"))["entries"]
        assert [one["principal"] for one in entries] == [f"hub/{learnt}"]
        # And they may link again.
        await link(upper, lower, DISTRICT)


async def test_one_that_was_away_learns_that_the_link_has_ended(pair: Pair):
    async with pair.upper.up() as upper:
        async with pair.lower.up() as lower:
            await link(upper, lower, DISTRICT)
            await lower.end(signal.SIGKILL)
        await upper.ask("hub_end", hub=DISTRICT_ID, reason="reorganised")
        async with pair.lower.up() as lower:
            seen = await until(lower, CITY_ID, state="down", trouble_reason="CERTIFICATE_REVOKED")
            assert not seen["accepted_there"]
            await lower.end()
        listed_ = (await cli("hub", "list", "--data-dir", pair.lower.data)).answer["hubs"]
        assert [(one["state"], one["trouble_reason"]) for one in listed_] == [("down", "CERTIFICATE_REVOKED")]


async def told(lower: HubProcess, upper: HubProcess) -> None:
    """The upper knows that the link has ended, and the lower keeps nothing of it."""
    await until(upper, DISTRICT_ID, state="down", trouble_reason="LINK_ENDED", accepted_here=False)
    async with asyncio.timeout(PATIENCE_S):
        while list((lower.data / "keys" / "links").iterdir()):  # noqa: ASYNC110 - a file is gone without a word
            await asyncio.sleep(0.05)


async def test_an_upper_that_was_away_learns_that_the_link_has_ended(pair: Pair):
    async with pair.lower.up() as lower:
        async with pair.upper.up() as upper:
            await link(upper, lower, DISTRICT)
            await upper.end(signal.SIGKILL)
        await lower.ask("hub_end", hub=CITY_ID, reason="reorganised")
        assert await listed(lower, CITY_ID) is None
        assert not list((lower.data / "keys" / "links").glob("*.pem")), "no link comes up by what is kept"
        # What is owed outlives the one who owes it.
        await lower.end(signal.SIGKILL)
    async with pair.upper.up() as upper:
        seen = await listed(upper, DISTRICT_ID)
        assert seen is not None
        assert seen["state"] == "down"
        async with pair.lower.up() as lower:
            await told(lower, upper)
            entries = (await upper.ask("audit_list", action="hub.ended"))["entries"]
            assert [one["principal"] for one in entries] == [f"hub/{DISTRICT_ID}"]
            assert (await upper.ask("audit_list", action="access.refused"))["entries"] == []
            await upper.ask("hub_end", hub=DISTRICT_ID, reason="so be it")
            await link(upper, lower, DISTRICT)


async def test_an_end_on_a_stopped_hub_is_told_when_it_runs(pair: Pair):
    async with pair.upper.up() as upper:
        async with pair.lower.up() as lower:
            await link(upper, lower, DISTRICT)
            await lower.end()
        done = await cli("hub", "end", CITY_ID, "--reason", "over", "--data-dir", pair.lower.data)
        assert done.status == 0
        before = await until(upper, DISTRICT_ID, state="down")
        assert before["heard_time"], "when it was last heard"
        async with pair.lower.up() as lower:
            await told(lower, upper)


async def test_an_upper_that_has_ended_it_too_is_told_nothing(pair: Pair):
    async with pair.lower.up() as lower:
        async with pair.upper.up() as upper:
            await link(upper, lower, DISTRICT)
            await upper.end()
        await lower.ask("hub_end", hub=CITY_ID, reason="reorganised")
        done = await cli("hub", "end", DISTRICT_ID, "--reason", "gone", "--data-dir", pair.upper.data)
        assert done.status == 0
        async with pair.upper.up() as upper:
            async with asyncio.timeout(PATIENCE_S):
                while list((lower.data / "keys" / "links").iterdir()):  # noqa: ASYNC110 - nor does this one say a word
                    await asyncio.sleep(0.05)
            assert await listed(upper, DISTRICT_ID) is None


async def test_a_hub_that_is_stopped_is_administered_all_the_same(pair: Pair):
    async with pair.upper.up() as upper, pair.lower.up() as lower:
        await link(upper, lower, DISTRICT)
        await upper.end()
        await lower.end()
    for place, peer, side in ((pair.upper, DISTRICT_ID, "lower"), (pair.lower, CITY_ID, "upper")):
        done = await cli("hub", "list", "--data-dir", place.data)
        assert [(one["id"], one["side"], one["state"]) for one in done.answer["hubs"]] == [(peer, side, "down")]
        assert done.answer["hubs"][0]["trouble_reason"] == "LINK_DOWN", "no hub is down without a word on why"
    assert (await cli("hub", "end", DISTRICT_ID, "--reason", "over", "--data-dir", pair.upper.data)).status == 0
    async with pair.upper.up() as upper, pair.lower.up() as lower:
        assert await listed(upper, DISTRICT_ID) is None
        await until(lower, CITY_ID, state="down", trouble_reason="CERTIFICATE_REVOKED")


async def test_of_a_hub_and_its_copy_the_first_keeps_the_link(pair: Pair, tmp_path: Path):
    async with pair.upper.up() as upper, pair.lower.up() as lower:
        await link(upper, lower, DISTRICT)
        elsewhere = tmp_path / "elsewhere"
        await lower.end()
        shutil.copytree(pair.lower.data, elsewhere / DISTRICT_ID)
        async with pair.lower.up() as first:
            await both_up(upper, first)
            async with placed(elsewhere, DISTRICT) as copy:
                seen = await until(copy, CITY_ID, state="down", trouble_reason="LINK_FORBIDDEN")
                assert "HUB_DUPLICATE" in seen["trouble_message"]
                told = await until(upper, DISTRICT_ID, state="up")
                assert told["trouble_reason"] == "HUB_DUPLICATE"
                assert (await listed(first, CITY_ID) or {})["state"] == "up"


class Thief:
    """Sits between two hubs. steals: what comes down. steals_once: asked before anything goes down."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._to = (host, int(port))
        self.steals = False
        self.steals_once: Callable[[], Awaitable[bool]] | None = None

    @contextlib.asynccontextmanager
    async def between(self) -> AsyncIterator[str]:
        tasks: set[asyncio.Task[None]] = set()

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, down: bool) -> None:
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    if down and self.steals_once is not None:
                        self.steals = self.steals or await self.steals_once()
                    if down and self.steals:
                        continue
                    writer.write(data)
                    await writer.drain()
            writer.close()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection(*self._to)
            tasks.add(asyncio.create_task(carry(reader, up_writer, False)))
            tasks.add(asyncio.create_task(carry(up_reader, writer, True)))

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in tasks:
                task.cancel()


async def test_a_join_whose_answer_was_lost_with_the_hub_is_done_again(pair: Pair):
    async with pair.upper.up() as upper:
        invitation = (await upper.ask("hub_invite", name="yuehu", level="district", region_code="360602"))["invitation"]
        thief = Thief(invitation["hub"])

        async def given() -> bool:
            """Whether the upper has given its certificate: then what comes down is the answer."""
            return (await listed(upper, "yuehu") or {})["state"] == "joined"

        async with pair.lower.up() as lower, thief.between() as address:
            thief.steals_once = given
            asking = asyncio.create_task(lower.ask("hub_join", invitation={**invitation, "hub": address}))
            await until(upper, DISTRICT_ID, state="joined")
            assert not asking.done()
            await lower.end(signal.SIGKILL)
            with contextlib.suppress(Exception):
                await asking
        async with pair.lower.up() as lower:
            assert await listed(lower, CITY_ID) is None
            await lower.ask("hub_join", invitation=invitation)
            await lower.ask("hub_accept", hub=CITY_ID)
            await upper.ask("hub_accept", hub=DISTRICT_ID)
            await both_up(upper, lower)
            assert not list((pair.lower.data / "keys" / "links").glob(".joining-*")), "no key is left over"


async def test_the_upper_is_killed_right_after_a_join(pair: Pair):
    async with pair.lower.up() as lower:
        async with pair.upper.up() as upper:
            await join(upper, lower, DISTRICT)
            await upper.end(signal.SIGKILL)
        async with pair.upper.up() as upper:
            await upper.ask("hub_accept", hub=DISTRICT_ID)
            await lower.ask("hub_accept", hub=CITY_ID)
            await both_up(upper, lower)


async def test_a_cut_line_comes_back(pair: Pair):
    """The connection is dead in the middle, then alive; at last the way is gone."""
    async with pair.upper.up() as upper, pair.lower.up() as lower:
        invitation = (await upper.ask("hub_invite", name="yuehu", level="district", region_code="360602"))["invitation"]
        thief = Thief(invitation["hub"])
        async with thief.between() as address:
            await lower.ask("hub_join", invitation={**invitation, "hub": address})
            await lower.ask("hub_accept", hub=CITY_ID)
            await upper.ask("hub_accept", hub=DISTRICT_ID)
            await both_up(upper, lower)
            thief.steals = True
            await until(lower, CITY_ID, SILENCE_S + PATIENCE_S, state="down", trouble_reason="LINK_SILENT")
            thief.steals = False
            await both_up(upper, lower)
        assert (await until(lower, CITY_ID, trouble_reason="LINK_REFUSED"))["state"] == "down"


async def test_an_impostor_without_the_key_does_not_get_in(pair: Pair):
    async with pair.upper.up() as upper:
        impostor = await Impostor.enrolled(upper, DISTRICT)
        async with impostor.call() as call:
            await call.write(b"\xff\xff garbage")
            with pytest.raises(Exception, match=r"LinkRequest"):
                await call.read()
