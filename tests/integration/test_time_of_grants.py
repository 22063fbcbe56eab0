"""A grant's time is over while somebody watches: at the end of its weekly hours, and since the clock was set."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from support.cameras import gst_camera
from support.events import event
from support.hub import PASSWORD, person
from support.rtsp import RtspClient
from support.site import Site, opened, site

pytestmark = pytest.mark.asyncio
FPS = 10
# By the clock alone it would be a minute at least; a machine that is busy with other tests takes its time.
SOON_S = 10.0
CHINA = timezone(timedelta(hours=8))
DAYS = "mon,tue,wed,thu,fri,sat,sun"
# Debian's name of the library, per architecture.
FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@dataclass
class Timed:
    """A hub in China whose clock the test sets, with a camera, an operator without a grant, and a supervisor."""

    site: Site
    camera: str
    clock: Path

    def set_clock(self, ahead: timedelta) -> None:
        """In one go: the hub reads it at each look at the clock."""
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(f"{ahead.total_seconds():+.3f}s\n")
        fresh.rename(self.clock)

    async def grant(self, not_after: datetime, *weekly: str) -> None:
        await self.site.running.ask(
            "grant_create",
            username="zhang",
            region_prefixes=["3606"],
            actions=["view_live"],
            purposes=["patrol"],
            not_after=not_after.isoformat(),
            weekly_hours=list(weekly),
        )


@contextlib.asynccontextmanager
async def timed(tmp_path: Path) -> AsyncIterator[Timed]:
    assert FAKETIME, "libfaketime is not installed: make setup"
    clock = tmp_path / "clock"
    clock.write_text("+0s\n")
    faked = {
        "LD_PRELOAD": str(FAKETIME[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "TZ": "Asia/Shanghai",
    }
    async with (
        gst_camera(width=320, height=180, fps=FPS, key_interval=FPS) as camera,
        site(tmp_path / "data", **faked) as at,
    ):
        await at.running.ask("user_add", name="zhang", roles=["operator"], password=PASSWORD)
        await at.running.ask("user_add", name="sup", roles=["supervisor"], password=PASSWORD)
        yield Timed(at, await at.register(1, camera.url), clock)


async def test_the_end_of_weekly_hours_ends_the_picture(tmp_path: Path):
    async with timed(tmp_path) as at:
        now = datetime.now(CHINA)
        end = now.replace(second=0, microsecond=0) + timedelta(minutes=3)
        begin = end - timedelta(hours=1)
        await at.grant(now + timedelta(days=30), f"{DAYS} {begin:%H:%M}-{end:%H:%M}")
        async with person(at.site.running, "zhang") as operator:
            session = await opened(operator, at.camera)
            async with await RtspClient.connect(session["rtspUrl"]) as viewer:
                await viewer.watch()
                await viewer.until(lambda: viewer.pictures >= FPS)
                # Seven seconds before the end the console asks for more time, and gets as much as is left.
                ahead = end - timedelta(seconds=7) - datetime.now(CHINA)
                at.set_clock(ahead)
                renewed = await operator.call("SessionService/RenewSession", sessionId=session["session"]["id"])
                assert datetime.fromisoformat(renewed["session"]["expireTime"]) == end
                seen = viewer.pictures
                await viewer.until(lambda: viewer.pictures >= seen + FPS)
                reason, at_steady = await viewer.end()
                ended = datetime.now(CHINA) - timedelta(seconds=time.monotonic() - at_steady) + ahead
                assert reason == "SESSION_EXPIRED"
                assert -0.5 < (ended - end).total_seconds() < SOON_S
            again = await operator.call("SessionService/OpenSession", cameraId=at.camera, purpose={"kind": "patrol"})
            assert again["reason"] == "NO_GRANT"
        entry = await at.site.on_record(action="session.close", sessionId=session["session"]["id"])
        assert "SESSION_EXPIRED" in entry["detailJson"]
        assert -0.5 < (datetime.fromisoformat(entry["time"]) - end).total_seconds() < SOON_S


async def test_a_clock_set_beyond_the_end_of_a_grant_ends_its_pictures(tmp_path: Path):
    """A session's time runs by a clock that nobody sets, so the end of the grant must be looked at anew."""
    async with timed(tmp_path) as at:
        await at.grant(datetime.now(UTC) + timedelta(minutes=8))
        async with person(at.site.running, "zhang") as operator:
            session = await opened(operator, at.camera)
            async with await RtspClient.connect(session["rtspUrl"]) as viewer:
                await viewer.watch()
                await viewer.until(lambda: viewer.pictures >= FPS)
                at.set_clock(timedelta(minutes=10))
                async with person(at.site.running, "sup") as keeper:
                    await event(keeper, "clock.jumped", bool)
                told = time.monotonic()
                reason, ended = await viewer.end()
                assert reason == "SESSION_EXPIRED"
                assert ended - told < SOON_S
        entry = await at.site.on_record(action="session.close", sessionId=session["session"]["id"])
        assert "SESSION_EXPIRED" in entry["detailJson"]


async def test_a_clock_set_before_the_beginning_of_a_grant_lets_nobody_new_in(tmp_path: Path):
    async with timed(tmp_path) as at:
        await at.grant(datetime.now(UTC) + timedelta(days=1))
        async with person(at.site.running, "zhang") as operator:
            session = await opened(operator, at.camera)
            async with await RtspClient.connect(session["rtspUrl"]) as viewer:
                await viewer.watch()
                await viewer.until(lambda: viewer.pictures >= FPS)
                at.set_clock(timedelta(minutes=-10))
                async with person(at.site.running, "sup") as keeper:
                    await event(keeper, "clock.jumped", bool)
                seen = viewer.pictures
                await viewer.until(lambda: viewer.pictures >= seen + FPS)
                async with person(at.site.running, "zhang") as another:
                    refused = await another.call(
                        "SessionService/OpenSession", cameraId=at.camera, purpose={"kind": "patrol"}
                    )
                assert refused["reason"] == "NO_GRANT"
