"""Whole hubs on three levels: an operator at the top sees a district's camera; each hub has its say and its record."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.cameras import GstCamera, gst_camera
from support.certificates import self_signed
from support.hub import PASSWORD, HubProcess, Person, camera_message, enrol, person
from support.links import CITY, DISTRICT, ThreeLevels, link, placed, three_levels, until
from support.rtsp import RtspClient
from support.site import PATIENCE_S, Site, cli, opened, scrape
from support.whep import Refused, whep_viewer

from vidhub.client import Hub, Viewer

CAMERA = camera_message(1).id
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
LEASE_S = 10.0


@dataclass
class Scene:
    hubs: ThreeLevels
    camera: GstCamera
    owner: Site

    @property
    def all(self) -> tuple[HubProcess, HubProcess, HubProcess]:
        return self.hubs.province, self.hubs.city, self.hubs.district


async def operator(running: HubProcess, name: str) -> None:
    """Somebody who may watch for two purposes, one of which the district does not share for."""
    await running.ask("user_add", name=name, roles=["operator"], password=PASSWORD, department="指挥中心")
    await running.ask(
        "grant_create",
        username=name,
        actions=["view_live", "snapshot"],
        purposes=["patrol", "traffic"],
        not_after=(datetime.now(UTC) + timedelta(days=1)).isoformat(),
        region_prefixes=["36"],
    )


async def knows_camera(running: HubProcess) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await running.ask("status"))["cameras"] != 1:  # noqa: ASYNC110 - what came is told by no event
            await asyncio.sleep(0.05)


async def share(lower: HubProcess, upper: str, **more: object) -> None:
    await lower.ask("hub_share", hub=upper, everything=True, actions=["view_live", "snapshot"], **more)


@contextlib.asynccontextmanager
async def scene_of(folder: Path) -> AsyncIterator[Scene]:
    async with (
        gst_camera(key_interval=25) as camera,
        three_levels(folder, VIDHUB_STREAM__LINGER_S="1") as hubs,
    ):
        owner = Site(hubs.district, await enrol(hubs.district))
        assert await owner.register(1, camera.url) == CAMERA
        await share(hubs.district, "yingtan", purposes=["patrol", "emergency"])
        await share(hubs.city, "jiangxi")
        for hub in (hubs.city, hubs.province):
            await knows_camera(hub)
        await operator(hubs.province, "li")
        yield Scene(hubs, camera, owner)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_of(tmp_path) as found:
        yield found


async def entries(running: HubProcess, action: str) -> list[dict[str, Any]]:
    return list((await running.ask("audit_list", action=action, limit=1000))["entries"])


async def ends(running: HubProcess, wanted: int, within_s: float) -> list[dict[str, Any]]:
    """The closing entries, once there are so many."""
    async with asyncio.timeout(within_s):
        while len(found := await entries(running, "session.close")) < wanted:  # noqa: ASYNC110 - nor what is on record
            await asyncio.sleep(0.05)
    return found


@contextlib.asynccontextmanager
async def watching(caller: Person) -> AsyncIterator[tuple[RtspClient, Any]]:
    """By RTSP and by WebRTC."""
    by_rtsp, by_webrtc = await opened(caller, CAMERA), await opened(caller, CAMERA)
    async with (
        await RtspClient.connect(by_rtsp["rtspUrl"]) as client,
        whep_viewer(by_webrtc["whepUrl"], by_webrtc["ticket"]) as browser,
    ):
        await client.watch()
        await client.until(lambda: client.pictures > 10)
        await browser.until(lambda: browser.pictures > 10)
        yield client, browser


async def sees_again(caller: Person) -> None:
    """As a player does it: what may pass is tried again when the hub says so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            session = await opened(caller, CAMERA)
            try:
                async with whep_viewer(session["whepUrl"], session["ticket"]) as browser:
                    await browser.until(lambda browser=browser: browser.pictures > 10)  # type: ignore[misc]
                    return
            except Refused as refused:
                if refused.reason != "LINK_DOWN":
                    raise
                await asyncio.sleep(float(refused.retry_after))


