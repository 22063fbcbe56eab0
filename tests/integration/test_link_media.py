"""Pictures across three hubs: one copy over each link, one connection to the camera, and an end that reaches all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.cameras import GstCamera, gst_camera
from support.domain import SYSTEM, camera, unit
from support.joined import Hub, hub_of, joined
from support.rtsp import RtspClient
from support.views import (
    CAMERA,
    PATROL,
    Levels,
    all_ended,
    may_watch,
    open_of,
    operator,
    records,
    three,
    until,
    watch,
)
from support.whep import whep_viewer

from vidhub.access.addresses import MediaAddresses
from vidhub.errors import VidhubError
from vidhub.model import CameraStream, OpenedSession, Profile

PATIENCE_S = 20.0


@dataclass
class Scene(Levels):
    camera: GstCamera


def tell_addresses(hub: Hub) -> None:
    hub.domain.sessions.serve_at(MediaAddresses(http=f"http://{hub.bound['http']}", rtsp=str(hub.bound["rtsp"])))


@contextlib.asynccontextmanager
async def scene_of(directory: Path) -> AsyncIterator[Scene]:
    """Three hubs that are not joined yet."""
    async with gst_camera(key_interval=25) as source, three(directory, url=source.url) as found:
        for hub in found.all:
            tell_addresses(hub)
        yield Scene(found.province, found.city, found.district, found.grant, found.shares, source)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with (
        scene_of(tmp_path) as found,
        joined(found.province, found.city),
        joined(found.city, found.district),
    ):
        yield found


async def open_at(hub: Hub, name: str = "li") -> OpenedSession:
    return await hub.domain.sessions.open(operator(hub, name), CAMERA, PATROL)


class Reader:
    """Takes a session's frames until they end. reason: why they did."""

    def __init__(self, hub: Hub, session_id: str) -> None:
        self.pictures = 0
        self.reason = ""
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read(hub, session_id))

    async def _read(self, hub: Hub, session_id: str) -> None:
        try:
            async for frame in hub.domain.core.frames(session_id):
                self.pictures += frame.kind == "video"
                self._news.set()
        except VidhubError as error:
            self.reason = error.reason
            self._news.set()

    async def until(self, pictures: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while self.pictures < pictures:
                assert not self.reason, self.reason
                self._news.clear()
                await self._news.wait()

    async def end(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.shield(self._task)
        return self.reason

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@contextlib.asynccontextmanager
async def reading(hub: Hub, session_id: str) -> AsyncIterator[Reader]:
    reader = Reader(hub, session_id)
    try:
        yield reader
    finally:
        await reader.close()


def octets(hub: Hub, peer: str, direction: str) -> int:
    """RTP payload over the link, as `vidhub_link_media_bytes_total` has it."""
    links = hub.domain.core.snapshot()["links"]
    return sum(count for one, way, count in links if (one, way) == (peer, direction))  # type: ignore[attr-defined]


async def test_twenty_viewers_are_one_copy_on_each_link_and_one_connection_to_the_camera(scene: Scene) -> None:
    await may_watch(scene.city)
    readers: list[Reader] = []
    try:
        for hub in (scene.province, scene.city):
            for _ in range(10):
                readers.append(Reader(hub, (await open_at(hub)).session.id))
        await asyncio.gather(*(reader.until(50) for reader in readers))
        for hub, orders in zip(scene.all, (1, 2, 1), strict=True):
            assert len(await records(hub, "stream.order")) == orders, hub.id
        assert (scene.camera.connections, scene.camera.most_open) == (1, 1)
        # The city gives on what it gets, no more: what comes in at the top is what left at the bottom, once.
        sent = octets(scene.district, "city", "out")
        assert 0 < octets(scene.province, "city", "in") <= octets(scene.city, "province", "out")
        assert octets(scene.city, "province", "out") <= octets(scene.district, "city", "out")
        one_copy = sent / readers[0].pictures
        before, pictures = octets(scene.district, "city", "out"), readers[0].pictures
        await readers[0].until(pictures + 50)
        grown = (octets(scene.district, "city", "out") - before) / (readers[0].pictures - pictures)
        assert grown < 2 * one_copy
    finally:
        await asyncio.gather(*(reader.close() for reader in readers))


async def test_when_the_last_viewer_leaves_nothing_flows(scene: Scene) -> None:
    opened = await open_at(scene.province)
    async with reading(scene.province, opened.session.id) as reader:
        await reader.until(5)
        await scene.province.domain.sessions.close(operator(scene.province), opened.session.id)
        assert await reader.end() == "SESSION_CLOSED"
    await scene.camera.until_open(0)

    async def all_gone() -> bool:
        return all(hub.domain.core.counts()["sessions"] == 0 for hub in scene.all)

    await until(all_gone)


@pytest.mark.parametrize("ender", ["province", "city", "district", "share"])
async def test_an_end_at_any_hub_ends_every_picture(scene: Scene, ender: str) -> None:
    by_rtsp, by_webrtc, inside = [await open_at(scene.province) for _ in range(3)]
    client = await RtspClient.connect(by_rtsp.rtsp_url)
    async with (
        client,
        whep_viewer(by_webrtc.whep_url, by_webrtc.ticket.text) as browser,
        reading(scene.province, inside.session.id) as reader,
    ):
        await client.watch()
        await client.until(lambda: client.pictures > 10)
        await browser.until(lambda: browser.pictures > 10)
        await reader.until(10)
        if ender == "share":
            scene.district.unshare(scene.shares["district"])
        else:
            hub = {one.id: one for one in scene.all}[ender]
            for view in await open_of(hub):
                await hub.domain.sessions.terminate(SYSTEM, view.id, "no longer")
        await client.end()
        await browser.end()
        assert await reader.end() == ("GRANT_REVOKED" if ender == "share" else "SESSION_TERMINATED")

    async def on_record() -> bool:
        return not any([await open_of(hub) for hub in scene.all])

    await until(on_record)
    await scene.camera.until_open(0)
    # Nobody has ordered for a view that was on its way out.
    assert [await records(hub, "stream.refused") for hub in scene.all] == [[], [], []]


async def test_pictures_go_on_when_the_link_comes_back_within_the_lease(tmp_path: Path) -> None:
    async with scene_of(tmp_path) as scene, joined(scene.province, scene.city):
        async with joined(scene.city, scene.district):
            session = await watch(scene.province)
            reader = Reader(scene.province, session.id)
            await reader.until(5)
        # Down: media has a connection of its own.
        await reader.until(reader.pictures + 25)
        async with joined(scene.city, scene.district):
            await reader.until(reader.pictures + 25)
            assert len(await records(scene.city, "stream.order")) == 2
            assert scene.camera.connections == 1
            await scene.province.domain.sessions.close(operator(scene.province), session.id)
            assert await reader.end() == "SESSION_CLOSED"
            await scene.camera.until_open(0)


async def test_after_the_lease_of_a_cut_link_no_picture_is_left_on_either_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidhub.link.views.SILENCE_S", 1.0)
    async with scene_of(tmp_path) as scene, joined(scene.province, scene.city):
        async with joined(scene.city, scene.district):
            reader = Reader(scene.province, (await watch(scene.province)).id)
            await reader.until(5)
        assert await reader.end() == "LINK_LEASE_EXPIRED"
        await all_ended(scene.all, "LINK_LEASE_EXPIRED")
        await scene.camera.until_open(0)

        async def all_gone() -> bool:
            return all(hub.domain.core.counts()["sessions"] == 0 for hub in scene.all)

        await until(all_gone)


async def test_a_copy_that_breaks_is_ordered_again_and_viewers_stay(scene: Scene) -> None:
    async with reading(scene.province, (await watch(scene.province)).id) as reader:
        await reader.until(5)
        (supply,) = scene.district.parts[1]._supplying._by_local.values()  # type: ignore[attr-defined]
        assert scene.district.domain.core.stop_relay(supply.local_id, "READER_STALLED")
        await reader.until(reader.pictures + 50)
        assert len(await records(scene.district, "stream.order")) == 2


async def test_a_viewer_above_hears_what_is_wrong_with_the_camera_below(scene: Scene) -> None:
    await scene.camera.kill()
    opened = await open_at(scene.province)
    async with await RtspClient.connect(opened.rtsp_url) as client:
        reply = await client.describe()
    assert (reply.status, reply.reason) == (503, "CAMERA_UNREACHABLE")


async def test_whose_choice_is_open_is_given_the_sub_stream_where_the_main_one_is_no_use(tmp_path: Path) -> None:
    """On every hub as at the camera's own: the province gets it by way of the city, another district pulls it there."""
    async with (
        gst_camera(codec="jpeg") as main,
        gst_camera(key_interval=25) as sub,
        hub_of(tmp_path / "p", "province", media=True) as province,
        hub_of(tmp_path / "c", "city", media=True) as city,
        hub_of(tmp_path / "a", "yuehu", media=True) as there,
        hub_of(tmp_path / "b", "yujiang", media=True) as besides,
        joined(province, city),
        joined(city, there),
        joined(city, besides),
    ):
        both = (CameraStream(Profile.MAIN, main.url), CameraStream(Profile.SUB, sub.url))
        seen = camera(1, streams=both)
        await there.domain.catalogue.register(replace(unit("u1"), hub_id=there.id), [seen])
        for hub, by in ((city, there), (province, city), (besides, city)):
            await hub.knows(seen, home=there.id, by=by.id)
            await may_watch(hub)
            await by.share(hub.id)
        for hub in (city, province, besides):
            session = await watch(hub)
            async with reading(hub, session.id) as reader:
                await reader.until(10)
        # Who asks for the main one and no other is told what viewers are told at the camera's own hub.
        sessions = province.domain.sessions
        fixed = await sessions.open(operator(province), CAMERA, PATROL, profile=Profile.MAIN)
        async with reading(province, fixed.session.id) as reader:
            assert await reader.end() == "CAMERA_UNREACHABLE"


async def test_across_regions_the_district_pulls_what_the_city_gets(tmp_path: Path) -> None:
    async with (
        gst_camera(key_interval=25) as source,
        hub_of(tmp_path / "c", "city", media=True) as city,
        hub_of(tmp_path / "a", "yuehu", media=True) as here,
        hub_of(tmp_path / "b", "yujiang", media=True) as there,
        joined(city, here),
        joined(city, there),
    ):
        streams = (replace(camera(1).streams[0], url=source.url),)
        await there.domain.catalogue.register(replace(unit("u1"), hub_id=there.id), [camera(1, streams=streams)])
        await city.knows(camera(1), home=there.id, by=there.id)
        await here.knows(camera(1), home=there.id, by=city.id)
        await may_watch(here)
        await there.share("city")
        await city.share("yuehu")
        sessions = [await watch(here) for _ in range(3)]
        readers = [Reader(here, session.id) for session in sessions]
        await asyncio.gather(*(reader.until(50) for reader in readers))
        assert source.most_open == 1
        for hub, orders in ((here, 1), (city, 2), (there, 1)):
            assert len(await records(hub, "stream.order")) == orders, hub.id
        assert octets(city, "yuehu", "out") > 0
        # Of three views and the copy that they share, the copy goes with the last.
        assert city.domain.core.counts()["sessions"] == 3 + 1 + 1
        for session in sessions:
            await here.domain.sessions.close(operator(here), session.id)
        assert {await reader.end() for reader in readers} == {"SESSION_CLOSED"}
        await source.until_open(0)

        async def all_gone() -> bool:
            return all(hub.domain.core.counts()["sessions"] == 0 for hub in (here, city, there))

        await until(all_gone)