async def test_three_levels_see_record_and_end_the_view(scene: Scene) -> None:
    async with person(scene.hubs.province, "li") as caller:
        caller._client.headers["traceparent"] = f"00-{TRACE}-00f067aa0ba902b7-01"
        refused = await caller.call("SessionService/OpenSession", cameraId=CAMERA, purpose={"kind": "traffic"})
        assert (refused["code"], refused["reason"]) == ("permission_denied", "PURPOSE_NOT_GRANTED")
        assert "yuehu" in refused["message"]
        for hub in scene.all:
            (entry,) = await entries(hub, "session.refused")
            assert (entry["result"], entry["traceId"]) == ("PURPOSE_NOT_GRANTED", TRACE)
        async with watching(caller) as (client, browser):
            who = []
            for hub in scene.all:
                found = await entries(hub, "session.open")
                assert {(one["traceId"], one["purposeKind"]) for one in found} == {(TRACE, "patrol")}
                who.append({one["principal"] for one in found})
            assert who == [{"user/li"}, {"user/li@jiangxi"}, {"user/li@jiangxi"}]
            assert scene.camera.most_open == 1
            by_ffmpeg = (await opened(caller, CAMERA))["rtspUrl"]
            played = await asyncio.create_subprocess_exec(
                *("ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", by_ffmpeg),
                *("-frames:v", "25", "-f", "null", "-"),
                stderr=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(PATIENCE_S):
                _, complaints = await played.communicate()
            assert (played.returncode, complaints) == (0, b"")
            # The owner reads who watches, and takes the camera back.
            session = (await caller.call("SessionService/ListSessions"))["sessions"][0]["id"]
            async with httpx.AsyncClient(base_url=scene.hubs.province.url, headers=caller._client.headers) as http:
                still = await http.post("/vidhub.v1.CameraService/GetSnapshot", json={"sessionId": session})
            assert still.status_code == 200, still.text
            assert (await entries(scene.hubs.district, "camera.snapshot"))[0]["principal"] == "user/li@jiangxi"
            await scene.hubs.district.ask("hub_unshare", hub="yingtan", everything=True)
            await client.end()
            await browser.end()
        for hub in scene.all:
            for entry in await ends(hub, 3, PATIENCE_S):
                assert (entry["traceId"], '"GRANT_REVOKED"' in entry["detailJson"]) == (TRACE, True)
    await scene.camera.until_open(0)


async def test_twenty_viewers_are_one_copy_by_the_metric(scene: Scene) -> None:
    await operator(scene.hubs.city, "zhou")
    async with (
        person(scene.hubs.province, "li") as above,
        person(scene.hubs.city, "zhou") as between,
        contextlib.AsyncExitStack() as stack,
    ):
        clients: list[RtspClient] = []

        async def add(caller: Person) -> None:
            url = (await opened(caller, CAMERA))["rtspUrl"]
            client = await stack.enter_async_context(await RtspClient.connect(url))
            clients.append(await client.watch())

        async def rate() -> float:
            """Octets over the district's link for each picture that the first viewer sees."""
            begun, pictures = await sent(), clients[0].pictures
            await clients[0].until(lambda: clients[0].pictures >= pictures + 100)
            return (await sent() - begun) / (clients[0].pictures - pictures)

        async def sent() -> float:
            _, samples = await scrape(scene.hubs.district)
            return samples["vidhub_link_media_bytes_total{direction=out,peer=yingtan}"]

        await add(above)
        one = await rate()
        for _ in range(10):
            await add(between)
        for _ in range(9):
            await add(above)
        assert len(clients) == 20
        twenty = await rate()
        # Pictures and octets are not read at the same moment; a second copy would be twice as much.
        assert twenty < 1.5 * one, (one, twenty)
        assert scene.camera.most_open == 1


async def test_a_hub_that_crashed_has_forgotten_its_views_and_gives_new_ones(scene: Scene, tmp_path: Path) -> None:
    async with person(scene.hubs.province, "li") as caller, watching(caller) as (client, browser):
        await scene.hubs.district.end(signal.SIGKILL)
        async with placed(tmp_path, DISTRICT, VIDHUB_STREAM__LINGER_S="1") as again:
            await client.end(LEASE_S + PATIENCE_S)
            await browser.end()
            for hub in (scene.hubs.province, scene.hubs.city, again):
                for entry in await ends(hub, 2, LEASE_S + PATIENCE_S):
                    # The link is back within the lease or it is not: by either way nobody is left with a picture.
                    assert '"SESSION_LOST"' in entry["detailJson"] or '"LINK_LEASE_EXPIRED"' in entry["detailJson"]
            await until(scene.hubs.city, "yuehu", within_s=60, state="up")
            await sees_again(caller)


@pytest.mark.parametrize("ender", ["city", "district"])
async def test_the_end_of_a_link_is_the_end_of_its_views(scene: Scene, ender: str) -> None:
    async with person(scene.hubs.province, "li") as caller, watching(caller) as (client, browser):
        hub, other = (scene.hubs.city, "yuehu") if ender == "city" else (scene.hubs.district, "yingtan")
        await hub.ask("hub_end", hub=other, reason="no longer")
        await client.end()
        await browser.end()
    for hub in scene.all:
        for entry in await ends(hub, 2, PATIENCE_S):
            assert '"LINK_ENDED"' in entry["detailJson"], entry


async def test_a_hub_that_stands_still_loses_the_views_on_both_sides(scene: Scene) -> None:
    async with person(scene.hubs.province, "li") as caller, watching(caller) as (client, browser):
        scene.hubs.district.process.send_signal(signal.SIGSTOP)
        try:
            await client.end(LEASE_S + PATIENCE_S)
            await browser.end()
            for hub in (scene.hubs.province, scene.hubs.city):
                for entry in await ends(hub, 2, PATIENCE_S):
                    assert '"LINK_LEASE_EXPIRED"' in entry["detailJson"]
            refused = await caller.call("SessionService/OpenSession", cameraId=CAMERA, purpose={"kind": "patrol"})
            assert (refused["code"], refused["reason"]) == ("unavailable", "LINK_DOWN")
        finally:
            scene.hubs.district.process.send_signal(signal.SIGCONT)
        for entry in await ends(scene.hubs.district, 2, LEASE_S + PATIENCE_S):
            assert '"LINK_LEASE_EXPIRED"' in entry["detailJson"]
        await until(scene.hubs.city, "yuehu", within_s=60, state="up")
    async with person(scene.hubs.province, "li") as caller:
        await sees_again(caller)


async def test_pictures_reach_a_hub_that_shows_people_another_certificate(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    flags = ("--tls-cert", str(certificate), "--tls-key", str(key))
    async with (
        gst_camera(key_interval=25) as camera,
        placed(tmp_path, CITY, *flags) as city,
        placed(tmp_path, DISTRICT) as district,
    ):
        await link(city, district, DISTRICT)
        assert await Site(district, await enrol(district)).register(1, camera.url) == CAMERA
        await share(district, CITY[0])
        await knows_camera(city)
        await operator(city, "zhou")
        url = f"https://{city.ready['http']}"
        async with (
            Hub(url, "zhou", PASSWORD, ca=certificate) as caller,
            Viewer(caller, CAMERA, "patrol") as viewer,
            aclosing(viewer.frames()) as frames,
        ):
            assert (await anext(frames)).image.shape[2] == 3
        done = await cli("doctor", "--data-dir", district.data)
        assert done.status == 0, done.out
